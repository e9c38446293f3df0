"""What the executed pages share: scikit-learn's digits, and two small networks that are trained on them in seconds."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from matplotlib.axes import Axes
from matplotlib_inline.backend_inline import set_matplotlib_formats
from safetensors.torch import load_file, save
from torch import nn

from art_mi.datasets import load
from art_mi.files import replace_file
from art_mi.models import small_cnn

data = load("digits")
eps = 0.12  # l_inf, of images in [0, 1]
x, y = data.x_test, data.y_test  # 500 images
set_matplotlib_formats("svg")


def classifier(random_state: int = 0) -> PyTorchClassifier:
    """An untrained network with an optimizer, as ART wants it."""
    model = small_cnn((1, 8, 8), 10, width=16, random_state=random_state)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer=optimizer, clip_values=(0.0, 1.0))


def pgd(target: PyTorchClassifier, max_iter: int = 5) -> ProjectedGradientDescentPyTorch:
    """The attack that training uses: five steps from a random start."""
    return ProjectedGradientDescentPyTorch(
        target, eps=eps, eps_step=2.5 * eps / max_iter, max_iter=max_iter, num_random_init=1, verbose=False
    )


def trained(name: str) -> PyTorchClassifier:
    """The `"standard"` network, trained on clean images, or the `"robust"` one, trained on adversarial ones."""
    made = classifier()
    kept = Path(__file__).parent / "_build" / "digits" / f"{name}.safetensors"
    if kept.exists():
        made.model.load_state_dict(load_file(kept))
        return made
    from art_mi.trainers import MadryPGDTrainer, StandardTrainer

    kind = {"standard": StandardTrainer, "robust": MadryPGDTrainer}[name]
    kind(made, pgd(made), verbose=False).fit(data.x_train, data.y_train, nb_epochs=15)
    kept.parent.mkdir(parents=True, exist_ok=True)
    replace_file(kept, save(made.model.state_dict()))
    return made


def axes(height: float = 2.4) -> Axes:
    """Axes of a figure that a page shows."""
    return plt.figure(figsize=(5.2, height), layout="constrained").gca()
