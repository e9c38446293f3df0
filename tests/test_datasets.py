"""Data sets read by torchvision's own classes from tiny files in each set's own format."""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, MNIST, SVHN

from art_mi.cli import main
from art_mi.datasets import NAMES, load
from art_mi.demo import DemoResult
from tests.tiny_data import made, trust, write

EPS = {"mnist": 0.3, "fashion-mnist": 0.1, "svhn": 4 / 255, "cifar10": 8 / 255}
CLASSES = {"mnist": MNIST, "fashion-mnist": MNIST, "svhn": SVHN, "cifar10": CIFAR10}
EACH = pytest.mark.parametrize("name", list(EPS))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset in (MNIST, SVHN, CIFAR10):
        monkeypatch.setattr(dataset, "download", lambda _: pytest.fail("a download was begun"))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def files(name: str) -> Path:
        write(name, tmp_path)
        trust(name, tmp_path, monkeypatch)
        return tmp_path

    return files


# --- what is read ---


@EACH
def test_images_and_labels_are_those_of_the_files(name: str, written: Callable[[str], Path]) -> None:
    data = load(name, written(name))
    assert (data.nb_classes, data.eps) == (10, EPS[name])
    read = ((data.x_train, data.y_train), (data.x_test, data.y_test))
    for (x, y), (pixels, labels) in zip(read, made(name), strict=True):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, (pixels / 255).astype(np.float32))
        np.testing.assert_array_equal(y, labels)


def test_digits_need_no_folder() -> None:
    data = load("digits")
    assert (data.x_train.shape, data.x_test.shape, data.eps) == ((1297, 1, 8, 8), (500, 1, 8, 8), 0.12)
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)


def test_a_folder_may_lie_in_the_home(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(written("mnist")))
    assert len(load("mnist", "~").x_test) == 100


# --- downloads ---


@EACH
def test_nothing_is_downloaded_unless_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Give `download=True` \(`--download`\), or unpack them there by hand"):
        load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_what_is_missing_is_downloaded_when_asked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_: Any) -> None:
        if not any(tmp_path.iterdir()):
            write(name, tmp_path)

    monkeypatch.setattr(MNIST, "download", download)
    assert len(load(name, tmp_path, download=True).x_train) == 120


@EACH
@pytest.mark.parametrize("error", [RuntimeError("all mirrors failed"), URLError("no route")])
def test_a_download_that_fails_says_why(
    name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_: Any) -> None:
        raise error

    monkeypatch.setattr(CLASSES[name], "download", download)
    with pytest.raises(FileNotFoundError, match=r"The download failed: .*(all mirrors failed|no route)"):
        load(name, tmp_path, download=True)


# --- errors ---


@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels"),
        ("fashion-mnist", "FashionMNIST/raw", "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3"),
        ("svhn", "", "train_32x32.mat, test_32x32.mat"),
        (
            "cifar10",
            "cifar-10-batches-py",
            "data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, test",
        ),
    ],
)
def test_missing_files_are_named_with_their_folder(name: str, folder: str, files: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        load(name, str(tmp_path))
    beginning = f"`data_dir` must hold the files of {name}, got {str(tmp_path)!r}: {tmp_path / folder} lacks {files}"
    assert str(raised.value).startswith(beginning)
    assert ("Debian's package dataset-fashion-mnist" in str(raised.value)) == (name == "fashion-mnist")


def test_only_what_is_missing_is_named(written: Callable[[str], Path]) -> None:
    folder = written("mnist")
    (folder / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"raw lacks t10k-labels-idx1-ubyte\. Give"):
        load("mnist", folder)


@pytest.mark.parametrize("name", ["svhn", "cifar10"])
def test_files_other_than_the_published_ones_are_refused(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    with pytest.raises(
        ValueError, match=rf"`data_dir` must hold the files of {name}, got .*cannot be read: .*corrupted"
    ):
        load(name, tmp_path)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x08 still compressed", struct.pack(">4i", 0x803, 120, 28, 28)])
def test_files_of_another_format_or_cut_short_are_refused(content: bytes, written: Callable[[str], Path]) -> None:
    folder = written("mnist")
    (folder / "MNIST/raw/train-images-idx3-ubyte").write_bytes(content + bytes(28))
    with pytest.raises(ValueError, match=r"`data_dir` must hold the files of mnist, got .*cannot be read"):
        load("mnist", folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cifar100"}, f"`name` must be one of {', '.join(map(repr, NAMES))}, got 'cifar100'"),
        ({"name": None}, "`name` must be one of 'digits'.*, got None"),
        ({"name": "svhn"}, "`data_dir` must be a folder with torchvision's files, got None"),
        ({"name": "svhn", "data_dir": 3}, "`data_dir` must be a folder with torchvision's files, got 3"),
        ({"name": "svhn", "data_dir": ".", "download": "yes"}, "`download` must be True or False, got 'yes'"),
    ],
)
def test_a_wrong_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(**options)


# --- on the command line ---

TRAIN = ["train", "--trainer", "standard", "--trainer.verbose=false", "--nb-epochs", "1"]
ESTIMATE = ["estimate", "--model", "small-cnn", "--eps", "0.1", "--max-iter", "1", "--quiet"]
EVALUATE = ["evaluate", "--model", "small-cnn", "--eps", "0.1", "--quiet"]


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10"])
def test_a_classifier_is_trained_and_measured(name: str, written: Callable[[str], Path], capsys: Any) -> None:
    folder = written(name)
    data = ["--data", name, "--data-dir", str(folder)]
    assert main([*TRAIN, *data, "--out", str(folder / "run")]) == 0
    assert json.loads((folder / "run/results.json").read_text())["eps (l_inf)"] == EPS[name]
    assert "of 100 test samples" in capsys.readouterr().out
    assert main([*ESTIMATE, *data, "--weights", str(folder / "run/model.safetensors")]) == 0
    assert "Representation vulnerability" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--download"]])
def test_the_command_on_the_card_of_a_demo_names_its_data(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("art_mi.demo.run_demo", lambda *_, **__: DemoResult((), {}))
    monkeypatch.setattr("art_mi.demo.write_demo", lambda found, out, command: command)
    monkeypatch.setattr("art_mi.report.text_table", lambda records: "")
    assert main(["demo", "--data", "svhn", "--data-dir", "a folder", *flags]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:6] == ["art-mi", "demo", "--data", "svhn", "--data-dir", "a folder"]
    assert ("--download" in words) == bool(flags)


@pytest.mark.parametrize(
    "command", [["demo", "--data"], [*TRAIN, "--data"], [*ESTIMATE, "--data"], [*EVALUATE, "--data"]]
)
@pytest.mark.parametrize(("flags", "remedy"), [([], "(`--download`)"), (["--download"], "The download failed")])
def test_every_command_downloads_with_the_flag_only(
    command: list[str], flags: list[str], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def download(_: Any) -> None:
        raise URLError("no route")

    if flags:
        monkeypatch.setattr(SVHN, "download", download)
    out = [] if command[0] == "estimate" else ["--out", str(tmp_path / "out")]
    assert main([*command, "svhn", "--data-dir", str(tmp_path), *flags, *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("art-mi: `data_dir` must hold the files of svhn")
    assert remedy in error
    assert not (tmp_path / "out").exists()


def test_an_unknown_data_set_is_refused_by_the_name_of_its_option(capsys: Any) -> None:
    assert main([*ESTIMATE, "--data", "cifar100"]) == 2
    assert "`data` must be a file .npz or one of 'digits', 'mnist'" in capsys.readouterr().err
