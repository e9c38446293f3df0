"""A catalogue of wrong command lines: each ends with status 2 and a message that names the option and the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from art_mi.cli import commands, main
from art_mi.cli.commands import COMMANDS, command_parser
from art_mi.models import small_cnn

RIGHT = {  # what the options are that an example does not get wrong
    "demo": {},
    "estimate": {"model": "small-cnn", "weights": "small.safetensors", "data": "data.npz", "eps": "0.1"},
    "evaluate": {"model": "small-cnn", "weights": "small.safetensors", "data": "data.npz", "eps": "0.1", "out": "new"},
    "train": {"trainer": "madry", "data": "data.npz", "eps": "0.1", "out": "new"},
    "report": {"folders": '["record"]'},
    "selftest": {"only": "erasure"},
}
SAMPLED = {"data": "imagenet", "data-dir": "nowhere", "download": "maybe", "random-state": "-1", "quiet": "maybe"}
MEASURED = {
    **{"model": "nowhere.pt2", "weights": "nowhere.safetensors", "eps": "a/b", "norm": "3", "layer": "none"},
    **{"clip-values": "[1,0]", "nb-samples": "99", "data": "nowhere.npz"},
}
WRONG: dict[str, dict[str, str | tuple[str, ...]]] = {
    "demo": {**SAMPLED, "out": "data.npz", "nb-epochs": ("0", "two", "1.5"), "nb-samples": ("0", "-5", "few")},
    "estimate": {
        **SAMPLED,
        **MEASURED,
        **{"method": "mine", "unit": "dits", "noise-std": ("[]", "[0]", "loud"), "max-iter": ("0", "1.5")},
        **{"eps": ("a/b", "1/0", "-1", "nan"), "out": "nowhere/result.json", "data": ("nowhere.npz", "imagenet")},
        "model": ("nowhere.pt2", "nowhere:build", "art_mi.models:nothing", "data.npz"),
        "weights": ("nowhere.safetensors", "data.npz", "other.safetensors"),
    },
    "evaluate": {
        **SAMPLED,
        **MEASURED,
        **{"attacks": "PGD-7", "checks": "maybe", "layer-profile": "2", "feature-profile": "2", "out": "data.npz"},
        **{"curve": ("0.2,0.1", "a", "-1"), "nb-profiled": "3", "eps": ("0", "inf", "a")},
    },
    "train": {
        **SAMPLED,
        **{"trainer": ("mine", "os.system", "art_mi.models.small_cnn"), "out": "data.npz", "eps": ("0", "a/b")},
        **{"model": "nowhere:build", "attack": ("mine", "os.system"), "validation-attack": "mine"},
        **{"optimizer": ("Adom", "os.system"), "scheduler": "os.system", "validation-fraction": ("1", "0", "most")},
        **{"clip-values": ("[1,0]", "[0]"), "rv-every": "0", "tensorboard": "maybe", "resume": "maybe"},
        **{"nb-epochs": "0", "batch-size": "0", "scheduler-interval": "run", "clip-grad-norm": "0", "ema-decay": "2"},
        **{"log-every": "0", "checkpoint-every": "0", "validate-every": "0", "patience": "0", "restore-best": "maybe"},
        **{"trainer.nothing": "1", "attack.eps": "0.1", "optimizer.lr": "fast"},
    },
    "report": {"folders": ('["nowhere"]', "3"), "out": "card.txt", "figures": "data.npz"},
    "selftest": {
        "only": "nothing",
        "nb-samples": ("0", "many"),
        "random-state": "-1",
        "nb-seeds": "0",
        "quiet": "maybe",
    },
}
WITH = {"data-dir": {"data": "mnist"}}  # what else is given where an option is wrong
ANY_TEXT = {"evaluate.name", "report.title"}  # nothing is wrong for these
OF_PARSER = re.compile(r"config|print_config|help|.*\.help|.*\+")
LINES = [
    (command, option, value)
    for command, options in WRONG.items()
    for option, values in options.items()
    for value in ([values] if isinstance(values, str) else values)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file of samples and files of weights."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.random((120, 1, 4, 4), dtype=np.float32), y=np.arange(120) % 3)
    torch.save({}, "other.safetensors")
    weights = small_cnn((1, 4, 4), 3).state_dict()
    save_file(weights, "small.safetensors")
    return tmp_path


def line(command: str, option: str, value: str) -> list[str]:
    right = {**RIGHT[command], **WITH.get(option, {})}
    right.pop(option, None)
    return [command, *(f"--{name}={text}" for name, text in right.items()), f"--{option}={value}"]


def outcome(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("command", "option", "value"), LINES)
def test_a_wrong_option_is_named_and_nothing_is_written(
    command: str, option: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert outcome(line(command, option, value)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    last = said[said.rindex("error: ") :] if "error: " in said else said
    if last == said:
        assert len(said.splitlines()) == 1
        assert said.startswith("art-mi: ")
    assert option.partition(".")[0].replace("-", "_") in last.replace("-", "_"), said
    parts = [part for part in re.split(r"[\[\]\",/ ]+", value) if part] or ["[]"]
    assert any(part in last for part in (*parts, value)), said
    assert sorted(folder.rglob("*")) == before


def test_every_option_of_every_command_is_given_wrongly(tally: Callable[[str, str, int, str], None]) -> None:
    commands = command_parser()._subparsers._group_actions[0].choices
    assert set(commands) == set(COMMANDS) == set(WRONG)
    for command, parser in commands.items():
        options = {name.removeprefix("--") for action in parser._actions for name in action.option_strings}
        own = {name for name in options if name != "-h" and not OF_PARSER.fullmatch(name)}
        tried = {name.replace("-", "_") for name in WRONG[command]}
        assert own == {name for name in tried if "." not in name} | {
            n.split(".")[1] for n in ANY_TEXT if n.startswith(command)
        }
    tally("The input", "wrong options of every command", len(LINES), "status 2, option and value named")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "subcommand"),
        (["evaluat"], "'evaluat'"),
        (["--config", "nowhere.yaml", "train"], "nowhere.yaml'"),
        (["estimate", "--config", "nowhere.yaml"], "nowhere.yaml'"),
        (["train", "--trainer=madry", "--data=digits", "--out=new", "--resume"], "`resume_from` must be"),
        (["train", "--trainer=mimae", "--data=digits", "--out=new", "--trainer.beta=-1"], "`beta` must be"),
        (["estimate"], "model"),
        (["estimate", "--eps"], "--eps"),
        (["train", "--trainer.help", "nothing"], "nothing"),
        (["report"], "folders"),
        (["selftest", "--nothing", "3"], "--nothing"),
        (["report", "--out", "card.html", "nowhere"], "'nowhere'"),
    ],
)
def test_a_wrong_line_is_told_what_is_wrong(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("`x` must be\n  less"), 2, "art-mi: `x` must be less\n"),
        (FileNotFoundError(2, "No such file", "a"), 2, "art-mi: [Errno 2] No such file: 'a'\n"),
        (MemoryError("no\nmemory"), 1, "art-mi: MemoryError: no memory (unexpected; --debug shows where)\n"),
        (KeyError("layer"), 1, "art-mi: KeyError: 'layer' (unexpected; --debug shows where)\n"),
        (RecursionError(), 1, "art-mi: RecursionError (unexpected; --debug shows where)\n"),
        (KeyboardInterrupt(), 130, "art-mi: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_its_traceback_comes_when_asked_for(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(commands, "_run", fails)
    assert main(["selftest"]) == status
    assert capsys.readouterr().err == said
    for asked in (["--debug", "selftest"], ["selftest", "--debug"]):
        if isinstance(error, Exception):
            with pytest.raises(type(error)):
                main(asked)
        else:
            assert main(asked) == status


def test_the_switch_is_no_option_of_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help", "--debug"])
    assert "--debug" in capsys.readouterr().out
    seen: list[list[str]] = []
    monkeypatch.setattr(commands, "_run", seen.append)
    assert main(["--debug", "selftest", "--debug", "--only", "erasure"]) == 0
    assert seen == [["selftest", "--only", "erasure"]]
