"""What files hold may be anything: each reader refuses it by its documented error, and nothing in a file is run."""

from __future__ import annotations

import json
import re
import string
import struct
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from art_mi.cli import main
from art_mi.cli.commands import COMMANDS
from art_mi.cli.inputs import load_weights, samples
from art_mi.finished import content_digest
from art_mi.report import load_records
from art_mi.results import ModelRecord
from art_mi.trainers.checkpoint import FORMAT, VERSION, load_checkpoint, save_checkpoint

LINES = [pytest.param(20, id="few"), pytest.param(1000, marks=pytest.mark.slow, id="many")]
FILES = [pytest.param(50, id="few"), pytest.param(5000, marks=pytest.mark.slow, id="many")]
MARK = "ran"  # what a file is written to where code of a document runs
TAGS = ("!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system", "!!python/tuple")
COMMAND_OF_CODE = f"touch {MARK}"
VALID = {
    "train": {
        **{"trainer": {"class_path": "mimae", "init_args": {"lamb": 0.5}}, "data": "digits", "out": "new", "eps": 0.1},
        **{"attack": "pgd", "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.002}}, "clip_values": [0.0, 1.0]},
        **{"nb_epochs": 1, "scheduler_interval": "epoch", "patience": None, "restore_best": True},
    },
    "evaluate": {
        **{"model": "small-cnn", "weights": "a", "data": "digits", "eps": "8/255", "out": "new", "curve": ""},
        **{"checks": True, "nb_samples": 200, "norm": "inf", "clip_values": None},
    },
}
odd = st.sampled_from(
    [
        *TAGS,
        "",
        "~",
        "0x1F",
        "1e999",
        "-.inf",
        ".nan",
        "yes",
        "2001-01-01",
        "1_000",
        "09",
        "\x00",
        "a: b",
        "- a",
        "&a [*a]",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | odd
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def once(count: int) -> Any:
    """So many examples, the same in every run, in the folder of one test."""
    unhealthy = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=unhealthy)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, and commands that do nothing."""
    monkeypatch.chdir(tmp_path)
    for name, command in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, wraps(command)(lambda **options: None))
    return tmp_path


def ends_well(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Status of a command line that ends as the documentation says it may."""
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = capsys.readouterr().err
    assert status in (0, 2), said
    assert "Traceback" not in said
    return status


def refusal(read: Callable[[], Any]) -> str | None:
    """Message of the ValueError that a reader ends with, None where it reads."""
    try:
        read()
    except ValueError as error:
        return str(error) if type(error) is ValueError else repr(error)
    return None


def mutated(content: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some settings anew, and some that there are not."""
    names = st.sampled_from([*content, "config", "nothing", "class_path"])
    return st.dictionaries(names, trees, max_size=3).map(lambda changes: {**content, **changes})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", VALID)
@pytest.mark.parametrize("count", LINES)
def test_settings_of_any_content_are_read_or_refused(
    command: str, count: int, folder: Path, capsys: pytest.CaptureFixture[str], tally: Callable[..., None]
) -> None:
    statuses: list[int] = []

    @once(count)
    @example(content=VALID[command], style=None)
    @example(content=[], style=None)
    @given(content=mutated(VALID[command]) | trees, style=st.sampled_from([None, True, False]))
    def read(content: Any, style: bool | None) -> None:
        (folder / "run.yaml").write_text(yaml.dump(content, default_flow_style=style, allow_unicode=True), "utf-8")
        statuses.append(ends_well([command, "--config", "run.yaml"], capsys))

    read()
    assert set(statuses) == {0, 2}  # some are fine
    assert not (folder / MARK).exists()
    tally(
        "The input", f"files of settings of art-mi {command}, mutated", len(statuses), "read or refused, no traceback"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", LINES)
def test_settings_of_any_text_are_read_or_refused(
    count: int, folder: Path, capsys: pytest.CaptureFixture[str], tally: Callable[..., None]
) -> None:
    tried: list[int] = []
    pieces = st.sampled_from(
        [*string.printable, *TAGS, "&a ", "*a", "<<: ", "---\n", "%YAML 9\n", "train:\n", "{", "[", "? "]
    )
    wrong = st.binary(max_size=200) | st.lists(pieces, max_size=40).map(lambda parts: "".join(parts).encode())

    @once(count)
    @given(content=wrong)
    def read(content: bytes) -> None:
        (folder / "run.yaml").write_bytes(content)
        tried.append(ends_well(["train", "--config", "run.yaml"], capsys))
        tried.append(ends_well(["--config", "run.yaml", "train"], capsys))

    read()
    assert not (folder / MARK).exists()
    tally("The input", "files of settings of random text", len(tried), "read or refused, no traceback")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "text",
    [
        *(f"data: {tag} ['{COMMAND_OF_CODE}']" for tag in TAGS),
        *(f"trainer: {tag} ['{COMMAND_OF_CODE}']" for tag in TAGS),
        f"trainer: {{class_path: os.system, init_args: {{command: '{COMMAND_OF_CODE}'}}}}",
        f"optimizer: {{class_path: subprocess.Popen, init_args: {{args: '{COMMAND_OF_CODE}', shell: true}}}}",
        f"scheduler: {{class_path: builtins.eval, init_args: {{source: '{COMMAND_OF_CODE}'}}}}",
        f"attack: {{class_path: builtins.exec, init_args: ['{COMMAND_OF_CODE}']}}",
        "data: " + 2000 * "[",
        "data: " + 2000 * "{a: ",
        "data: " + 300 * "[" + 300 * "]",
        "a: &a [*a]\ndata: *a",
        "data: *nothing",
        "".join(f"x{i}: &x{i} [{', '.join(9 * [f'*x{i - 1}' if i else '1'])}]\n" for i in range(50)),
        "data: \x00",
        "? [a, b]\n: c",
    ],
    ids=lambda text: text[:40],
)
def test_settings_build_no_objects_and_run_nothing(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.yaml").write_text(text, "utf-8")
    given = [] if text.startswith("trainer") else ["--trainer", "mimae"]
    assert ends_well(["train", *given, "--out", "new", "--config", "run.yaml"], capsys) == 2
    assert not (folder / MARK).exists()


# --- checkpoints and weights ---


def packed(header: Any, data: bytes = b"") -> bytes:
    """A file of safetensors with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def unpacked(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header, content[8 + length :]


STATE = {
    "model": {"weight": torch.ones(2, 3), "bias": torch.zeros(2)},
    "seen": np.arange(3),
    "epoch": 3,
    "rates": (0.1, 1),
    "nothing": np.zeros(0, np.float32),
}
UNREADABLE = (
    {"array": "state['nothing']", "dtype": "<f4", "shape": None},
    {"array": "state['seen']", "dtype": "(1,,2)f4,", "shape": [3]},
    {"array": "state['seen']", "dtype": "<i8", "shape": [2**70]},
)
entries = st.recursive(
    scalars
    | st.just({"tensor": "state['model']['weight']"})
    | st.just({"array": "state['seen']", "dtype": "O", "shape": [3]}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dict", "tuple", "list", "Counter", "tensor", "array", "dtype", "shape", "float"]),
            inner,
            max_size=3,
        )
        | st.lists(st.tuples(inner, inner), max_size=3).map(lambda pairs: {"dict": [list(pair) for pair in pairs]})
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("count", FILES)
def test_a_checkpoint_of_any_content_is_read_or_refused(count: int, tmp_path: Path, tally: Callable[..., None]) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, STATE)
    header, data = unpacked(path.read_bytes())
    tried: list[str | None] = []
    versions = st.sampled_from([FORMAT, VERSION, "", "2", "art_mi"])
    metadata = st.fixed_dictionaries({"format": versions, "version": versions, "state": st.text(max_size=30)})
    tensors = load_file(path)  # with whose digest a state of any content comes to be read

    def kept(state: Any) -> dict[str, str]:
        text = json.dumps(state)
        return {"format": FORMAT, "version": VERSION, "state": text, "digest": content_digest(text, tensors)}

    states = entries.map(kept)
    for entry in UNREADABLE:
        path.write_bytes(packed({**header, "__metadata__": kept({"dict": [["a", entry]]})}, data))
        assert re.match("`path` must be an intact checkpoint", refusal(lambda: load_checkpoint(path)) or "")
    headers = (metadata | states).map(lambda kept: {**header, "__metadata__": kept}) | trees
    contents = st.binary(max_size=100) | headers.map(packed) | headers.map(lambda made: packed(made, data))

    @once(count)
    @given(content=contents)
    def read(content: bytes) -> None:
        path.write_bytes(content)
        tried.append(refusal(lambda: load_checkpoint(path)))
        assert tried[-1] is None or tried[-1].startswith("`path` must be ")

    read()
    assert any(tried)
    tally("The input", "checkpoints of random bytes and headers", len(tried), "read or refused by name")


@pytest.mark.parametrize("count", FILES)
def test_weights_of_any_content_are_refused(count: int, tmp_path: Path, tally: Callable[..., None]) -> None:
    path, model = tmp_path / "model.safetensors", nn.Linear(3, 2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    tried = []
    shapes = st.lists(st.integers(-1, 4), max_size=3)
    tensors = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "U8", "F99"]),
            "shape": shapes,
            "data_offsets": st.lists(st.integers(0, 40), max_size=3),
        }
    )
    headers = st.dictionaries(st.sampled_from(["weight", "bias", "other", "__metadata__"]), tensors | trees, max_size=3)
    contents = st.binary(max_size=100) | st.tuples(headers, st.binary(max_size=40)).map(lambda made: packed(*made))

    @once(count)
    @given(content=contents)
    def read(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"`weights` must be (of the model's|a complete file)") as caught:
            load_weights(model, str(path))
        assert type(caught.value) is ValueError
        tried.append(content)

    read()
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    tally("The input", "files of weights of random bytes and headers", len(tried), "refused by name, no weight changed")


# --- data and results ---


class Bomb:
    """What unpickling runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path(MARK).touch, ()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("count", FILES)
def test_data_of_any_content_are_refused(count: int, tmp_path: Path, tally: Callable[..., None]) -> None:
    path, whole = tmp_path / "data.npz", tmp_path / "whole.npz"
    np.savez(whole, x=np.zeros((3, 2), np.float32), y=np.arange(3))
    intact = whole.read_bytes()
    tried = []
    places = st.lists(st.tuples(st.integers(0, len(intact) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    cut = st.integers(0, len(intact) - 1).map(lambda end: intact[:end])

    @once(count)
    @given(content=st.binary(max_size=100) | cut | places.map(lambda changes: _changed(intact, changes)))
    def read(content: bytes) -> None:
        path.write_bytes(content)
        tried.append(content)
        assert (refusal(lambda: samples(str(path), None)) or "`data` must ").startswith("`data` must ")

    read()
    tally("The input", "files of samples of random bytes and changes", len(tried), "read or refused by name")


def _changed(content: bytes, places: list[tuple[int, int]]) -> bytes:
    array = bytearray(content)
    for place, value in places:
        array[place] = value
    return bytes(array)


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_data_that_would_run_code_are_refused(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = np.array([Bomb()], dtype=object)
    if ending == "npz":
        np.savez("data.npz", x=bomb)
    else:
        np.save("data.npy", bomb, allow_pickle=True)
    with pytest.raises(ValueError, match="`data` must"):
        samples(f"data.{ending}", None)
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "results.json").write_text('{"name": "model"}')
    np.savez("record/images.npz", x=bomb)
    with pytest.raises(ValueError, match=r"`folder` must hold a readable images\.npz"):
        ModelRecord.load("record")
    assert not Path(MARK).exists()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("count", FILES)
def test_results_of_any_content_are_read_or_refused(count: int, tmp_path: Path, tally: Callable[..., None]) -> None:
    (tmp_path / "record").mkdir()
    path, images = tmp_path / "record" / "results.json", tmp_path / "record" / "images.npz"
    tried: list[str | None] = []
    drawn: list[str] = []
    names = ["name", "representation", "robustness", "layers", "features", "curve", "backbone", "history", "settings"]
    whole = ModelRecord("model", history=({"epoch": 1, "loss": 0.5},), settings={"seed": 0}, command="art-mi").to_dict()
    made = st.dictionaries(st.sampled_from([*names, "command", "images", "nothing"]), trees, max_size=4)
    changed = made.map(lambda changes: {**whole, **changes})
    texts = (made | changed | trees).map(lambda content: json.dumps(content).encode()) | st.binary(max_size=60)

    @once(count)
    @example(content=json.dumps(whole).encode(), beside=None)
    @example(content=b"[" * 50_000 + b"]" * 50_000, beside=None)
    @given(content=texts, beside=st.none() | st.binary(max_size=60))
    def read(content: bytes, beside: bytes | None) -> None:
        path.write_bytes(content)
        images.unlink(missing_ok=True)
        if beside is not None:
            images.write_bytes(beside)
        for reader, where in ((ModelRecord.load, path.parent), (load_records, [tmp_path])):
            tried.append(refusal(lambda reader=reader, where=where: reader(where)))
            assert tried[-1] is None or re.match("`folders?` must hold ", tried[-1])
        if tried[-1] is None:
            drawn.append(load_records([tmp_path])[0].to_html())

    read()
    assert drawn  # what is read can be reported on
    tally("The input", "results of random content", len(tried), "read or refused by name")
