from __future__ import annotations

import copy
import itertools
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from art_mi.finished import content_digest
from art_mi.trainers.checkpoint import check_state, load_checkpoint, save_checkpoint

PACKAGE = Path(sys.modules["art_mi"].__file__ or "").parent.parent
SHARED = torch.arange(12.0)
DTYPES = [
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
    *(torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64),
    *(torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2),
]


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit, in type, order and `_metadata` too."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        kinds = (left.dtype, left.shape) == (right.dtype, right.shape)
        return kinds and torch.equal(_bytes(left), _bytes(right))
    if type(left) is not type(right) or getattr(left, "_metadata", None) != getattr(right, "_metadata", None):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return (left.dtype.str, left.shape, left.tobytes()) == (right.dtype.str, right.shape, right.tobytes())
    if isinstance(left, Mapping):
        keys = list(left) == list(right) and list(map(type, left)) == list(map(type, right))
        return keys and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return (left != left and right != right) or struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


def _bytes(tensor: Tensor) -> Tensor:
    return (
        tensor.detach()
        .resolve_conj()
        .resolve_neg()
        .flatten()
        .clone(memory_format=torch.contiguous_format)
        .view(torch.uint8)
    )


def round_trip(state: dict[Any, Any]) -> dict[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "checkpoint", state)
        assert os.listdir(folder) == ["checkpoint"]
        return load_checkpoint(Path(folder) / "checkpoint")


# --- what goes in comes out ---


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Half support is experimental.*")
        size = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
        content = draw(st.binary(min_size=size, max_size=size))
        if dtype is torch.bool:
            content = bytes(byte % 2 for byte in content)
        flat = torch.tensor(list(content), dtype=torch.uint8).view(dtype)
        tensor = flat.reshape(shape)
    return tensor.mT if tensor.ndim > 1 and draw(st.booleans()) else tensor


arrays = hnp.arrays(
    st.one_of(
        *(hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes()),
        *(hnp.floating_dtypes(), hnp.complex_number_dtypes()),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), tensors(), arrays),
    arrays.filter(lambda array: array.size > 0).map(lambda array: array.reshape(-1)[0]),
)
keys = st.text(max_size=4) | st.integers(-(2**70), 2**70)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple)),
        *(st.dictionaries(keys, inner, max_size=4), st.dictionaries(keys, inner, max_size=4).map(OrderedDict)),
        st.dictionaries(keys, st.integers(-3, 3), max_size=4).map(Counter),
    ),
    max_leaves=12,
)


@pytest.mark.filterwarnings("ignore:.*Half support is experimental")
@settings(deadline=None, max_examples=100)
@given(st.dictionaries(keys, values, max_size=4))
def test_nested_states_come_back_to_the_last_bit(state: dict[Any, Any]) -> None:
    assert same(round_trip(state), state)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, -1, 2**64, -(2**64), [10**300], "", "naïve\n\0\ud800 \U0001f600", "NaN"),
        *(0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), 1e22),
        *((), [], {}, (1,), [(1, [2, (3,)])], {1: "a", "1": "b"}, {"tensor": "a"}, {"int": "0x1"}),
        *(Counter({30: 1, 60: 2, 90: 0}), OrderedDict(b=1, a=2)),
        *(torch.tensor(3.0), torch.empty(0), torch.empty(2, 0, 3), torch.tensor([True, False])),
        *(torch.arange(6).reshape(2, 3).T, torch.ones(3).expand(2, 3), torch.randn(2, 3, 4, 4)[:, ::2]),
        *(torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag, nn.Parameter(torch.ones(2))),
        *(torch.zeros(2, 2, dtype=torch.complex128)[:1, 0], torch.zeros(2, 2, dtype=torch.uint64)[1:, 1:]),
        torch.zeros(1, 2, 3, 4).to(memory_format=torch.channels_last),
        *(np.float32(0.1), np.float64("nan"), np.int64(-3), np.bool_(True), np.complex64(1j), np.uint8(7)),
        *(np.array(1.5), np.array([]), np.arange(6.0).reshape(2, 3).T, np.arange(3, dtype=">i4"), np.arange(9)[::-2]),
        *(np.empty((0, 3)), np.array([True, False]), np.asfortranarray(np.ones((2, 3)))),
    ],
)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert same(round_trip({"a": [value]}), {"a": [value]})


@pytest.mark.filterwarnings("ignore:.*Half support is experimental")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type_come_back(dtype: torch.dtype) -> None:
    size = torch.empty(3, 2, dtype=dtype).nbytes
    tensor = (torch.arange(size) % (2 if dtype is torch.bool else 256)).to(torch.uint8).view(dtype).reshape(3, 2)
    assert same(round_trip({"a": tensor}), {"a": tensor})


def test_tensors_that_share_memory_come_back_apart() -> None:
    state = {"whole": SHARED, "again": SHARED, "part": SHARED[3:7], "rows": SHARED.view(3, 4).T}
    loaded = round_trip(state)
    assert same(loaded, state)
    loaded["whole"].zero_()
    assert same(loaded["again"], SHARED)


def test_what_is_saved_is_a_copy_and_stays_as_it_was(tmp_path: Path) -> None:
    state = {"a": torch.ones(2, requires_grad=True), "b": [np.ones(2)], "c": SHARED.view(3, 4).T}
    before = copy.deepcopy(state)
    save_checkpoint(tmp_path / "checkpoint", state)
    assert same(state, before)
    assert state["c"].stride() == (1, 4)
    assert not load_checkpoint(tmp_path / "checkpoint")["a"].requires_grad


def test_loaded_tensors_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"a": torch.arange(10_000)})
    loaded = load_checkpoint(path)
    with open(path, "r+b") as file:
        file.truncate(0)
    loaded["a"] += 1
    assert torch.equal(loaded["a"], torch.arange(10_000) + 1)


@pytest.mark.filterwarnings("ignore:.*spectral_norm")
def test_the_versions_of_modules_come_back() -> None:
    state = nn.utils.spectral_norm(nn.Linear(2, 2)).state_dict()
    assert "spectral_norm" in str(state._metadata)
    assert same(round_trip({"model": state}), {"model": state})
    assert same(round_trip(state), state)


def test_other_mappings_come_back_as_dicts() -> None:
    assert same(round_trip(MappingProxyType({"a": 1})), {"a": 1})  # type: ignore[arg-type]


def test_other_tools_find_the_weights_by_name(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {"model": nn.Linear(2, 1).state_dict(), "epoch": 3})
    with safe_open(tmp_path / "checkpoint", framework="pt") as file:
        assert set(file.keys()) == {"state['model']['weight']", "state['model']['bias']"}
        assert file.metadata()["version"] == "2"


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", {})
    (tmp_path / "other").touch()
    assert (tmp_path / "checkpoint").stat().st_mode == (tmp_path / "other").stat().st_mode


# --- training goes on as if nothing had happened ---

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "Adam": lambda p: optim.Adam(p, lr=0.05, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.05),
    "SGD": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.5),
}
SCHEDULERS: dict[str, Callable[[optim.Optimizer], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4, 4]),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.StepLR(o, 1)], [2]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
}


class Training:
    """A few parameters, their optimizer and its scheduler."""

    def __init__(self, optimizer: str, scheduler: str, seed: int) -> None:
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.model.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        check_state(self.model, state["model"], "model")
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def step(self, number: int) -> None:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        loss = self.model(x).square().mean() + number
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        plateau = isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau)
        self.scheduler.step(*([loss.item()] if plateau else []))


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        *(("SGD", "OneCycleLR"), ("SGD", "LambdaLR"), ("Adam", "OneCycleLR"), ("Adam", "SequentialLR")),
        *(("AdamW", "StepLR"), ("AdamW", "ReduceLROnPlateau"), ("Adadelta", "MultiStepLR")),
        ("Adadelta", "CosineAnnealingLR"),
    ],
)
def test_resumed_training_equals_uninterrupted_training(optimizer: str, scheduler: str, tmp_path: Path) -> None:
    run, resumed = Training(optimizer, scheduler, seed=0), Training(optimizer, scheduler, seed=1)
    for number in range(3):
        run.step(number)
    save_checkpoint(tmp_path / "checkpoint", run.state())
    loaded = load_checkpoint(tmp_path / "checkpoint")
    assert same(loaded, run.state())
    assert not same(resumed.state(), run.state())
    resumed.load(loaded)
    assert same(resumed.state(), run.state())
    for number in range(3, 6):
        run.step(number)
        resumed.step(number)
        assert same(resumed.state(), run.state())


# --- what cannot be stored ---


class Colour(IntEnum):
    RED = 1


Pair = namedtuple("Pair", "a b")


def _cannot_be_stored() -> list[tuple[Any, str]]:
    return [
        (lambda epoch: 1.0, "function"),
        (nn.Linear(1, 1), "Linear"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (1j, "complex"),
        (Colour.RED, "Colour"),
        (Pair(1, 2), "Pair"),
        (torch.Size([1]), "Size"),
        (torch.float32, "dtype"),
        (defaultdict(int), "defaultdict"),
        (np.array(["a"]), "ndarray of <U1"),
        (np.array([None]), "ndarray of object"),
        (np.ma.masked_array([1]), "MaskedArray of int64"),
        (np.str_("a"), "str_"),
        (np.datetime64("2020-01-01"), "datetime64"),
        (torch.eye(2).to_sparse(), r"Tensor (torch.sparse_coo, torch.float32, on cpu)"),
        (torch.empty(2, device="meta"), r"Tensor (torch.strided, torch.float32, on meta)"),
        (nn.UninitializedParameter(), "UninitializedParameter (torch.strided, torch.float32, on cpu)"),
    ]


@pytest.mark.parametrize(("value", "kind"), _cannot_be_stored(), ids=lambda v: v if isinstance(v, str) else "")
def test_other_values_are_refused_with_their_place(value: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"epoch": 1})
    message = re.escape("`state['scheduler']['lr_lambdas'][0]` must be a dense tensor") + f".*got {re.escape(kind)}"
    with pytest.raises(TypeError, match=message):
        save_checkpoint(path, {"weights": torch.ones(2), "scheduler": {"lr_lambdas": [value]}})
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("key", [1.5, None, (1,), True, Colour.RED, np.int64(1)], ids=repr)
def test_other_keys_are_refused_with_their_place(key: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"`state\[2\]\[1\]` must have strings or integers as keys, got .*\(.*\)"):
        save_checkpoint(tmp_path / "checkpoint", {2: (0, {key: 1})})
    assert not os.listdir(tmp_path)


def test_a_state_is_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`state` must be a mapping, got list"):
        save_checkpoint(tmp_path / "checkpoint", [1])  # type: ignore[arg-type]


def test_a_state_with_too_much_beside_its_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`state` must take at most 20,000,000 characters of JSON .*, got 20,000,0"):
        save_checkpoint(tmp_path / "checkpoint", {"log": "a" * 20_000_000})


# --- disks fail, processes die ---


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"epoch": 1, "weights": torch.arange(5000.0)})
    return path


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_disk_leaves_the_old_checkpoint(
    saved: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="no space left"):
            save_checkpoint(saved, {"epoch": 2})
    assert os.listdir(saved.parent) == ["checkpoint"]
    assert load_checkpoint(saved)["epoch"] == 1


def test_a_file_that_grows_too_large_leaves_the_old_checkpoint(saved: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(saved, {"epoch": 2, "weights": torch.arange(5000.0)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(saved.parent) == ["checkpoint"]
    assert load_checkpoint(saved)["epoch"] == 1


def test_an_interrupt_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(saved, {"epoch": 2})
    assert os.listdir(saved.parent) == ["checkpoint"]
    assert load_checkpoint(saved)["epoch"] == 1


def test_file_and_folder_reach_the_disk_around_the_swap(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        assert load_checkpoint(Path(source))["epoch"] == 2
        assert source.parent == target.parent
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    save_checkpoint(saved, {"epoch": 2})
    assert [event.rpartition(".")[-1] for event in events] == ["part", "replace", str(saved.parent).rpartition(".")[-1]]


def test_no_folder_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "no" / "checkpoint", {})


# One process imports torch, its children write without end until they are killed
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from art_mi.trainers.checkpoint import load_checkpoint, save_checkpoint

def write(step):
    save_checkpoint(path, {"step": step, "weights": torch.full((500_000,), step), "steps": tuple(range(step % 100))})

path, pauses, first = Path(sys.argv[1]), random.Random(int(sys.argv[2])), 0
write(first)
for _ in range(5):
    child = os.fork()
    if child == 0:
        while True:
            first += 1
            write(first)
    while load_checkpoint(path)["step"] <= first:
        time.sleep(0.01)
    time.sleep(0.3 * pauses.random())
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    state = load_checkpoint(path)
    assert state["weights"].eq(state["step"]).all() and state["steps"] == tuple(range(state["step"] % 100))
    assert state["step"] > first, "the child wrote nothing"
    first = state["step"]
print("complete after", first, "checkpoints")
"""


def test_a_killed_process_leaves_a_complete_checkpoint(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLS, str(tmp_path / "checkpoint"), "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "complete after" in done.stdout


# --- what cannot be loaded ---


def test_a_file_cut_short_anywhere_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    ends = {0, 1, 7, 8, 9, len(content) - 1, *np.linspace(0, len(content) - 1, 50, dtype=int).tolist()}
    for end in sorted(ends):
        saved.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"`path` must be a complete checkpoint, got '.*checkpoint': "):
            load_checkpoint(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="`path` must be a complete checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04K\x01.", b"PK\x03\x04" * 100, bytes(1000), b"\xff" * 1000])
def test_other_files_are_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(ValueError, match="`path` must be a complete checkpoint"):
        load_checkpoint(saved)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must be a complete checkpoint, got '.*/none': .*No such file"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(ValueError, match="`path` must be a complete checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"version": "1", "state": "{}"}])
def test_safetensors_of_others_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "other", metadata)
    with pytest.raises(ValueError, match=r"`path` must be a checkpoint of art_mi, got '.*other' of format (None|'pt')"):
        load_checkpoint(tmp_path / "other")


def test_a_later_format_version_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "later", {"format": "art_mi checkpoint", "version": "3", "state": '{"dict": []}'})
    with pytest.raises(
        ValueError, match=r"`path` must be a checkpoint of format version 2, got '.*later' of version '3'"
    ):
        load_checkpoint(tmp_path / "later")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "1", "[]", "{}", '{"tuple": []}', '{"set": []}', '{"dict": 1}', '{"dict": [["a"]]}'),
        *('{"dict": [["a", []]]}', '{"dict": [["a", {"tensor": "none"}]]}', '{"dict": [["a", {"int": "x"}]]}'),
        '{"dict": [["a", {"tensor": "b", "dtype": "load", "shape": [2]}]]}',
        '{"dict": [["a", {"tensor": "b", "dtype": "none", "shape": [2]}]]}',
        '{"dict": [["a", {"tensor": "b", "dtype": "float64", "shape": [2]}]]}',
        '{"dict": [["a", {"array": "b", "dtype": "O", "shape": [1]}]]}',
        '{"dict": [["a", {"array": "b", "dtype": "none", "shape": [1]}]]}',
        '{"dict": [["a", {"array": "b", "dtype": "f4", "shape": [3]}]]}',
        '{"dict": [[{"list": []}, 1]]}',
        '{"dict": [["a", ' + '{"list": [' * 50_000 + "]}" * 50_000 + "]]}",
    ],
    ids=lambda text: text[:60],
)
def test_a_damaged_state_is_refused(tmp_path: Path, text: str) -> None:
    tensors = {"b": torch.zeros(8, dtype=torch.uint8)}
    metadata = {"format": "art_mi checkpoint", "version": "2", "state": text, "digest": content_digest(text, tensors)}
    save_file(tensors, tmp_path / "bad", metadata)
    with pytest.raises(ValueError, match=r"`path` must be an intact checkpoint, got '.*bad': "):
        load_checkpoint(tmp_path / "bad")


# --- states and modules ---


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def test_a_state_of_the_same_architecture_passes_and_changes_nothing() -> None:
    module = network()
    before = copy.deepcopy(module.state_dict())
    check_state(module, network().state_dict(), "model")
    assert same(module.state_dict(), before)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "got one of another architecture: no '0.weight', no '0.bias', no '1.weight' and 6 more."),
        (network(5).state_dict(), "'0.weight' of float32 (5, 3) instead of float32 (4, 3), '0.bias' of float32 (5,)"),
        (network().double().state_dict(), "'0.weight' of float64 (4, 3) instead of float32 (4, 3)"),
        ({**network().state_dict(), "3.weight": torch.ones(1)}, "another architecture: an unknown '3.weight'."),
        ({**network().state_dict(), "0.bias": 1.0}, "another architecture: '0.bias' of float instead of float32 (4,)."),
    ],
)
def test_states_of_other_architectures_are_refused(state: Mapping[str, Any], message: str) -> None:
    module = network()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"`teacher` must be a state of this Sequential, .*" + re.escape(message)):
        check_state(module, state, "teacher")
    assert same(module.state_dict(), before)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_checkpoint_that_is_replaced_while_it_is_read_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    monkeypatch.setattr("os.fsync", lambda _: None)  # for as many writes as may be
    save_checkpoint(path, {"step": 0, "weights": torch.zeros(1000)})
    writer = os.fork()
    if writer == 0:
        for step in itertools.cycle(range(10)):
            save_checkpoint(path, {"step": step, "weights": torch.full((1000,), step)})
    try:
        for _ in range(5000):
            state = load_checkpoint(path)
            assert (state["weights"] == state["step"]).all()
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
