"""Unsupervised training of a representation by the information it keeps in the worst case, then of a head on it."""

from __future__ import annotations

import math
import warnings
from copy import deepcopy
from typing import Any

import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from art_mi import bridge, representations
from art_mi.attacks.information import critic_information
from art_mi.bounds import OBJECTIVES, donsker_varadhan
from art_mi.critics import ConvCritic, Critic, separable_critic
from art_mi.randomness import isolated_randomness
from art_mi.rules import BOOLEAN, NON_NEGATIVE, POSITIVE, PROPORTION, check, integer, one_of, or_none
from art_mi.trainers.base import StepTrainer, Terms
from art_mi.trainers.batches import Batches
from art_mi.trainers.crafting import ProjectedGradient, projected_gradient


class WorstCaseMITrainer(StepTrainer):
    """Maximise I(X; g(X)) - beta RV(g) over the module up to `layer`, then train what follows with it frozen.

    As I - beta RV = (1 - beta) J1 + beta J2, `beta=1` is the max-min problem of the worst-case information alone, and
    `beta=0` plain maximisation of information. With `tau` it is the constrained problem of an (eps, tau)-robust
    representation instead, max I subject to RV <= tau, whose dual variable takes the place of beta:
    beta <- [beta + dual_lr (RV - tau)] within [0, 1], after each step. If it ends at 1, the critics still read
    more than tau.

    Normal and worst-case information have critics of their own, which climb the same bound as the representation. The
    terms `normal`, `worst_case` and `vulnerability` are what these critics read while they learn, small at first and
    no measurement: for that there is :class:`~art_mi.metrics.WorstCaseMIEstimator`. Where beta exceeds 1 the
    representation lowers J1, of which a critic gives a lower bound only, and learns to deceive it: the dual variable
    stops there, and a fixed `beta` above 1 is warned of.

    `fit` trains the representation for `nb_epochs`, then the head for `head_epochs`; without labels the representation
    alone. Validation is of the whole classifier, in the epochs of the head.

    | Paper link: https://arxiv.org/abs/2002.11798 (equations 5.1 to 5.4)

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from art_mi import WorstCaseMITrainer
    >>> trainer = WorstCaseMITrainer(classifier, attack, layer="features", verbose=False)
    >>> trainer.fit(x, y, nb_epochs=1)
    >>> ["worst_case" in record for record in trainer.history]  # an epoch of the representation, one of the head
    [True, False]
    """

    needs_labels = False
    smallest_batch = 2

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack,
        *,
        layer: str | None = None,
        head: str | None = "robust",
        head_epochs: int | None = None,
        bound: str = "donsker_varadhan",
        beta: float = 1.0,
        tau: float | None = None,
        dual_lr: float = 0.01,
        critic: Critic | None = None,
        critic_lr: float = 1e-4,
        detach_input: bool = False,
        **common: Any,
    ) -> None:
        """Create a :class:`.WorstCaseMITrainer` instance.

        :param classifier: ART `PyTorchClassifier`, whose optimizer trains representation and head.
        :param attack: An ART projected-gradient attack, which lends norm, radius, steps and starts.
        :param layer: Dotted name of the layer whose output is the representation; the model's output by default.
        :param head: What follows `layer` is trained on adversarial (`"robust"`) or clean (`"standard"`) inputs, or not
            at all (None).
        :param head_epochs: Epochs of the head, after those of `fit`; as many by default.
        :param bound: `"donsker_varadhan"`, `"nwj"`, `"info_nce"` or `"jensen_shannon"`, what is climbed. The last is
            no information: its critics are then read by the first, which is also what `tau` is held against.
        :param beta: Weight of the vulnerability; not limited to [0, 1].
        :param tau: Largest vulnerability in nats, in place of a fixed `beta`; `beta`, at most 1, is then where its dual
            variable starts.
        :param dual_lr: Step size of that dual variable.
        :param critic: Critic of raw inputs and representation, of which copies are trained; by default a separable one,
            convolutional for images. :class:`~art_mi.critics.LocalCritic` is the papers'.
        :param critic_lr: Learning rate of Adam for the critics.
        :param detach_input: Attack through the representation only, as the paper's published code does.
        :param common: As in :class:`.StepTrainer`.
        :raises TypeError: If `classifier` or `attack` is of another kind.
        :raises ValueError: If an argument breaks its rule.
        """
        check("head", head, or_none(one_of(("robust", "standard"))))
        check("head_epochs", head_epochs, or_none(integer(1)))
        check("bound", bound, one_of(OBJECTIVES))
        for name, value in (("beta", beta), ("dual_lr", dual_lr)):
            check(name, value, NON_NEGATIVE)
        check("tau", tau, or_none(NON_NEGATIVE))
        if tau is not None:
            check("beta", beta, PROPORTION)
        elif beta > 1:
            warnings.warn(f"`beta` above 1 lowers a lower bound of the normal information, got {beta}.", stacklevel=2)
        check("critic_lr", critic_lr, POSITIVE)
        check("detach_input", detach_input, BOOLEAN)
        if not isinstance(critic, Critic | None):
            raise TypeError(f"`critic` must be a Critic, got {type(critic).__name__}.")
        super().__init__(classifier, attack, **common)
        self._parts()
        if self.compiled and layer is not None:
            raise ValueError(f"`compiled` must be False with a `layer`, which a compiled model hides, got {layer!r}.")
        if head is not None and layer is None:
            raise ValueError("`layer` must name a layer before the output where a head is trained, got None.")
        self.layer, self.head, self.head_epochs = layer, head, head_epochs
        self.bound, self.beta, self.tau, self.dual_lr = bound, beta, tau, dual_lr
        self.detach_input = detach_input
        self._encoder = representations.encoder(classifier, layer)
        if head is not None and set(classifier.model.parameters()) <= set(self._encoder.parameters):
            raise ValueError(f"`layer` must leave weights for a head, or `head` be None, got {layer!r}, which has all.")
        self._encoder_epochs, self._on_head = 0, False
        if tau is not None:
            self.duals["beta"] = torch.tensor(beta, dtype=torch.float64, device=classifier.device)
        used = {"normal": tau is not None or beta != 1, "worst_case": tau is not None or beta != 0}
        # The originals: while training, `modules` holds them behind Fabric, which lets only `forward` through
        self.critics = {name: self._critic(critic) for name in used if used[name]}
        self.modules.update(self.critics)
        self.optimizers.update(
            {name: torch.optim.Adam(module.parameters(), lr=critic_lr) for name, module in self.critics.items()}
        )

    def validates(self, epoch: int) -> bool:
        """See :class:`.StepTrainer`."""
        return epoch >= self._encoder_epochs

    def phase(self, epoch: int) -> str:
        """See :class:`.StepTrainer`: `"encoder"` or `"head"`."""
        return "head" if epoch >= self._encoder_epochs else "encoder"

    def before_epoch(self, epoch: int, nb_epochs: int) -> None:
        """See :class:`.StepTrainer`; from the first epoch of the head on, the encoder is frozen."""
        self._on_head = epoch >= self._encoder_epochs
        if self._on_head:
            for parameter in self._encoder.parameters:
                parameter.requires_grad_(False)

    def training_mode(self) -> None:
        """See :class:`.StepTrainer`; of encoder and head, the one that is not trained stays in evaluation mode."""
        super().training_mode()
        encoder = set(self._encoder.modules)
        for module in self.classifier.model.modules():
            if module in encoder if self._on_head else encoder.isdisjoint(module.modules()):
                module.eval()

    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """See :class:`.StepTrainer`; terms `normal`, `worst_case`, `vulnerability`, `objective` and `beta`."""
        if not self._on_head:
            return self._encoder_step(x)
        assert y is not None
        inputs = self.craft(x, y) if self.head == "robust" else x
        return {"loss": cross_entropy(self.forward(inputs), y)}

    def after_step(self, terms: Terms) -> None:
        """See :class:`.StepTrainer`."""
        if self.tau is not None and not self._on_head:
            self.move_dual("beta", terms["vulnerability"].double() - self.tau, self.dual_lr, most=1.0)

    def _train(
        self, batches: Batches, validation_data: Any, nb_epochs: int, scheduler: Any, options: dict[str, Any]
    ) -> None:
        check("nb_epochs", nb_epochs, integer(1))
        after = (self.head_epochs or nb_epochs) if self.head is not None and batches.labelled else 0
        if validation_data is not None and not after:
            raise ValueError("`validation_data` must be left out where no head is trained, got some.")
        self._encoder_epochs = nb_epochs
        super()._train(batches, validation_data, nb_epochs + after, scheduler, options)

    def _encoder_step(self, x: Tensor) -> Terms:
        beta = x.new_full((), self.beta) if self.tau is None else self.duals["beta"].float()
        weights = {"normal": 1 - beta, "worst_case": beta}
        climbed, terms = [], {}
        for name in self.critics:
            inputs = self._worst(x) if name == "worst_case" else x
            z = _scaled_gradient(self._represent(inputs), weights[name])
            scores = self.modules[name](self.gather(inputs), self.gather(z))
            climbed.append(OBJECTIVES[self.bound](scores))
            # The Jensen-Shannon objective is no information: its critic is read with a bound
            terms[name] = donsker_varadhan(scores.detach()) if self.bound == "jensen_shannon" else climbed[-1]
        if len(terms) == 2:
            j1, j2 = terms["normal"], terms["worst_case"]
            terms |= {"vulnerability": j1 - j2, "objective": (1 - beta) * j1 + beta * j2}
        return {"loss": -torch.stack(climbed).sum(), **terms, **({"beta": beta} if self.tau is not None else {})}

    def _represent(self, x: Tensor) -> Tensor:
        """The representation in training mode."""
        with representations.watching(self.classifier.model, self.layer) as seen:
            out = self.forward(x)
        return (out if self.layer is None else seen[-1]).float().flatten(1)

    def _worst(self, x: Tensor) -> Tensor:
        """Inputs moved so that the critic's bound falls."""
        critic, bound = self.critics["worst_case"], OBJECTIVES[self.bound]
        with representations.representation(self.classifier, self.layer) as represent, bridge.evaluating(critic):
            objective = critic_information(
                represent, critic, x, bound=bound, detach_input=self.detach_input, gather=self.gather
            )
            return self._parts().craft(objective, x, self.generator)

    def _parts(self) -> ProjectedGradient:
        """The numbers of the attack as they are now."""
        parts = projected_gradient(self.classifier, self.attack)
        if parts is None:
            raise TypeError(
                f"`attack` must be a plain ART ProjectedGradientDescent of norm inf, 2 or 1 and one radius, without "
                f"momentum, got another {type(self.attack).__name__}."
            )
        return parts

    def _critic(self, critic: Critic | None) -> Critic:
        """A copy of the critic given, or a new one, on the device, after it has scored a pair."""
        device, shape = self.classifier.device, self.classifier.input_shape
        x = torch.zeros(2, *shape, device=device)
        with isolated_randomness(self.random_state, device), torch.no_grad():
            with representations.representation(self.classifier, self.layer) as represent:
                z = represent(x)
            if critic is None:
                images = len(shape) == 3 and min(shape[1:]) >= 4
                critic = ConvCritic(shape[0], z.shape[1]) if images else _flat_critic(shape, z.shape[1])
            made = deepcopy(critic).to(device)
            try:
                made(x, z)
            except RuntimeError as error:
                wanted = f"inputs of shape {tuple(shape)} against representations of dimension {z.shape[1]}"
                raise ValueError(f"`critic` must score {wanted}, got one that fails: {error}") from error
        return made


def _flat_critic(shape: tuple[int, ...], dim_z: int) -> Critic:
    critic = separable_critic(math.prod(shape), dim_z)
    critic.x_encoder = nn.Sequential(nn.Flatten(), critic.x_encoder)
    return critic


def _scaled_gradient(z: Tensor, factor: Tensor) -> Tensor:
    """The same values with a scaled gradient: critics climb their bound, the representation its weighted sum."""
    return z.detach() + factor * (z - z.detach())
