"""DALE: as robust as a clean loss of at most rho allows, with a weight that finds its own value."""

import torch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import DALETrainer, LangevinMonteCarlo
from art_mi.datasets import load
from art_mi.models import small_cnn

data = load("digits")
model = small_cnn((1, 8, 8), nb_classes=10, width=8)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0))
attack = LangevinMonteCarlo(
    classifier, eps=0.12, eps_step=0.03, max_iter=5, potential="kl", random_state=0, verbose=False
)

rho = 0.4
trainer = DALETrainer(
    classifier,
    attack,
    rho=rho,
    robust_loss="kl",
    dual_start=0.2,
    dual_step="batch",  # as in the published code; once an epoch, as in the paper, takes more epochs
    dual_lr=0.03,
    dual_warmup=2,
)
trainer.fit(data.x_train, data.y_train, nb_epochs=15)

for record in trainer.history[2::4]:
    print(f"epoch {record['epoch']}: clean loss {record['clean']:.2f}, margin {rho}, multiplier {record['nu']:.2f}")
predicted = trainer.predict(data.x_test).argmax(1)
print(f"clean accuracy {(predicted == data.y_test).mean():.1%} of {len(data.y_test)} images")
