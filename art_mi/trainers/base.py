"""`StepTrainer`: an ART trainer that is one method, `step(x, y) -> terms`, on the one outer loop."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.data_generators import DataGenerator, PyTorchDataGenerator
from art.defences.preprocessor import CutMixPyTorch, MixupPyTorch
from art.defences.trainer import Trainer
from art.estimators.classification import PyTorchClassifier
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from art_mi import bridge
from art_mi.rules import BOOLEAN, SEED, check, integer, one_of
from art_mi.trainers import crafting, processes
from art_mi.trainers.batches import ArrayBatches, Batches, GeneratorBatches, LoaderBatches
from art_mi.trainers.crafting import Target
from art_mi.trainers.devices import PRECISIONS, InPrecision, check_fabric, one_device
from art_mi.trainers.loop import Loop
from art_mi.trainers.options import FitOptions
from art_mi.trainers.validation import Validation

Terms = dict[str, Tensor]
Callback = Callable[["StepTrainer", dict[str, Any]], bool | None]


class StepTrainer(Trainer):  # type: ignore[misc]
    """Trains a `PyTorchClassifier` by a step that gives a loss; everything around the step is here, once.

    A subclass says in :meth:`step` what the loss of a batch is; the classifier's own `loss` is not used. Beside the
    classifier's optimizer it may bring `modules` (critics) with `optimizers` of their own, and `duals`, tensors that
    :meth:`after_step` or :meth:`after_epoch` move; all of them are checkpointed.

    Given an ART `classifier`, an `attack` on it, inputs `x` and labels `y`:

    >>> from torch.nn.functional import cross_entropy
    >>> from art_mi.trainers import StepTrainer
    >>> class HalfAdversarialTrainer(StepTrainer):
    ...     def step(self, x, y):
    ...         losses = [cross_entropy(self.forward(inputs), y) for inputs in (x, self.craft(x, y))]
    ...         return {"loss": sum(losses) / 2}
    ...
    >>> trainer = HalfAdversarialTrainer(classifier, attack, verbose=False)
    >>> trainer.fit(x, y, nb_epochs=1)
    >>> len(trainer.history)
    1
    """

    needs_attack = True
    needs_labels = True
    smallest_batch = 1

    def __init__(
        self,
        classifier: PyTorchClassifier,
        attack: EvasionAttack | None = None,
        *,
        precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true",
        channels_last: bool = False,
        compiled: bool = False,
        fabric: Fabric | None = None,
        random_state: int = 0,
        verbose: bool = True,
    ) -> None:
        """Create a :class:`.StepTrainer` instance.

        :param classifier: ART `PyTorchClassifier` with an optimizer, whose model returns logits; trained in place.
        :param attack: Any untargeted ART attack on that classifier. Projected-gradient attacks lend their numbers to a
            fast path on tensors, others are run by `generate`; none is changed.
        :param precision: `"32-true"`, `"bf16-mixed"` or `"16-mixed"`, of the training step; attacks run in 32 bits.
        :param channels_last: Keep images and weights in channels-last memory format.
        :param compiled: Run the training step's forward pass through `torch.compile`.
        :param fabric: A Lightning Fabric of one device or of strategy `"ddp"`, for several processes: its precision
            counts, and the caller has called its `launch()` before making the classifier, so that each process has its
            own on the right device. Weights start as those of the first process, which alone writes files and shows
            progress. By default one process on the classifier's device with the precision given.
        :param random_state: Seed of everything drawn in training. Global random state is as before afterwards.
        :param verbose: Show a progress bar.
        :raises TypeError: If `classifier`, `attack` or `fabric` is of another kind.
        :raises ValueError: If an argument breaks its rule; the message names it.
        """
        bridge.check_classifier(classifier)
        if classifier.optimizer is None:
            raise ValueError("`classifier` must have an optimizer, got None. Give one to the PyTorchClassifier.")
        _check_trainable(classifier)
        if any(isinstance(module, nn.BatchNorm1d) for module in classifier.model.modules()):
            self.smallest_batch = 2  # one sample has no variance
        if attack is not None or self.needs_attack:
            crafting.check_attack(classifier, attack)
        check("precision", precision, one_of(PRECISIONS))
        for name, value in (("channels_last", channels_last), ("compiled", compiled), ("verbose", verbose)):
            check(name, value, BOOLEAN)
        check("random_state", random_state, SEED)
        if fabric is not None:
            check_fabric(fabric, classifier.device)
            if precision != PRECISIONS[0]:
                raise ValueError(f"`precision` must be left to the `fabric` given, got {precision!r}.")
        super().__init__(classifier)
        self.attack = attack
        self.precision, self.channels_last, self.compiled = precision, channels_last, compiled
        self.random_state, self.verbose = random_state, verbose
        self.fabric = one_device(classifier.device, precision) if fabric is None else fabric
        self.generator = torch.Generator(classifier.device).manual_seed(int(random_state) + self.fabric.global_rank)
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.duals: dict[str, Tensor] = {}
        self.history: list[dict[str, Any]] = []
        self.running: nn.Module = classifier.model

    @abstractmethod
    def step(self, x: Tensor, y: Tensor | None) -> Terms:
        """The loss of a batch, under `"loss"`, and whatever else should be shown and recorded.

        :param x: Raw inputs `(b, ...)` on the device.
        :param y: Index labels `(b,)`.
        :return: Scalars on the device; that under `"loss"` is differentiated.
        """

    def after_step(self, terms: Terms) -> None:
        """Called after each optimizer step with the detached terms, means over all processes; no host sync, please.

        :param terms: What :meth:`step` gave.
        """

    def training_mode(self) -> None:
        """Put model and modules in training mode; called at the start of each epoch."""
        self.classifier.model.train()
        for module in self.modules.values():
            module.train()

    def before_epoch(self, epoch: int, nb_epochs: int) -> None:
        """Called before each epoch, and once on resuming.

        :param epoch: Number of the epoch, from 0.
        :param nb_epochs: Number of epochs of the whole run.
        """

    def validates(self, epoch: int) -> bool:
        """Whether accuracies mean something after this epoch.

        :param epoch: Number of the epoch, from 0.
        """
        return True

    def phase(self, epoch: int) -> str:
        """Name of the stage of training that an epoch belongs to, by the number of epochs asked for in `fit`.

        :param epoch: Number of the epoch, from 0.
        """
        return "training"

    def after_epoch(self, record: dict[str, Any]) -> None:
        """Called after each epoch with its means, before validation.

        :param record: Means of the terms, to which more may be added.
        """

    @torch.inference_mode(False)
    def fit(
        self,
        x: NDArray[Any] | Tensor | DataLoader[Any],
        y: NDArray[Any] | Tensor | None = None,
        validation_data: tuple[Any, Any] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        scheduler: Any = None,
        **options: Any,
    ) -> None:
        """Train the classifier.

        The model's modes are as before afterwards. A term or weight that is not finite stops the training. Weights,
        optimizers, schedule and dual variables are then as they were when the epoch began, or where the run went on in
        the middle of it (a copy stays on the device), and the last checkpoint is a good one.

        :param x: Raw inputs `(n, *input_shape)`, or a `DataLoader` of inputs and labels. Never changed. Of a loader
            each of several processes has its share, in batches of the size that the loader has.
        :param y: Index `(n,)` or one-hot `(n, nb_classes)` labels; not with a loader.
        :param validation_data: Inputs and labels on which clean and attacked accuracy are measured.
        :param batch_size: Most samples in a batch, all processes together; a loader has its own.
        :param nb_epochs: Number of epochs.
        :param scheduler: Any torch learning-rate scheduler of the classifier's optimizer.
        :param options: `validation_attack`, an ART attack on the classifier, by default twenty projected-gradient steps
            within the ball of the trainer's attack, or where that has none the attack itself; and what
            :class:`.FitOptions` lists.
        :raises TypeError: If an option is unknown or an argument of another type.
        :raises ValueError: If an argument breaks its rule; the message names it and nothing is trained.
        :raises FloatingPointError: If a term or weight is not finite; the message names it, epoch and batch.
        :raises Exception: What a loader raises; as after a term that is not finite, nothing of the epoch is left.
        """
        if isinstance(x, DataLoader):
            if y is not None:
                raise ValueError("`y` must be left out with a DataLoader, which brings its labels, got labels.")
            batches: Batches = self._loader_batches(x)
        else:
            batches = self._array_batches(x, y, batch_size)
        self._train(batches, validation_data, nb_epochs, scheduler, options)

    @torch.inference_mode(False)
    def fit_generator(
        self, generator: DataGenerator, nb_epochs: int = 20, scheduler: Any = None, **options: Any
    ) -> None:
        """Train the classifier on an ART data generator.

        :param generator: Generator of known size.
        :param nb_epochs: Number of epochs.
        :param scheduler: As in :meth:`fit`.
        :param options: As in :meth:`fit`, `validation_data` included.
        :raises TypeError: If `generator` is not an ART data generator.
        :raises ValueError: If its size is unknown, or an argument breaks its rule.
        """
        if not isinstance(generator, DataGenerator):
            raise TypeError(f"`generator` must be an ART DataGenerator, got {type(generator).__name__}.")
        if generator.size is None:
            raise ValueError("`generator` must know its size, got None.")
        if _is_whole_loader(generator):
            batches: Batches = self._loader_batches(generator.iterator)
        elif self.fabric.world_size == 1:
            batches = GeneratorBatches(generator, self.classifier)
        else:
            raise ValueError(
                f"`generator` must be a PyTorchDataGenerator, to be shared between processes, got "
                f"{type(generator).__name__}."
            )
        validation_data = options.pop("validation_data", None)
        self._train(batches, validation_data, nb_epochs, scheduler, options)

    def predict(self, x: NDArray[Any], **kwargs: Any) -> NDArray[Any]:
        """The trained classifier's outputs, as its own `predict` gives them.

        :param x: Raw inputs `(n, *input_shape)`.
        :param kwargs: What the classifier's own `predict` takes.
        """
        predicted: NDArray[Any] = self.classifier.predict(np.asarray(x, dtype=np.float32), **kwargs)
        return predicted

    def forward(self, x: Tensor) -> Tensor:
        """The model's output in training, raw inputs in, ART's training-time preprocessing included.

        :param x: Raw inputs `(b, ...)`.
        """
        inputs = bridge.preprocessed(self.classifier, x, training=True)
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return bridge.called(self.running, inputs)

    def craft(self, x: Tensor, y: Tensor | None, target: Target = crafting.loss, start_std: float = 0.0) -> Tensor:
        """Adversarial inputs for a batch by the trainer's attack, in evaluation mode, without weight gradients.

        :param x: Raw inputs `(b, ...)`.
        :param y: Index labels `(b,)`.
        :param target: What a projected-gradient attack climbs.
        :param start_std: Gaussian noise at the start of a projected-gradient attack.
        """
        with bridge.evaluating(self.classifier.model):
            return crafting.craft(
                self.classifier, self.attack, x, y, self.generator, target=target, start_std=start_std
            )

    def move_dual(self, name: str, excess: Tensor | float, step: float, most: float = math.inf) -> None:
        """Projected ascent of a dual variable, without a wait for the device.

        :param name: Its name in `duals`.
        :param excess: By how much the constraint is exceeded.
        :param step: Step size.
        :param most: Largest value; the least is 0.
        """
        dual = self.duals[name]
        excess = torch.as_tensor(excess, dtype=dual.dtype, device=dual.device)
        self.duals[name] = (dual + step * excess).clamp(0.0, most)

    def gather(self, values: Tensor) -> Tensor:
        """Rows of all processes, with their gradients; the same rows for one process.

        :param values: Shape `(b, ...)`.
        """
        return processes.gather(self.fabric, values)

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """Model and modules in Fabric's precision, and alike in all processes, while the context lasts."""
        model = self.classifier.model
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        originals = dict(self.modules)
        processes.share(self.fabric, [module.state_dict() for module in (model, *originals.values())])
        try:
            self.running = InPrecision(self.fabric, torch.compile(model) if self.compiled else model)
            self.modules = {name: InPrecision(self.fabric, module) for name, module in originals.items()}
            with bridge.restored(model):
                yield
        finally:
            self.running, self.modules = model, originals

    def _loader_batches(self, loader: Any) -> LoaderBatches:
        if self.fabric.world_size > 1:
            loader = self.fabric.setup_dataloaders(loader, move_to_device=False)
        return LoaderBatches(loader, self.classifier)

    def _array_batches(self, x: Any, y: Any, batch_size: int) -> ArrayBatches:
        check("batch_size", batch_size, integer(1))
        inputs = bridge.input_tensor(self.classifier, x)
        if len(inputs) == 0:
            raise ValueError("`x` must hold samples, got none.")
        labels = None if y is None else bridge.label_tensor(self.classifier, y, len(inputs))
        return ArrayBatches(inputs, labels, int(batch_size), self.fabric.global_rank, self.fabric.world_size)

    def _train(
        self, batches: Batches, validation_data: Any, nb_epochs: int, scheduler: Any, options: dict[str, Any]
    ) -> None:
        known = ["validation_attack", *(f.name for f in fields(FitOptions))]
        for name in options:
            if name not in known:
                raise TypeError(f"`{name}` must be an option of fit: {', '.join(known)}, got {options[name]!r}.")
        optimised = [p for group in self.classifier.optimizer.param_groups for p in group["params"]]
        if not any(p.requires_grad for p in optimised) or any(p.is_inference() for p in optimised):
            raise ValueError("`classifier` must have weights to train, got frozen ones or some of inference mode.")
        if self.needs_labels and not batches.labelled:
            raise ValueError(f"`y` must be given to {type(self).__name__}, got no labels.")
        if batches.size < self.smallest_batch:
            raise ValueError(
                f"`batch_size` must leave at least {self.smallest_batch} samples in a batch, got {batches.size}."
            )
        if "validation_attack" in options and validation_data is None:
            raise ValueError("`validation_data` must be given with `validation_attack`, got None.")
        attack = options.pop("validation_attack", None)
        validation = None if validation_data is None else Validation.of(self, validation_data, attack)
        chosen = FitOptions(nb_epochs=nb_epochs, scheduler=scheduler, **options)
        chosen.check(self, validation, len(batches))
        Loop(self, batches, chosen, validation).run()


def _check_trainable(classifier: PyTorchClassifier) -> None:
    """Refuse an optimizer that would train something else, and preprocessing that changes labels."""
    own = set(classifier.model.parameters())
    if own.isdisjoint(p for group in classifier.optimizer.param_groups for p in group["params"]):
        raise ValueError("`classifier` must have an optimizer of its own model's weights, got one of others.")
    for operation in classifier.preprocessing_operations:
        if isinstance(operation, CutMixPyTorch | MixupPyTorch):
            raise ValueError(f"`classifier` must not mix labels in its preprocessing, got {type(operation).__name__}.")


def _is_whole_loader(generator: DataGenerator) -> bool:
    """Whether a generator is no more than a loader of known length; its own size and `get_batch` count otherwise."""
    if type(generator) is not PyTorchDataGenerator:
        return False
    dataset = generator.iterator.dataset
    return isinstance(dataset, Sized) and len(dataset) == generator.size


__all__ = ["Callback", "StepTrainer", "Terms"]
