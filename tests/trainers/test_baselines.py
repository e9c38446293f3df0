"""The baselines' losses against literal recomputations of the published ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from art_mi.trainers import MadryPGDTrainer, MARTTrainer, StandardTrainer, TRADESTrainer, crafting


def setting(toy: Any, kind: type[Any], **options: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
    """A trainer in float64, a batch, and what it will craft for it."""
    art = toy.classifier(toy.network().double())
    attack = toy.attack(art, eps_step=0.02)  # so short that the noise at the start shows at the end
    trainer = toy.trainer(kind, art, attack=attack, random_state=7, **options)
    x, y = torch.from_numpy(toy.x()).double(), torch.from_numpy(toy.y())
    target = crafting.divergence if kind is TRADESTrainer else crafting.loss
    start_std = getattr(trainer, "start_std", 0.0)
    source = torch.Generator().manual_seed(7)
    x_adv = crafting.craft(art, trainer.attack, x, y, source, target=target, start_std=start_std)
    return trainer, x, y, x_adv


def gradients(loss: Tensor, model: Any) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def alike(found: dict[str, Tensor], expected: dict[str, Tensor], model: Any) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-12), name
    pairs = zip(gradients(found["loss"], model), gradients(expected["loss"], model), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_standard_training_is_cross_entropy_on_clean_inputs(toy: Any) -> None:
    trainer, x, y, _ = setting(toy, StandardTrainer)
    model = trainer.classifier.model
    alike(trainer.step(x, y), {"loss": functional.cross_entropy(model(x), y)}, model)


def test_standard_training_takes_the_ball_of_an_attack_and_never_attacks(toy: Any) -> None:
    weights = []
    for attacked in (False, True):
        art = toy.classifier()
        trainer = toy.trainer(StandardTrainer, art, attack=toy.attack(art) if attacked else None)
        trainer.craft = lambda *_, **__: pytest.fail("crafted")
        trainer.fit(toy.x(), toy.y(), nb_epochs=1)
        weights.append(toy.weights(art))
    assert weights[0] == weights[1]


def test_madry_is_cross_entropy_on_adversarial_inputs(toy: Any) -> None:
    trainer, x, y, x_adv = setting(toy, MadryPGDTrainer)
    model = trainer.classifier.model
    assert not torch.equal(x_adv, x)
    alike(trainer.step(x, y), {"loss": functional.cross_entropy(model(x_adv), y)}, model)


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_is_its_published_loss(toy: Any, beta: float) -> None:
    trainer, x, y, x_adv = setting(toy, TRADESTrainer, beta=beta)
    model = trainer.classifier.model
    clean = functional.cross_entropy(model(x), y)
    log_adv, natural = functional.log_softmax(model(x_adv), dim=1), functional.softmax(model(x), dim=1)
    apart = torch.nn.KLDivLoss(reduction="sum")(log_adv, natural) / len(x)
    alike(trainer.step(x, y), {"loss": clean + beta * apart, "clean": clean, "divergence": apart}, model)


def published_mart(logits: Tensor, logits_adv: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The published code with its guards 1.0001, 1e-12 and 1.0000001 left out, exact in float64."""
    adv_probs = functional.softmax(logits_adv, dim=1)
    top = torch.argsort(adv_probs, dim=1)[:, -2:]
    new_y = torch.where(top[:, -1] == y, top[:, -2], top[:, -1])
    adversarial = functional.cross_entropy(logits_adv, y) + functional.nll_loss(torch.log(1.0 - adv_probs), new_y)
    nat_probs = functional.softmax(logits, dim=1)
    true_probs = torch.gather(nat_probs, 1, y[:, None]).squeeze(1)
    divergence = torch.sum(functional.kl_div(torch.log(adv_probs), nat_probs, reduction="none"), dim=1)
    return adversarial, torch.mean(divergence * (1.0 - true_probs))


@pytest.mark.parametrize("beta", [0.0, 5.0])
def test_mart_is_its_published_loss(toy: Any, beta: float) -> None:
    trainer, x, y, x_adv = setting(toy, MARTTrainer, beta=beta)
    model = trainer.classifier.model
    adversarial, apart = published_mart(model(x), model(x_adv), y)
    expected = {"loss": adversarial + beta * apart, "adversarial": adversarial, "divergence": apart}
    alike(trainer.step(x, y), expected, model)


@pytest.mark.parametrize("kind", [TRADESTrainer, MARTTrainer])
@pytest.mark.parametrize(("name", "value"), [("beta", -0.1), ("start_std", None)])
def test_a_weight_must_be_a_non_negative_number(toy: Any, kind: type[Any], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a non-negative number, got {value!r}"):
        toy.trainer(kind, **{name: value})
