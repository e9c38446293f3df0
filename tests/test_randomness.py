from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from art_mi.randomness import Stream, isolated_randomness, random_states, restore_random_states, seed_of
from art_mi.trainers.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


def draws() -> list[float]:
    numbers = [random.random(), random.gauss(0, 1), *np.random.rand(2), np.random.randn()]  # noqa: NPY002
    return [*map(float, numbers), *torch.rand(2).tolist(), torch.randn(()).item()]


@pytest.fixture
def two_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Generator, torch.Generator]:
    """Stand-ins for the generators of two CUDA devices, of which the second is the current one."""
    generators = torch.Generator().manual_seed(10), torch.Generator().manual_seed(11)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "default_generators", generators)
    return generators


def test_a_seed_gives_the_same_draws_whatever_came_before() -> None:
    found = []
    for seed in (3, 3, np.int64(3), 4):
        draws()
        with isolated_randomness(seed, CPU):  # type: ignore[arg-type]
            found.append(draws())
    assert found[0] == found[1] == found[2] != found[3]


def test_outside_the_block_nothing_has_changed() -> None:
    before = random_states(CPU)
    expected = draws()
    restore_random_states(before, CPU)
    with isolated_randomness(0, CPU):
        draws()
        with isolated_randomness(1, CPU):
            draws()
    assert draws() == expected


def test_an_exception_changes_nothing_either() -> None:
    before = random_states(CPU)
    expected = draws()
    restore_random_states(before, CPU)
    with pytest.raises(ZeroDivisionError), isolated_randomness(0, CPU):
        _ = draws()[0] / 0
    assert draws() == expected


def test_an_inner_block_leaves_the_outer_one_as_it_was() -> None:
    with isolated_randomness(0, CPU):
        expected = draws()
    with isolated_randomness(0, CPU):
        with isolated_randomness(1, CPU):
            draws()
        assert draws() == expected


def test_states_survive_a_checkpoint(tmp_path: Path) -> None:
    draws()  # leaves half a pair of normal numbers in each generator
    states = random_states(CPU)
    expected = draws()
    save_checkpoint(tmp_path / "checkpoint", {"random": states})
    loaded = load_checkpoint(tmp_path / "checkpoint")["random"]
    restore_random_states(loaded, CPU)
    assert draws() == expected
    restore_random_states(loaded, CPU)
    assert draws() == expected


def test_states_are_copies() -> None:
    states = random_states(CPU)
    key = states["numpy"]["state"]["key"].copy()
    with isolated_randomness(0, CPU):
        draws()
    np.random.rand(2000)  # noqa: NPY002
    assert np.array_equal(states["numpy"]["state"]["key"], key)


def test_only_the_generator_of_the_given_cuda_device_is_seeded(
    two_cuda_devices: tuple[torch.Generator, torch.Generator],
) -> None:
    first, second = two_cuda_devices
    with isolated_randomness(5, torch.device("cuda:0")):
        assert (first.initial_seed(), second.initial_seed()) == (5, 11)
        torch.rand(2, generator=first)
    assert (first.initial_seed(), second.initial_seed()) == (10, 11)
    with isolated_randomness(5, torch.device("cuda")):
        assert (first.initial_seed(), second.initial_seed()) == (10, 5)


def test_the_block_restores_the_device_it_seeded(
    two_cuda_devices: tuple[torch.Generator, torch.Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    with isolated_randomness(5, torch.device("cuda")):
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert [generator.initial_seed() for generator in two_cuda_devices] == [10, 11]


def test_states_of_a_cuda_device_come_back(two_cuda_devices: tuple[torch.Generator, torch.Generator]) -> None:
    device = torch.device("cuda:1")
    states = random_states(device)
    expected = torch.rand(3, generator=two_cuda_devices[1])
    restore_random_states(states, device)
    assert torch.equal(torch.rand(3, generator=two_cuda_devices[1]), expected)


def test_others_generators_are_seeded_and_restored_alike() -> None:
    own = torch.Generator().manual_seed(4)
    before, seeded = own.get_state(), torch.rand(2, generator=torch.Generator().manual_seed(1))
    with isolated_randomness(1, CPU, own):
        assert torch.equal(torch.rand(2, generator=own), seeded)
    assert torch.equal(own.get_state(), before)


def test_a_stream_goes_on_from_block_to_block_and_is_not_seen_outside() -> None:
    with isolated_randomness(2, CPU):
        expected = [draws(), draws()]
    before, stream, found = str(random_states(CPU)), Stream(2, CPU), []
    for _ in range(2):
        with stream.running():
            found.append(draws())
        assert str(random_states(CPU)) == before
    assert found == expected


def test_a_seed_of_a_generator_tells_where_it_is_and_draws_nothing() -> None:
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    first = seed_of(one)
    assert first == seed_of(one) == seed_of(other)
    torch.rand((), generator=one)
    assert seed_of(one) != first
    assert 0 <= seed_of(one) < 2**32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_cuda_device_is_isolated_and_restored(tmp_path: Path) -> None:
    device = torch.device("cuda")
    save_checkpoint(tmp_path / "checkpoint", random_states(device))
    expected = torch.rand(3, device=device).tolist()
    restore_random_states(load_checkpoint(tmp_path / "checkpoint"), device)
    inside = []
    for _ in range(2):
        with isolated_randomness(0, device):
            inside.append(torch.rand(3, device=device).tolist())
    assert inside[0] == inside[1] != expected
    assert torch.rand(3, device=device).tolist() == expected


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, None, "0"], ids=repr)
def test_a_seed_is_an_integer_that_numpy_takes(seed: Any) -> None:
    before = random_states(CPU)["cpu"]
    with (
        pytest.raises(ValueError, match=r"`random_state` must be an integer from 0 to 4294967295, got"),
        isolated_randomness(seed, CPU),
    ):
        pass
    assert torch.equal(random_states(CPU)["cpu"], before)


def test_the_largest_seed_is_taken() -> None:
    with isolated_randomness(2**32 - 1, CPU):
        draws()


@pytest.mark.parametrize("call", [lambda d: random_states(d), lambda d: isolated_randomness(0, d).__enter__()])
def test_other_devices_are_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="`device` must be a CPU or CUDA device, got mps"):
        call(torch.device("mps"))


def test_states_of_another_kind_of_device_are_refused(two_cuda_devices: Any) -> None:
    with pytest.raises(ValueError, match="`states` must hold python, numpy, cpu, cuda on cuda, got python, numpy, cpu"):
        restore_random_states(random_states(CPU), torch.device("cuda"))
    with pytest.raises(ValueError, match="`states` must hold python, numpy, cpu on cpu, got python, numpy, cpu, cuda"):
        restore_random_states(random_states(torch.device("cuda")), CPU)
