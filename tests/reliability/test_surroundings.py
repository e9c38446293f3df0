"""Results do not depend on the modes and defaults of torch around a call; what cannot be used is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

from art_mi import WorstCaseMIEstimator, backbone_report, estimate_mutual_information, evaluate_robustness
from art_mi.attacks import LangevinMonteCarlo, MarginAttack, WorstCaseMIAttack
from art_mi.critics import ConvCritic, LocalCritic, joint_critic, separable_critic
from art_mi.metrics import feature_profile, layer_profile, vulnerability_curve
from art_mi.saliency import information_saliency, loss_saliency
from art_mi.trainers import StandardTrainer


class Wrapped(nn.Module):
    """Weights of 16 bits inside a model that takes and gives 32."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_model().half()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.half()).float()


def small_model() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def small_classifier(model: nn.Module) -> PyTorchClassifier:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (4,), 3, optimizer, clip_values=(0.0, 1.0), device_type="cpu"
    )


SMALL = np.random.default_rng(0).random((120, 4), dtype=np.float32), np.arange(120) % 3
USES: dict[str, Callable[[PyTorchClassifier], Any]] = {
    "metric": lambda art: WorstCaseMIEstimator(0.1, max_iter=2, verbose=False).evaluate(art, *SMALL).to_dict(),
    "robustness": lambda art: (
        evaluate_robustness(art, *SMALL, eps=0.1, attacks=["FGSM"], checks=False, verbose=False).worst_case.value
    ),
    "training": lambda art: (
        StandardTrainer(art, verbose=False).fit(*SMALL, nb_epochs=1) or art.predict(SMALL[0]).tolist()
    ),
}
INPUTS, LABELS = map(torch.from_numpy, SMALL)
SHORT: dict[str, Any] = {"eps": 0.1, "max_iter": 2, "verbose": False}
BY_CRITIC: dict[str, Any] = {**SHORT, "method": "critic", "max_steps": 2, "attack_steps": 1}
FURTHER: dict[str, Callable[[PyTorchClassifier], Any]] = {
    "critic": lambda art: WorstCaseMIEstimator(**BY_CRITIC).evaluate(art, INPUTS.tile(4, 1)).to_dict(),
    "quantised": lambda art: WorstCaseMIEstimator(**SHORT, method="quantised").evaluate(art, INPUTS).to_dict(),
    "curve": lambda art: vulnerability_curve(art, INPUTS, LABELS, **{**SHORT, "eps": [0.1]}).to_dict(),
    "features": lambda art: feature_profile(art, INPUTS, **SHORT).to_dict(),
    "layers": lambda art: layer_profile(art, INPUTS, LABELS, **SHORT).to_dict(),
    "margin": lambda art: MarginAttack(art, **SHORT, random_state=0).generate(INPUTS, LABELS).tolist(),
    "langevin": lambda art: LangevinMonteCarlo(art, **SHORT, random_state=0).generate(INPUTS, LABELS).tolist(),
    "information": lambda art: WorstCaseMIAttack(art, **SHORT, random_state=0).generate(INPUTS).tolist(),
    "saliency": lambda art: information_saliency(art, INPUTS).tolist(),
    "loss": lambda art: loss_saliency(art, INPUTS, LABELS).tolist(),
}
each_use = pytest.mark.parametrize("use", USES)


@pytest.mark.parametrize("use", [*USES, *FURTHER])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whatever_mode_of_autograd_surrounds_a_call_its_result_is_the_same(use: str, mode: Any) -> None:
    used = (USES | FURTHER)[use]
    expected, art = used(small_classifier(small_model())), small_classifier(small_model())
    with mode():
        assert used(art) == expected
    assert all(parameter.requires_grad for parameter in art.model.parameters())


@each_use
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_weights_of_another_dtype_are_refused_by_name_unless_the_model_casts(use: str, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"`classifier` must have a model that takes inputs of torch\.float32, got one"):
        USES[use](small_classifier(small_model().to(dtype)))
    if use != "training":
        assert USES[use](small_classifier(Wrapped())) is not None


@each_use
def test_weights_of_inference_mode_are_refused_by_name(use: str) -> None:
    with torch.inference_mode():
        art = small_classifier(small_model())
    with pytest.raises(ValueError, match=r"`classifier` must have weights made outside torch\.inference_mode"):
        USES[use](art)


def test_frozen_weights_are_not_trained() -> None:
    art = small_classifier(small_model().requires_grad_(False))
    with pytest.raises(ValueError, match="`classifier` must have weights to train, got frozen ones"):
        USES["training"](art)


def test_a_model_that_returns_several_tensors_is_refused_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_model()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(x), x

    for use in USES.values():
        with pytest.raises(TypeError, match="`classifier` must have a model that returns one tensor, got tuple"):
            use(small_classifier(Two()))


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CRITICAL: dict[str, Callable[[], Any]] = {
    "estimate": lambda: estimate_mutual_information(
        np.tile(SMALL[0], (4, 1)), np.tile(SMALL[0][:, :2], (4, 1)), max_steps=2, nb_bootstrap=10
    ).to_dict(),
    "critic": lambda: (
        WorstCaseMIEstimator(0.1, method="critic", max_iter=2, max_steps=2, attack_steps=1, verbose=False)
        .evaluate(ART_OF_32, np.tile(SMALL[0], (4, 1)))
        .to_dict()
    ),
    "backbone": lambda: backbone_report(
        ART_OF_32, *SMALL, eps=0.1, layer="0", nb_epochs=1, max_iter=1, verbose=False
    ).to_dict(),
    "critics": lambda: [
        [value.dtype for value in made.state_dict().values() if value.is_floating_point()]
        for made in (joint_critic(4, 2), separable_critic(4, 2), ConvCritic(1, 2), LocalCritic(1, 2))
    ],
}
ART_OF_32 = small_classifier(small_model())


@pytest.mark.parametrize("name", CRITICAL)
def test_critics_and_heads_have_32_bits_whatever_torch_makes_by_default(
    name: str, request: pytest.FixtureRequest
) -> None:
    expected = CRITICAL[name]()
    request.getfixturevalue("double_by_default")
    assert CRITICAL[name]() == expected
