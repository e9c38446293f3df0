"""Langevin Monte Carlo beside projected gradient descent: it samples perturbations, and the hotter, the weaker."""

import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import LangevinMonteCarlo
from art_mi.datasets import load
from art_mi.models import small_cnn

data = load("digits")
x, y = data.x_test, data.y_test
model = small_cnn((1, 8, 8), nb_classes=10)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0))
classifier.fit(data.x_train, data.y_train, batch_size=128, nb_epochs=5)

ball = {"eps": 0.12, "eps_step": 0.03, "max_iter": 10, "verbose": False}
attacks = {
    "PGD-10": ProjectedGradientDescentPyTorch(classifier, **ball),
    "Langevin, no noise": LangevinMonteCarlo(classifier, temperature=0.0, random_state=0, **ball),
    "Langevin, T 5e-2": LangevinMonteCarlo(classifier, temperature=0.05, random_state=0, **ball),
    "Langevin, T 1": LangevinMonteCarlo(classifier, temperature=1.0, random_state=0, **ball),
}
accuracies, sizes = {}, {}
for name, attack in attacks.items():
    x_adv = attack.generate(x, y)
    accuracies[name] = float((classifier.predict(x_adv).argmax(1) == y).mean())
    sizes[name] = float(abs(x_adv - x).max())
    print(f"{name:<20} accuracy {accuracies[name]:.1%}, largest change of a pixel {sizes[name]:.3f}")
