"""A run survives being killed, a second run into its folder, and a full disk."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from art_mi import assess, evaluate_robustness, feature_profile, layer_profile, vulnerability_curve
from art_mi.cli import main
from art_mi.files import LOCK, replace_file, writing_alone
from art_mi.finished import Finished
from tests.trainers import test_resume as runs

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.csv"
EVERY_TRAINER = (
    *(runs.standard, runs.arrays, runs.trades, runs.mart, runs.best_of_averages_and_plateau, runs.dale_by_batch),
    *(runs.worst_case, runs.worst_case_below_tau),
)
Full = Callable[[int], Any]


# --- killed ---


@pytest.mark.parametrize("each", [1, pytest.param(7, marks=pytest.mark.slow)])
def test_runs_killed_at_random_moments_end_alike(printed: Any, tally: Any, tmp_path: Path, each: int) -> None:
    lines = printed("../trainers/kill_and_resume.py", tmp_path, 0, each)
    assert len(lines) == 8
    kills = 0
    for name, killed, resumed, _, alike in map(str.split, lines):
        assert alike == "True", name
        assert int(killed) >= each, name
        assert int(resumed) >= 1, name
        kills += int(killed)
    tally("The run", "kills at random moments, all trainers", kills, "resumed, the end identical to the bit")


def test_a_run_resumed_by_another_interpreter_ends_alike(toy: Any, printed: Any, tmp_path: Path) -> None:
    expected = runs.everything(runs.fit(toy, runs.worst_case))
    with pytest.raises(runs.KilledError):
        runs.fit(toy, runs.worst_case, steps=6, out=tmp_path)
    assert printed("resuming.py", tmp_path, PYTHONHASHSEED="1") == [repr(expected)]
    assert printed("resuming.py", tmp_path, PYTHONHASHSEED="2") == [repr(expected)]  # what it left, to the same end


# --- two runs into one folder ---


@pytest.fixture
def living(started: Any, tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str], int]]:
    """Folder of a run in another process that waits for its loader; that process; its worker, which outlives it."""
    out = tmp_path / "run"
    with started("stalled.py", out) as process:
        worker = int(process.stdout.readline())
        try:
            yield out, process, worker
        finally:
            process.kill()
            os.kill(worker, signal.SIGKILL)


def test_a_second_run_into_a_folder_is_refused_while_the_first_one_lives(
    toy: Any, tally: Any, living: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out, process, worker = living
    before = runs.files(out)
    assert before.keys() == {CHECKPOINT, "history.csv", LOCK}
    for resume_from in (None, out):
        trainer, _, _ = runs.standard(toy)
        trainer.history = [{"epoch": 1}]
        untrained = runs.everything(trainer)
        with pytest.raises(ValueError, match=r"`out` must be a folder that no other run is writing to, got '.*run'"):
            trainer.fit(toy.x(26), toy.y(26), batch_size=7, nb_epochs=3, out=out, resume_from=resume_from)
        assert runs.everything(trainer) == untrained
    assert main(["train", "--trainer", "standard", "--data", "digits", "--eps", "0.1", "--out", str(out)]) == 2
    assert "`out` must be a folder that no other run is writing to" in capsys.readouterr().err
    art, data = toy.classifier(), (toy.x(100), toy.y(100))
    for measure in (evaluate_robustness, layer_profile, assess):
        with pytest.raises(ValueError, match=r"`out` must be a folder that no other run is writing to, got '.*run'"):
            measure(art, *data, eps=0.1, out=out, verbose=False)
    with pytest.raises(ValueError, match="`out` must be a folder that no other run is writing to"):
        feature_profile(art, data[0], eps=0.1, out=out, verbose=False)
    with pytest.raises(ValueError, match="`out` must be a folder that no other run is writing to"):
        vulnerability_curve(art, *data, eps=[0.1], out=out, verbose=False)
    assert runs.files(out) == before
    process.kill()
    process.wait()
    os.kill(worker, 0)  # a worker that outlives the run does not keep the folder
    assert runs.files(out).keys() == {CHECKPOINT, "history.csv", LOCK}
    resumed = runs.fit(toy, runs.standard, out=out, resume_from=out)
    assert runs.everything(resumed) == runs.everything(runs.fit(toy, runs.standard))
    assert runs.files(out).keys() == {CHECKPOINT, "history.csv"}
    tally("The run", "second runs into the folder of a living one, by fit, resumed and by command", 3, "refused")
    tally("The run", "measurements into the folder of a living run", 5, "refused")


@pytest.mark.parametrize("times", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_of_processes_that_race_for_a_folder_one_has_it(started: Any, tally: Any, tmp_path: Path, times: int) -> None:
    ends = ("dies", "dies", "ends", "ends")
    racing = [started("racing.py", tmp_path / "run", times, end) for end in ends]
    try:
        errors = [process.communicate(timeout=600)[1] for process in racing]
    finally:
        for process in racing:
            process.kill()
    assert [process.returncode for process in racing] == [-signal.SIGKILL, -signal.SIGKILL, 0, 0], errors
    with writing_alone(tmp_path / "run"), writing_alone(tmp_path / "run"):  # one process may do so twice
        assert os.listdir(tmp_path / "run") == [LOCK]
    assert os.listdir(tmp_path / "run") == []
    tally("The run", "locks of a folder, four processes racing, two of them killed", 4 * times, "never two at once")


def admitted(folder: Path) -> bool:
    """Whether another process may write to a folder."""
    code = "import sys; from pathlib import Path; from art_mi.files import writing_alone as alone\n"
    code += "with alone(Path(sys.argv[1])): print('in')"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", code, folder], env=env, capture_output=True, text=True, check=False)
    assert bool(ended.returncode) == ("no other run is writing to" in ended.stderr), ended.stderr
    return ended.stdout == "in\n"


def test_a_run_whose_folder_is_read_and_copied_keeps_it(tmp_path: Path) -> None:
    with writing_alone(tmp_path / "run"):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        assert not admitted(tmp_path / "run")
    assert admitted(tmp_path / "run")
    assert admitted(tmp_path / "copy")  # a lock that nobody holds is none


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_part_in_the_folder_of_its_parent(tmp_path: Path) -> None:
    def child() -> int:
        try:
            with writing_alone(tmp_path / "run"):
                return 1
        except ValueError:
            return 0

    with writing_alone(tmp_path / "run"):
        number = os.fork()
        if number == 0:
            os._exit(child())
        assert os.waitpid(number, 0)[1] == 0
        assert not admitted(tmp_path / "run")
        number = os.fork()
        if number:
            assert os.waitpid(number, 0)[1] == 0
    if not number:  # the child has left the context that it was forked in
        os._exit(not (tmp_path / "run" / LOCK).exists())
    assert os.listdir(tmp_path / "run") == []


def test_another_thread_is_refused_by_any_name_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    said: list[str] = []

    def enter() -> None:
        for name in ("run", "link"):
            try:
                with writing_alone(tmp_path / name):
                    said.append("admitted")
            except ValueError as error:
                said.append(str(error))

    with writing_alone(tmp_path / "run"), writing_alone(tmp_path / "link"):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    assert ["no other run is writing to" in text for text in said] == [True, True]
    with writing_alone(tmp_path / "link"):
        pass


def test_a_file_system_without_locks_is_warned_of_and_does_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unable)
    message = "cannot be locked against other runs.*not implemented"
    with pytest.warns(UserWarning, match=message), writing_alone(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


# --- a full disk ---


@pytest.fixture(params=["disks full", "limits of a file's size reached"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path, Full]]:
    """What is done, a folder, and a context in which so many more bytes fit into a file there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param != "disks full":
        yield request.param, folder, limited
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield request.param, folder, lambda left: filled(folder, left)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    with open(folder / "filler", "wb") as file:
        file.write(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - left))
    yield
    (folder / "filler").unlink()


@contextmanager
def limited(left: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("times", [1, pytest.param(15, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_one_before(
    toy: Any, tally: Any, disk: tuple[str, Path, Full], times: int
) -> None:
    what, folder, full = disk
    draw = random.Random(times)
    for case in EVERY_TRAINER * times:
        fill_while_training(toy, case, folder, full, draw)
    count = times * len(EVERY_TRAINER)
    tally("The run", f"{what} at a checkpoint, all trainers", count, "the one before intact, resumed from there")


def fill_while_training(toy: Any, case: Any, folder: Path, full: Full, draw: random.Random) -> None:
    """Train until the disk is full at the end of an epoch, with room for a part of the checkpoint, and then resume."""
    out, at, kept, begun = folder / "run", draw.choice([1, 2]), dict[str, bytes](), list[Any]()
    trainer, source, options = case(toy)
    before_epoch = trainer.before_epoch

    def note(*epoch: int) -> None:
        begun.append(toy.weights(trainer.classifier))
        before_epoch(*epoch)

    with ExitStack() as filling:

        def fill(trainer: Any, record: dict[str, Any]) -> None:
            if record["epoch"] == at:
                kept.update(runs.files(out))
                filling.enter_context(full(draw.randrange(len(kept[CHECKPOINT]))))

        trainer.before_epoch = note
        with pytest.raises(OSError, match=r"space|large") as error:
            runs.fit(toy, lambda _: (trainer, source, options), out=out, callbacks=[fill])
    assert error.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert {**runs.files(out), LOCK: b""} == kept
    assert toy.weights(trainer.classifier) == begun[-1]
    assert len(trainer.predict(toy.x())) == len(toy.x())
    resumed = runs.fit(toy, case, out=out, resume_from=out)
    assert runs.everything(resumed) == runs.everything(runs.fit(toy, case))


def test_a_disk_that_is_full_leaves_other_files_as_they_were(disk: tuple[str, Path, Full]) -> None:
    _, folder, full = disk
    finished = Finished(folder, "work")
    finished.put("part", {"value": 1})
    replace_file(folder / "file", b"old")
    with full(0):
        with pytest.raises(OSError, match=r"space|large"):
            replace_file(folder / "file", bytes(10_000))
        with pytest.raises(OSError, match=r"space|large"):
            finished.put("part", {"value": 2})
    assert (folder / "file").read_bytes() == b"old"
    assert finished.get("part") == {"value": 1}
    assert len(list(folder.rglob("*"))) == 3
