"""A robustness card: everything about a classifier in one call, and one self-contained page about it."""

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import assess
from art_mi.datasets import load
from art_mi.models import small_cnn
from art_mi.report import text_table, verdict, write_card

data = load("digits")
model = small_cnn((1, 8, 8), nb_classes=10)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0))
classifier.fit(data.x_train, data.y_train, batch_size=128, nb_epochs=5)

record = assess(
    classifier,
    data.x_test,
    data.y_test,
    eps=0.12,
    name="small CNN",
    attacks=("FGSM", "PGD-20"),  # all of them by default
    layer_profile=["features"],  # every layer by default
    feature_profile=False,
    verbose=False,
)
print(text_table([record]))
print("\n".join(verdict([record])))
page, _, _ = write_card([record], "card.html")
print(f"open {page}")
