from __future__ import annotations

import subprocess
import sys

import pytest

from art_mi.extras import optional

LEAN = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("matplotlib", "captum", "timm", "tensorboard", "pyautoattack"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def lean(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that has no package of an extra."""
    return subprocess.run([sys.executable, "-c", LEAN + code], capture_output=True, text=True)


def test_an_installed_module_is_given() -> None:
    assert optional("json.decoder", "anything").JSONDecoder


def test_a_missing_package_is_named_with_the_extra_that_installs_it() -> None:
    with pytest.raises(ImportError, match=r"`no_such_package` is not installed: pip install 'art-mi\[extra\]'"):
        optional("no_such_package.part", "extra")


def test_what_an_installed_package_lacks_itself_is_not_taken_for_the_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
        optional("half_installed", "extra")


def test_a_vulnerability_needs_no_extra_and_its_page_says_which_one_it_needs() -> None:
    code = """
from art_mi.datasets import load
from art_mi.metrics import WorstCaseMIEstimator
from art_mi.models import small_cnn
from art.estimators.classification import PyTorchClassifier
from torch import nn

data = load("digits")
model = PyTorchClassifier(small_cnn((1, 8, 8), 10), nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1))
result = WorstCaseMIEstimator(eps=0.1, max_iter=1).evaluate(model, data.x_test[:128], data.y_test[:128])
assert "vulnerability" in str(result)
for ask in (result.to_html, result.plot):
    try:
        ask()
    except ImportError as error:
        print(error)
"""
    ran = lean(code)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "`matplotlib` is not installed: pip install 'art-mi[report]'.\n" * 2


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["demo"], 2, "art-mi: `matplotlib` is not installed: pip install 'art-mi[report]'.\n"),
        (["report", "folder"], 2, "art-mi: `matplotlib` is not installed: pip install 'art-mi[report]'.\n"),
        (["estimate", "--model", "no.pt", "--data", "no.npz", "--eps", "0.1"], 2, "no.npz"),
    ],
)
def test_commands_that_draw_name_the_extra_and_others_do_without(command: list[str], status: int, said: str) -> None:
    ran = lean(f"from art_mi.cli import main\nsys.exit(main({command!r}))")
    assert ran.returncode == status, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_missing_extra_is_named_by_what_needs_it() -> None:
    code = """
from art_mi.models import from_timm, small_cnn
from art_mi.saliency import loss_saliency
from art_mi.trainers.monitor import TensorBoard
from art.estimators.classification import PyTorchClassifier
from torch import nn
import numpy as np

model = PyTorchClassifier(small_cnn((1, 8, 8), 10), nn.CrossEntropyLoss(), (1, 8, 8), 10)
x = np.zeros((2, 1, 8, 8), dtype=np.float32)
for ask in (
    lambda: loss_saliency(model, x, np.zeros(2, dtype=int), method="smoothgrad"),
    lambda: from_timm("resnet18", nb_classes=10),
    lambda: TensorBoard("folder"),
):
    try:
        ask()
    except ImportError as error:
        print(error)
"""
    ran = lean(code)
    assert ran.returncode == 0, ran.stderr
    assert [line.partition("art-mi")[2] for line in ran.stdout.splitlines()] == [
        "[saliency]'.",
        "[timm]'.",
        "[tensorboard]'.",
    ]
