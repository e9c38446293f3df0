"""An encoder that is trained without labels to keep information in the worst case, and a robust head on it."""

import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import nn

from art_mi import WorstCaseMITrainer
from art_mi.datasets import load
from art_mi.models import small_cnn

data = load("digits")
model = small_cnn((1, 8, 8), nb_classes=10)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, optimizer, clip_values=(0.0, 1.0))
attack = ProjectedGradientDescentPyTorch(classifier, eps=0.12, eps_step=0.06, max_iter=5, verbose=False)

# `features` is a layer of the network; what follows it is the head, which alone sees labels
trainer = WorstCaseMITrainer(classifier, attack, layer="features", head="robust", head_epochs=10, critic_lr=1e-3)
trainer.fit(data.x_train, data.y_train, nb_epochs=10)

encoder, head = trainer.history[:10], trainer.history[10:]
first, last = encoder[0]["worst_case"], encoder[-1]["worst_case"]
print(f"worst-case information read by the critic: {first:.2f} to {last:.2f} nats")
print(f"loss of the head: {head[0]['loss']:.2f} to {head[-1]['loss']:.2f}")
accuracies = {
    name: float((trainer.predict(inputs).argmax(1) == data.y_test).mean())
    for name, inputs in (("clean", data.x_test), ("PGD-5", attack.generate(data.x_test, data.y_test)))
}
for name, accuracy in accuracies.items():
    print(f"{name} accuracy {accuracy:.1%} of {len(data.y_test)} images")
