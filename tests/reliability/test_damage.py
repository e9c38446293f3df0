"""Files that are cut short or have a bit turned are refused, measured anew, or read as they were: never wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_mi.cli.inputs import load_classifier
from art_mi.cli.outputs import WEIGHTS, write_weights
from art_mi.finished import Finished
from art_mi.models import small_cnn
from art_mi.trainers.checkpoint import load_checkpoint
from tests.trainers import test_resume as runs

CHECKPOINT = "checkpoint.safetensors"
sizes = pytest.mark.parametrize("cases", [500, pytest.param(20_000, marks=pytest.mark.slow)])


def damaged(content: bytes, cases: int) -> Iterator[bytes]:
    """Copies that are cut short, have one bit turned, or a few bytes replaced, at random places; one third each."""
    draw = np.random.default_rng(cases)
    for case in range(cases):
        at, copy = int(draw.integers(len(content))), bytearray(content)
        if case % 3 == 0:
            copy = copy[:at]
        elif case % 3 == 1:
            copy[at] ^= 1 << int(draw.integers(8))
        else:
            copy[at : at + 4] = draw.bytes(len(copy[at : at + 4]))
        yield bytes(copy)


def refusal(load: Callable[[], Any], expected: Any) -> str | None:
    """Why a file is refused; None where it loads as it was."""
    try:
        found = load()
    except ValueError as error:
        return str(error)
    assert found == expected
    return None


@pytest.fixture(scope="module")
def written(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run with an average, a schedule, a critic and the best weights, stopped in its second epoch."""
    folder: Path = tmp_path_factory.mktemp("written")
    with pytest.raises(runs.KilledError):
        runs.fit(toy, runs.best_of_averages_and_plateau, steps=6, out=folder)
    return folder


@sizes
def test_a_damaged_checkpoint_is_refused_or_loads_as_it_was(
    written: Path, tally: Any, tmp_path: Path, cases: int
) -> None:
    content = (written / CHECKPOINT).read_bytes()
    expected, path, refused = runs.plain(load_checkpoint(written / CHECKPOINT)), tmp_path / CHECKPOINT, 0
    for copy in damaged(content, cases):
        path.write_bytes(copy)
        message = refusal(lambda: runs.plain(load_checkpoint(path)), expected)
        assert message is None or ("`path` must be a" in message and str(path) in message)
        refused += message is not None
    assert refused > 0.95 * cases
    tally("The run", "damaged checkpoints: cut short, bits turned, bytes replaced", cases, "refused by name, or intact")


@pytest.mark.parametrize("cases", [30, pytest.param(1_000, marks=pytest.mark.slow)])
def test_a_run_that_goes_on_from_a_damaged_checkpoint_is_refused_and_changes_nothing(
    toy: Any, written: Path, tally: Any, tmp_path: Path, cases: int
) -> None:
    content = (written / CHECKPOINT).read_bytes()
    trainer, _, options = runs.best_of_averages_and_plateau(toy)
    before, batch_size = runs.everything(trainer), {"batch_size": runs.BATCH, "nb_epochs": runs.EPOCHS}
    for copy in damaged(content, cases):
        (tmp_path / CHECKPOINT).write_bytes(copy)
        if copy != content:
            with pytest.raises(ValueError, match="`resume_from` must be a"):
                trainer.fit(toy.x(26), toy.y(26), **batch_size, **options, out=tmp_path, resume_from=tmp_path)
            assert runs.everything(trainer) == before
            assert runs.files(tmp_path) == {CHECKPOINT: copy}
    tally("The run", "runs resumed from a damaged checkpoint", cases, "refused, nothing changed")


@sizes
def test_damaged_weights_of_a_command_are_refused_or_load_as_they_were(tally: Any, tmp_path: Path, cases: int) -> None:
    write_weights(small_cnn((1, 8, 8), 10, random_state=1), tmp_path)
    path, x = tmp_path / WEIGHTS, np.zeros((3, 1, 8, 8), dtype=np.float32)
    content, refused = path.read_bytes(), 0

    def weights() -> dict[str, Any]:
        classifier = load_classifier("small-cnn", str(path), x, (0.0, 1.0))
        return {name: value.numpy().tobytes() for name, value in classifier.model.state_dict().items()}

    expected = weights()
    for copy in damaged(content, cases):
        path.write_bytes(copy)
        message = refusal(weights, expected)
        assert message is None or ("`weights` must be" in message and str(path) in message)
        refused += message is not None
    assert refused > 0.95 * cases
    tally("The run", "damaged weights of `art-mi train`", cases, "refused by name, or intact")


@sizes
def test_a_damaged_finished_part_counts_as_not_finished(tally: Any, tmp_path: Path, cases: int) -> None:
    draw = np.random.default_rng(0)
    part = {"accuracy": 0.125, "correct": "0110", "x_adv": draw.random(30).tolist(), "nested": {"values": [1, None]}}
    finished = Finished(tmp_path, "of the work")
    finished.put("PGD-20", part)
    (path,) = (tmp_path / "finished").iterdir()
    content, missing = path.read_bytes(), 0
    for copy in damaged(content, cases):
        path.write_bytes(copy)
        found = finished.get("PGD-20")
        assert found is None or json.dumps(found) == json.dumps(part)
        missing += found is None
    assert missing > 0.8 * cases  # white space may be replaced by other
    tally("The run", "damaged parts of long measurements", cases, "measured anew, or intact")


def test_weights_of_others_have_no_digest_and_load(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    network = small_cnn((1, 8, 8), 10, random_state=1)
    save_model(network, str(tmp_path / WEIGHTS))
    classifier = load_classifier("small-cnn", str(tmp_path / WEIGHTS), np.zeros((3, 1, 8, 8), np.float32), None)
    for name, value in network.state_dict().items():
        assert torch.equal(classifier.model.state_dict()[name], value)
