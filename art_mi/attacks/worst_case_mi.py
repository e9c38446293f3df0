"""The inner problem of worst-case mutual information as an attack: no labels, the samples of a batch together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.summary_writer import SummaryWriter
from torch import Tensor, nn

from art_mi import bridge, representations
from art_mi.attacks.ascent import Objective
from art_mi.attacks.information import critic_information, noisy_information
from art_mi.attacks.tensor_attack import COMMON_RULES, TensorAttack
from art_mi.bounds import OBJECTIVES
from art_mi.channels import overall_std
from art_mi.rules import BOOLEAN, POSITIVE, Rule, integer, one_of, or_none


class WorstCaseMIAttack(TensorAttack):
    """Lower the information I(X'; g(X')) that a representation g carries about its inputs, each in its own ball.

    By default the information is that of g(X') seen through Gaussian noise, min over x' of an upper bound that needs no
    critic. With a critic it is the critic's bound, and what falls is then first of all what that critic reads: how much
    information is left, a critic fitted to the perturbed inputs tells.

    The objective couples the samples of a batch: they are the sample of the estimate, so that a perturbation depends on
    the others of its batch and a batch of one has no meaning. No label is aimed at or avoided: the accuracy it leaves
    says less about robustness than that of an attack that knows the labels.

    | Paper link: https://arxiv.org/abs/2002.11798 (equation 4.3)

    Given an ART `classifier` and inputs `x`:

    >>> from art_mi import WorstCaseMIAttack
    >>> attack = WorstCaseMIAttack(classifier, eps=0.1, batch_size=200, random_state=0, verbose=False)
    >>> x_adv = attack.generate(x)  # no labels
    >>> bool(classifier.predict(x_adv).std() < classifier.predict(x).std())  # samples move together
    True
    """

    rules: ClassVar[dict[str, Rule]] = {
        **COMMON_RULES,
        "eps_step": or_none(POSITIVE),
        "batch_size": integer(2),
        "bound": one_of(OBJECTIVES),
        "noise_std": POSITIVE,
        "sigma": or_none(POSITIVE),
        "detach_input": BOOLEAN,
    }
    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, "layer", "critic", *rules, "targeted"]
    smallest_batch = 2

    def __init__(
        self,
        estimator: PyTorchClassifier,
        *,
        layer: str | None = None,
        critic: nn.Module | None = None,
        bound: str = "donsker_varadhan",
        noise_std: float = 1.0,
        sigma: float | None = None,
        norm: float | str = math.inf,
        eps: float = 0.3,
        eps_step: float | None = None,
        max_iter: int = 40,
        num_random_init: int = 0,
        detach_input: bool = False,
        batch_size: int = 128,
        random_state: int | None = None,
        summary_writer: str | bool | SummaryWriter = False,
        verbose: bool = True,
    ) -> None:
        """Create a :class:`.WorstCaseMIAttack` instance.

        :param estimator: ART `PyTorchClassifier`.
        :param layer: Dotted name of the submodule whose output is the representation; the model's output by default.
        :param critic: Fitted module `(x (n, *input_shape), z (n, d)) -> scores (n, n)` on the classifier's device, such
            as a :class:`~art_mi.critics.Critic`; used in evaluation mode and left as it was.
        :param bound: What of the critic's scores is lowered: `"donsker_varadhan"`, `"nwj"`, `"info_nce"` or
            `"jensen_shannon"`.
        :param noise_std: Without a critic, noise level relative to the overall standard deviation of the clean
            representation, batch by batch.
        :param sigma: Without a critic, standard deviation of the noise in the units of the representation, in place of
            `noise_std`.
        :param norm: inf (or `"inf"`), 2 or 1.
        :param eps: Radius of the ball in raw input units.
        :param eps_step: Step size in raw input units; by default it falls linearly from 5 eps / max_iter to zero.
        :param max_iter: Number of steps.
        :param num_random_init: Random starts in the ball, of which each batch keeps the one that leaves least; 0 starts
            at the input.
        :param detach_input: Attack through the representation only, the critic's x side kept at the clean input, as the
            paper's published code does. The noisy channel sees the representation only in any case.
        :param batch_size: Most samples to estimate on jointly, at least 2. Batches are of nearly equal size; so that
            none is of one sample, pairs may have to become a triple.
        :param random_state: Seed of the attack's own generator, which runs on from call to call; None for fresh
            entropy. Global random state is neither used nor changed.
        :param summary_writer: As in ART; called once a step, with one random start at most, and given the classifier's
            predictions as labels.
        :param verbose: Show progress bars.
        :raises TypeError: If `estimator` is no ART `PyTorchClassifier`, `critic` no module or `layer` no name.
        :raises ValueError: If a value breaks its rule; the message names it.
        """
        super().__init__(estimator, summary_writer)
        self.layer, self.critic, self.bound, self.detach_input = layer, critic, bound, detach_input
        self.noise_std, self.sigma = noise_std, sigma
        self.norm, self.eps, self.eps_step, self.max_iter = norm, eps, eps_step, max_iter
        self.num_random_init, self.batch_size = num_random_init, batch_size
        self.random_state, self.verbose = random_state, verbose
        self._check_params()
        self._generator = self._seeded()

    def generate(self, x: Any, y: Any = None, mask: Any = None) -> Any:
        """See :class:`.TensorAttack`; `y` is not looked at.

        :raises ValueError: Also if there are fewer than 2 samples, or if without a critic or `sigma` the representation
            of a batch is not finite or does not vary.
        """
        return super().generate(x, None, mask)

    @contextmanager
    def _objective(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Iterator[Objective]:
        with representations.representation(self.estimator, self.layer) as represent:
            if self.critic is None:
                yield noisy_information(represent, self._noise_level(represent, x), generator)
                return
            with bridge.evaluating(self.critic):
                bound = OBJECTIVES[self.bound]
                yield critic_information(represent, self.critic, x, bound=bound, detach_input=self.detach_input)

    def _noise_level(self, represent: representations.Representation, x: Tensor) -> float:
        if self.sigma is not None:
            return float(self.sigma)
        with torch.no_grad():
            z = represent(x)
        representations.check_representation(z)
        return float(self.noise_std) * overall_std(z)

    def _check_params(self) -> None:
        super()._check_params()
        if not isinstance(self.critic, nn.Module | None):
            raise TypeError(f"`critic` must be a torch module, got {type(self.critic).__name__}.")
        if self.layer is not None:
            representations.named_layer(self.estimator.model, self.layer)
