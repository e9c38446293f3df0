"""What a user of ART may rely on in any trainer: all forms of data train alike, everything else is left as it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import FastGradientMethod
from art.data_generators import NumpyDataGenerator, PyTorchDataGenerator
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.defences.trainer import Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from art_mi.trainers import (
    DALETrainer,
    MadryPGDTrainer,
    MARTTrainer,
    MIMAETrainer,
    StandardTrainer,
    TRADESTrainer,
    WorstCaseMITrainer,
)

KINDS: dict[type[Any], dict[str, Any]] = {
    StandardTrainer: {},
    MadryPGDTrainer: {},
    TRADESTrainer: {},
    MARTTrainer: {},
    MIMAETrainer: {},
    DALETrainer: {},
    WorstCaseMITrainer: {"layer": "0", "beta": 0.5},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


class Stopping(nn.Module):
    """Raises on a chosen forward pass; nested names, batch normalisation, dropout, frozen weights and hooks inside."""

    def __init__(self, features: int = 4, classes: int = 3) -> None:
        super().__init__()
        body = nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.trunk = nn.ModuleDict({"body": body, "neck": nn.Sequential(nn.Linear(8, 6), nn.Tanh())})
        self.head = nn.Linear(6, classes)
        self.calls = 0
        self.stop_at: int | None = None
        self.error: type[BaseException] = RuntimeError

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.trunk["body"](x)
        if self.calls == self.stop_at:
            raise self.error("stopped on purpose")
        out: Tensor = self.head(self.trunk["neck"](hidden))
        return out


def stopping(toy: Any) -> Stopping:
    model: Stopping = toy.seeded(Stopping())
    model.train()
    model.trunk["neck"].eval()
    model.trunk["body"][3].eval()
    model.head.bias.requires_grad_(False)
    model.head.bias.grad = torch.full((3,), 0.25)
    model.trunk["body"][0].register_forward_hook(lambda *call: None)
    model.head.register_forward_pre_hook(lambda *call: None)
    return model


def surroundings(model: nn.Module) -> tuple[Any, ...]:
    """All that training must not change: modes, switches, hooks and global random state."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return (
        [(name, module.training) for name, module in model.named_modules()],
        [(name, p.requires_grad, id(p)) for name, p in model.named_parameters()],
        [{kind: dict(getattr(module, kind)) for kind in hooks} for module in model.modules()],
        torch.get_rng_state().numpy().tobytes(),
        (legacy[0], legacy[1].tobytes(), *legacy[2:]),
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    )


def trained(toy: Any, kind: type[Any] = MadryPGDTrainer, x: Any = None, y: Any = None, **options: Any) -> Any:
    """Weights after two epochs."""
    art = options.pop("art", None) or toy.classifier()
    trainer = toy.trainer(kind, art, **options)
    trainer.fit(toy.x() if x is None else x, toy.y() if y is None else y, batch_size=10, nb_epochs=2)
    return toy.weights(art)


# --- a trainer like ART's own ---


@each_kind
def test_it_is_an_art_trainer_of_the_classifier_given(toy: Any, kind: type[Any]) -> None:
    art = toy.classifier()
    trainer = toy.trainer(kind, art, **KINDS[kind])
    assert isinstance(trainer, Trainer)
    assert trainer.classifier is art
    before = toy.weights(art)
    assert trainer.fit(toy.x(), toy.y(), batch_size=10, nb_epochs=1) is None
    assert trainer.get_classifier() is art
    assert toy.weights(art) != before
    np.testing.assert_array_equal(trainer.predict(toy.x()), art.predict(toy.x()))
    in_fives = trainer.predict(toy.x().astype(np.float64), batch_size=5)
    np.testing.assert_allclose(in_fives, art.predict(toy.x()), rtol=1e-5, atol=1e-6)  # sums round by the batch's size


def test_training_lowers_loss_and_error(toy: Any) -> None:
    art = toy.classifier(lr=0.5)
    trainer = toy.trainer(StandardTrainer, art, attack=None)
    before = (art.predict(toy.x(60)).argmax(1) == toy.y(60)).mean()
    trainer.fit(toy.x(60), toy.y(60), batch_size=10, nb_epochs=20)
    after = (art.predict(toy.x(60)).argmax(1) == toy.y(60)).mean()
    assert after > max(before, 0.9)
    assert trainer.history[-1]["loss"] < 0.5 * trainer.history[0]["loss"]
    assert [record["epoch"] for record in trainer.history] == list(range(1, 21))


# --- forms of data ---


@each_kind
def test_forms_of_labels_give_bit_identical_weights(toy: Any, kind: type[Any]) -> None:
    y = toy.y()
    forms = [y, np.eye(3, dtype=np.float32)[y], y[:, None], torch.from_numpy(y), y.tolist()]
    expected, *found = (trained(toy, kind, y=form, **KINDS[kind]) for form in forms)
    assert all(weights == expected for weights in found)


def test_forms_of_inputs_give_bit_identical_weights(toy: Any) -> None:
    x = toy.x()
    read_only = x.copy()
    read_only.flags.writeable = False
    forms = [x, x.astype(np.float64), torch.from_numpy(x), torch.from_numpy(x).requires_grad_(), read_only]
    expected, *found = (trained(toy, x=form) for form in forms)
    assert all(weights == expected for weights in found)


def test_bytes_train_like_floats_of_the_same_values(toy: Any) -> None:
    pixels = (255 * toy.x()).astype(np.uint8)
    scaled: dict[str, Any] = {"clip_values": (0, 255), "preprocessing": (0.0, 255.0)}
    found = []
    for x in (pixels, pixels.astype(np.float32)):
        art = toy.classifier(**scaled)
        found.append(trained(toy, x=x, art=art, attack=toy.attack(art, eps=25, eps_step=10)))
    assert found[0] == found[1]


@each_kind
def test_inputs_and_labels_are_never_changed(toy: Any, kind: type[Any]) -> None:
    x, y = toy.x(), np.eye(3, dtype=np.float32)[toy.y()]
    tensors = torch.from_numpy(x.copy()), torch.from_numpy(y.copy())
    art = toy.classifier()
    trainer = toy.trainer(kind, art, attack=FastGradientMethod(art, eps=0.1)) if kind is MadryPGDTrainer else None
    trainer = trainer or toy.trainer(kind, art, **KINDS[kind])
    before = x.tobytes(), y.tobytes()
    trainer.fit(x, y, validation_data=(x, y), batch_size=10, nb_epochs=1)
    trainer.fit(*tensors, validation_data=tensors, batch_size=10, nb_epochs=1)
    assert (x.tobytes(), y.tobytes()) == before
    assert (tensors[0].numpy().tobytes(), tensors[1].numpy().tobytes()) == before


def by_hand(toy: Any, batches: list[tuple[Any, Any]], nb_epochs: int) -> dict[str, bytes]:
    """A literal training loop of torch."""
    art = toy.classifier()
    for _ in range(nb_epochs):
        for x, y in batches:
            art.optimizer.zero_grad()
            cross_entropy(art.model(torch.as_tensor(x)), torch.as_tensor(y)).backward()
            art.optimizer.step()
    return toy.weights(art)  # type: ignore[no-any-return]


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_loader_trains_like_a_literal_loop(toy: Any, one_hot: bool) -> None:
    x, y = torch.from_numpy(toy.x(21)), torch.from_numpy(toy.y(21))
    labels = torch.eye(3)[y] if one_hot else y
    art = toy.classifier()
    loader = DataLoader(TensorDataset(x, labels), batch_size=10)  # the last batch holds one sample
    toy.trainer(StandardTrainer, art, attack=None).fit(loader, nb_epochs=2)
    assert toy.weights(art) == by_hand(toy, list(zip(x.split(10), y.split(10), strict=True)), nb_epochs=2)


@pytest.mark.parametrize("kind", [NumpyDataGenerator, PyTorchDataGenerator])
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_generator_of_art_trains_like_a_literal_loop(toy: Any, kind: type[Any], one_hot: bool) -> None:
    x, y = toy.x(25), toy.y(25)
    labels = np.eye(3, dtype=np.float32)[y] if one_hot else y
    if kind is NumpyDataGenerator:
        generator: Any = NumpyDataGenerator(x, labels, batch_size=10, drop_remainder=False)
    else:
        pairs = TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))
        generator = PyTorchDataGenerator(DataLoader(pairs, batch_size=10), size=25, batch_size=10)
    art = toy.classifier()
    toy.trainer(StandardTrainer, art, attack=None).fit_generator(generator, nb_epochs=2)
    parts = [(x[i : i + 10], y[i : i + 10]) for i in (0, 10, 20)]
    assert toy.weights(art) == by_hand(toy, parts, nb_epochs=2)


@each_kind
def test_all_sources_of_batches_suit_all_trainers(toy: Any, kind: type[Any]) -> None:
    x, y = toy.x(21), toy.y(21)
    pairs = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    loader = DataLoader(pairs, batch_size=10, shuffle=True)
    generators = (
        NumpyDataGenerator(x, y, batch_size=10, drop_remainder=False, shuffle=True),
        PyTorchDataGenerator(DataLoader(pairs, batch_size=10), size=21, batch_size=10),
    )
    for source in (loader, *generators):
        art = toy.classifier()
        trainer, before = toy.trainer(kind, art, **KINDS[kind]), toy.weights(art)
        fit = trainer.fit if source is loader else trainer.fit_generator
        fit(source, nb_epochs=2, validation_data=(x, y))
        assert len(trainer.history) == (4 if kind is WorstCaseMITrainer else 2)
        assert {"clean_accuracy", "robust_accuracy"} <= set(trainer.history[-1])
        changed = [name for name, value in toy.weights(art).items() if value != before[name]]
        assert changed == ["0.weight", "0.bias", "2.weight", "2.bias"]


# --- models ---


def test_batch_normalisation_learns_and_attacks_do_not_teach_it(toy: Any) -> None:
    norms = []
    for max_iter in (1, 7):
        art = toy.classifier(toy.network(nn.BatchNorm1d(8)))
        trainer = toy.trainer(MadryPGDTrainer, art, attack=toy.attack(art, max_iter=max_iter))
        trainer.fit(toy.x(), toy.y(), batch_size=8, nb_epochs=2)
        norms.append(art.model[1])
    assert all(int(norm.num_batches_tracked) == 6 for norm in norms)
    assert float(norms[0].running_mean.abs().min()) > 0


def test_dropout_drops_in_training_and_not_in_attacks(toy: Any) -> None:
    modes: list[bool] = []
    art = toy.classifier(toy.network(nn.Dropout(0.5)))
    art.model[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    toy.trainer(MadryPGDTrainer, art).fit(toy.x(), toy.y(), batch_size=12, nb_epochs=1)
    assert modes == [False, False, False, True] * 2
    assert trained(toy, art=toy.classifier(toy.network(nn.Dropout(0.5)))) != trained(toy)


def test_a_frozen_weight_stays_frozen(toy: Any) -> None:
    for kind, options in KINDS.items():
        art = toy.classifier()
        art.model[0].bias.requires_grad_(False)
        before = art.model[0].bias.numpy().tobytes()
        toy.trainer(kind, art, **options).fit(toy.x(), toy.y(), batch_size=12, nb_epochs=1)
        assert art.model[0].bias.numpy().tobytes() == before
        assert [p.requires_grad for p in art.model.parameters()] == [True, False, True, True]


# --- preprocessing and clip values ---


class Standardised(nn.Module):
    def __init__(self, model: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model((x - self.mean) / self.std)
        return out


@each_kind
def test_preprocessing_is_applied_once_wherever_the_model_runs(toy: Any, kind: type[Any]) -> None:
    mean, std = [0.4, 0.5, 0.6, 0.5], [0.5, 0.25, 1.0, 2.0]
    options = {**KINDS[kind], **({"layer": None, "head": None} if kind is WorstCaseMITrainer else {})}
    validated = {} if kind is WorstCaseMITrainer else {"validation_data": (toy.x(), toy.y())}
    outside = toy.classifier(preprocessing=(np.array(mean), np.array(std)))
    inside = toy.classifier(Standardised(toy.network(), mean, std))
    histories = []
    for art in (outside, inside):
        trainer = toy.trainer(kind, art, **options)
        trainer.fit(toy.x(), toy.y(), batch_size=12, nb_epochs=2, **validated)
        histories.append(trainer.history)
    for found, expected in zip(outside.model.parameters(), inside.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    for found, expected in zip(*histories, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


class Shifting(PreprocessorPyTorch):  # type: ignore[misc]
    """Adds to the inputs, in training or in prediction only."""

    def __init__(self, amount: float, *, training: bool) -> None:
        super().__init__(is_fitted=True, apply_fit=training, apply_predict=not training)
        self.amount = amount

    def forward(self, x: Tensor, y: Any = None) -> Any:
        return x + self.amount, y


def test_steps_for_training_are_taken_in_training_only(toy: Any) -> None:
    seen: dict[bool, list[float]] = {True: [], False: []}
    model = toy.network()
    model.register_forward_pre_hook(lambda module, args: seen[module.training].append(float(args[0].detach().mean())))
    steps = [Shifting(10.0, training=True), Shifting(100.0, training=False)]
    art = toy.classifier(model, preprocessing_defences=steps)
    trainer = toy.trainer(MadryPGDTrainer, art)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=12, nb_epochs=1)
    assert len(seen[True]) == 2
    assert all(10 <= mean <= 11 for mean in seen[True])
    assert len(seen[False]) > 2 * 3
    assert all(100 <= mean <= 101 for mean in seen[False])


def test_clip_values_may_be_numbers_arrays_or_none(toy: Any) -> None:
    numbers, arrays = (0.0, 1.0), (np.zeros(4, np.float32), np.ones(4, np.float32))
    by_numbers, by_arrays, free = (trained(toy, art=toy.classifier(clip_values=v)) for v in (numbers, arrays, None))
    assert by_arrays == by_numbers
    assert free != by_numbers


# --- what is left as it was ---


@each_kind
def test_modes_switches_hooks_and_random_state_are_as_before(toy: Any, kind: type[Any]) -> None:
    model = stopping(toy)
    art = toy.classifier(model)
    options = {**KINDS[kind], **({"layer": "trunk.body"} if kind is WorstCaseMITrainer else {})}
    attack = toy.attack(art, num_random_init=1)
    before = surroundings(model)
    trainer = toy.trainer(kind, art, attack=attack, **options)
    trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=12, nb_epochs=1)
    assert surroundings(model) == before


@each_kind
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_modes_switches_hooks_and_random_state_are_as_before_an_error(
    toy: Any, kind: type[Any], error: type[BaseException]
) -> None:
    model = stopping(toy)
    art = toy.classifier(model)
    options = {**KINDS[kind], **({"layer": "trunk.body"} if kind is WorstCaseMITrainer else {})}
    before = surroundings(model)
    trainer = toy.trainer(kind, art, **options)
    model.calls = 0

    def fit() -> None:
        trainer.fit(toy.x(), toy.y(), validation_data=(toy.x(), toy.y()), batch_size=12, nb_epochs=1)

    fit()
    total, model.error = model.calls, error
    for stop_at in sorted({1, 2, total // 3, total // 2, 3 * total // 4, total}):
        model.calls, model.stop_at = 0, stop_at
        with pytest.raises(error, match="stopped on purpose"):
            fit()
        assert surroundings(model) == before
        assert trainer.running is model


def test_an_attack_that_draws_from_global_state_leaves_it_as_before(toy: Any) -> None:
    art = toy.classifier()
    trainer = toy.trainer(MadryPGDTrainer, art, attack=FastGradientMethod(art, eps=0.1, num_random_init=2))
    before = surroundings(art.model)
    trainer.fit(toy.x(), toy.y(), batch_size=12, nb_epochs=1)
    assert surroundings(art.model) == before


# --- seeds ---


@each_kind
def test_the_seed_alone_decides(toy: Any, kind: type[Any]) -> None:
    def run(random_state: int, outside: int) -> Any:
        art = toy.classifier(toy.network(nn.Dropout(0.3)))
        attack = toy.attack(art, num_random_init=1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(outside)
            return trained(toy, kind, art=art, attack=attack, random_state=random_state, **KINDS[kind])

    first = run(5, outside=1)
    assert run(5, outside=2) == first
    assert run(6, outside=1) != first


def test_the_seed_decides_the_order_of_a_shuffled_loader_and_of_arts_attacks(toy: Any) -> None:
    def run(random_state: int) -> Any:
        art = toy.classifier()
        attack = FastGradientMethod(art, eps=0.1, num_random_init=1)
        pairs = TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y()))
        trainer = toy.trainer(MadryPGDTrainer, art, attack=attack, random_state=random_state)
        trainer.fit(DataLoader(pairs, batch_size=10, shuffle=True), nb_epochs=2)
        return toy.weights(art)

    assert run(5) == run(5)
    assert run(5) != run(6)


# --- bad input, refused before any training ---


class Unsized(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.zeros(4), 0), (torch.ones(4), 1)])


def changed(x: Any, value: float) -> Any:
    x[7, 2] = value
    return x


BAD_FITS: list[tuple[str, Any, type[Exception], str]] = [
    ("labels out of range", lambda t: {"y": t.y() + 1}, ValueError, r"`y` must hold integers from 0 to 2, got .* to 3"),
    ("negative labels", lambda t: {"y": t.y() - 1}, ValueError, r"`y` must hold integers from 0 to 2, got .*-1"),
    ("too few labels", lambda t: {"y": t.y(23)}, ValueError, r"`y` must hold one label for each of the 24 .*\(23,\)"),
    ("two columns", lambda t: {"y": np.eye(2)[t.y() % 2]}, ValueError, r"`y` must have 1 or 3 columns, got 2"),
    ("words as labels", lambda t: {"y": ["a"] * 24}, TypeError, r"`y` must be numeric"),
    ("no labels", lambda t: {"y": None}, ValueError, r"`y` must be given to MadryPGDTrainer, got no labels"),
    ("a wrong shape", lambda t: {"x": t.x()[:, :3]}, ValueError, r"`x` must have shape \(n, 4\), got \(24, 3\)"),
    ("NaN", lambda t: {"x": changed(t.x(), np.nan)}, ValueError, r"`x` must be finite, got NaN"),
    ("values outside", lambda t: {"x": changed(t.x(), 1.5)}, ValueError, r"`x` must lie .*clip_values \[0, 1\].* 1\.5"),
    ("no samples", lambda t: {"x": t.x()[:0], "y": t.y()[:0]}, ValueError, r"`x` must hold samples, got none"),
    ("words as inputs", lambda t: {"x": "x"}, TypeError, r"`x` must be an array, a tensor or a DataLoader, got str"),
    ("batches of none", lambda t: {"batch_size": 0}, ValueError, r"`batch_size` must be an integer .*, got 0"),
    ("half a batch", lambda t: {"batch_size": 2.5}, ValueError, r"`batch_size` must be an integer .*, got 2\.5"),
    ("one array to validate", lambda t: {"validation_data": t.x()}, ValueError, r"`validation_data` must be a pair"),
    (
        "NaN to validate",
        lambda t: {"validation_data": (changed(t.x(), np.nan), t.y())},
        ValueError,
        r"`validation_data` .* `x` must be finite",
    ),
    (
        "labels to validate",
        lambda t: {"validation_data": (t.x(), t.y() + 1)},
        ValueError,
        r"`validation_data` .* `y` must hold integers from 0 to 2",
    ),
    (
        "nothing to validate",
        lambda t: {"validation_data": (t.x()[:0], t.y()[:0])},
        ValueError,
        r"`validation_data` .*`x` must hold samples",
    ),
    (
        "an attack without data",
        lambda t: {"validation_attack": t.attack(t.classifier())},
        ValueError,
        r"`validation_data` must be given with `validation_attack`",
    ),
    (
        "a foreign attack to validate",
        lambda t: {"validation_data": (t.x(), t.y()), "validation_attack": t.attack(t.classifier())},
        ValueError,
        r"`validation_attack` must attack the model of `classifier`",
    ),
    (
        "a word to validate with",
        lambda t: {"validation_data": (t.x(), t.y()), "validation_attack": "pgd"},
        TypeError,
        r"`validation_attack` must be an ART EvasionAttack, got str",
    ),
    (
        "a loader and labels",
        lambda t: {"x": DataLoader(TensorDataset(torch.from_numpy(t.x())))},
        ValueError,
        r"`y` must be left out with a DataLoader",
    ),
    (
        "a loader without labels",
        lambda t: {"x": DataLoader(torch.from_numpy(t.x()), batch_size=8), "y": None},
        ValueError,
        r"`y` must be given to MadryPGDTrainer, got no labels",
    ),
    (
        "an empty loader",
        lambda t: {"x": DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0))), "y": None},
        ValueError,
        r"`x` must hold samples, got an empty DataLoader",
    ),
    (
        "a loader of wrong labels",
        lambda t: {
            "x": DataLoader(TensorDataset(torch.from_numpy(t.x()), torch.from_numpy(t.y() + 1)), batch_size=24),
            "y": None,
        },
        ValueError,
        r"`y` must hold integers from 0 to 2, got .* to 3",
    ),
    (
        "a loader without length",
        lambda t: {"x": DataLoader(Unsized(), batch_size=2), "y": None},
        ValueError,
        r"`x` must be a DataLoader of known length",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), [row[1:] for row in BAD_FITS], ids=[r[0] for r in BAD_FITS])
def test_bad_data_and_options_are_refused_before_training(
    toy: Any, options: Any, error: type[Exception], message: str
) -> None:
    art = toy.classifier()
    trainer = toy.trainer(MadryPGDTrainer, art)
    arguments = {"x": toy.x(), "y": toy.y(), "batch_size": 10, "nb_epochs": 1, **options(toy)}
    before, around = toy.weights(art), surroundings(art.model)
    with pytest.raises(error, match=message):
        trainer.fit(**arguments)
    assert toy.weights(art) == before
    assert surroundings(art.model) == around
    assert trainer.history == []


@pytest.mark.parametrize("kind", [MIMAETrainer, WorstCaseMITrainer])
def test_information_needs_two_samples_in_a_batch(toy: Any, kind: type[Any]) -> None:
    art = toy.classifier()
    trainer, x, y = toy.trainer(kind, art, **KINDS[kind]), toy.x(), toy.y()
    before, message = toy.weights(art), r"`batch_size` must leave at least 2 samples in a batch, got 1"
    pairs = TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    with pytest.raises(ValueError, match=message):
        trainer.fit(x, y, batch_size=1)
    with pytest.raises(ValueError, match=message):
        trainer.fit(x[:1], y[:1])
    with pytest.raises(ValueError, match=message):
        trainer.fit(DataLoader(pairs, batch_size=1))
    with pytest.raises(ValueError, match=message):
        trainer.fit(DataLoader(TensorDataset(*pairs[:1]), batch_size=8))
    with pytest.raises(ValueError, match=message):
        trainer.fit_generator(NumpyDataGenerator(x, y, batch_size=1))
    assert toy.weights(art) == before


def test_a_bad_label_that_comes_late_takes_the_epoch_back(toy: Any) -> None:
    art = toy.classifier()
    pairs = TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(np.r_[toy.y(23), 7]))
    before = toy.weights(art)
    with pytest.raises(ValueError, match=r"`y` must hold integers from 0 to 2, got .* to 7"):
        toy.trainer(MadryPGDTrainer, art).fit(DataLoader(pairs, batch_size=8), nb_epochs=1)
    assert toy.weights(art) == before


def test_the_generator_of_a_loader_is_as_before(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y()))
    own = torch.Generator().manual_seed(5)
    loader, before = DataLoader(pairs, batch_size=8, shuffle=True, generator=own), own.get_state()
    trainer = toy.trainer(MadryPGDTrainer)
    with pytest.raises(ValueError, match="`nb_epochs`"):
        trainer.fit(loader, nb_epochs=0)
    trainer.fit(loader, nb_epochs=1)
    assert torch.equal(own.get_state(), before)


def test_a_generator_of_ones_own_is_asked_for_its_batches(toy: Any) -> None:
    class Augmenting(NumpyDataGenerator):
        calls = 0

        def get_batch(self) -> Any:
            self.calls += 1
            return super().get_batch()

    generator = Augmenting(toy.x(), toy.y(), batch_size=8)
    toy.trainer(MadryPGDTrainer).fit_generator(generator, nb_epochs=2)
    assert generator.calls == 6


def test_the_size_of_a_generator_counts(toy: Any) -> None:
    pairs = TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y()))
    trainer, steps = toy.trainer(MadryPGDTrainer), []
    trainer.after_step = steps.append
    trainer.fit_generator(PyTorchDataGenerator(DataLoader(pairs, batch_size=8), size=12, batch_size=8), nb_epochs=1)
    assert len(steps) == 2


def test_a_generator_without_labels_is_refused(toy: Any) -> None:
    class Unlabelled(NumpyDataGenerator):
        def get_batch(self) -> Any:
            return super().get_batch()[0], None

    with pytest.raises(ValueError, match="`generator` must give labels, got None"):
        toy.trainer(MadryPGDTrainer).fit_generator(Unlabelled(toy.x(), toy.y(), batch_size=8), nb_epochs=1)


def test_a_generator_must_be_one_of_art_and_know_its_size(toy: Any) -> None:
    trainer = toy.trainer(MadryPGDTrainer)
    pairs = TensorDataset(torch.from_numpy(toy.x()), torch.from_numpy(toy.y()))
    unsized = PyTorchDataGenerator(DataLoader(pairs, batch_size=8), size=24, batch_size=8)
    unsized._size = None
    with pytest.raises(TypeError, match=r"`generator` must be an ART DataGenerator, got DataLoader"):
        trainer.fit_generator(DataLoader(pairs))
    with pytest.raises(ValueError, match=r"`generator` must know its size, got None"):
        trainer.fit_generator(unsized)
    with pytest.raises(TypeError, match=r"`lr` must be an option of fit"):
        trainer.fit_generator(NumpyDataGenerator(toy.x(), toy.y(), batch_size=8), lr=0.1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "16"}, ValueError, r"`precision` must be one of '32-true', 'bf16-mixed', '16-mixed', got '16'"),
        ({"precision": None}, ValueError, r"`precision` must be one of .*, got None"),
        ({"channels_last": 1}, ValueError, r"`channels_last` must be True or False, got 1"),
        ({"compiled": "yes"}, ValueError, r"`compiled` must be True or False, got 'yes'"),
        ({"random_state": -1}, ValueError, r"`random_state` must be an integer from 0 to 4294967295, got -1"),
        ({"random_state": None}, ValueError, r"`random_state` must be an integer from 0 to 4294967295, got None"),
        ({"fabric": "ddp"}, TypeError, r"`fabric` must be a Lightning Fabric, got str"),
        ({"learning_rate": 0.1}, TypeError, "learning_rate"),
    ],
)
def test_a_bad_argument_is_refused_by_name(
    toy: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        toy.trainer(TRADESTrainer, **options)


def test_precision_belongs_to_the_fabric_where_one_is_given(toy: Any) -> None:
    fabric = toy.trainer(MadryPGDTrainer).fabric
    assert toy.trainer(MadryPGDTrainer, fabric=fabric).fabric is fabric
    with pytest.raises(ValueError, match=r"`precision` must be left to the `fabric` given, got 'bf16-mixed'"):
        toy.trainer(MadryPGDTrainer, fabric=fabric, precision="bf16-mixed")


def test_a_classifier_must_be_one_of_torch_with_an_optimizer_and_tensor_preprocessing(toy: Any) -> None:
    from art.defences.preprocessor import MixupPyTorch, SpatialSmoothing

    art = toy.classifier(optimizer=None)
    with pytest.raises(ValueError, match=r"`classifier` must have an optimizer, got None"):
        toy.trainer(MadryPGDTrainer, art)
    with pytest.raises(TypeError, match=r"`classifier` must be an ART PyTorchClassifier, got Sequential"):
        StandardTrainer(toy.network())
    with pytest.raises(ValueError, match=r"`classifier` must preprocess with PyTorch preprocessors"):
        StandardTrainer(toy.classifier(preprocessing_defences=SpatialSmoothing()))
    with pytest.raises(ValueError, match=r"`classifier` must not mix labels in its preprocessing, got MixupPyTorch"):
        StandardTrainer(toy.classifier(preprocessing_defences=MixupPyTorch(num_classes=3)))
    with pytest.raises(ValueError, match=r"`classifier` must have an optimizer of its own model's weights"):
        StandardTrainer(toy.classifier(optimizer=toy.classifier().optimizer))


def test_a_model_must_return_one_tensor(toy: Any) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = toy.network()

        def forward(self, x: Tensor) -> Any:
            return self.body(x), x

    trainer = toy.trainer(StandardTrainer, toy.classifier(Pair()), attack=None)
    with pytest.raises(TypeError, match=r"`classifier` must have a model that returns one tensor, got tuple"):
        trainer.fit(toy.x(), toy.y(), nb_epochs=1)
