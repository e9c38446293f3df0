from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from art.metrics import empirical_robustness
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, get_model, get_model_weights

from art_mi import representation_vulnerability
from art_mi.models import from_robustbench, from_timm, from_torchvision

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SQUEEZENET: dict[str, Any] = {"name": "squeezenet1_1", "nb_classes": 4, "input_shape": (3, 32, 32)}
TIMM: dict[str, Any] = {"name": "test_resnet", "nb_classes": 4, "input_shape": (3, 32, 32)}
BUILT = pytest.mark.parametrize("build", [partial(from_torchvision, **SQUEEZENET), partial(from_timm, **TIMM)])


class Normalising(nn.Module):
    """As the models of RobustBench are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body((x - 0.5) / 0.25)
        return out


def images(n: int = 5, *, shape: tuple[int, ...] = (3, 32, 32)) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def by_hand(classifier: PyTorchClassifier, x: NDArray[np.float32], mean: Any, std: Any) -> NDArray[np.float32]:
    """The model's output on images that are normalised channel by channel."""
    channels = [(x[:, i] - mean[i]) / std[i] for i in range(3)]
    with torch.no_grad():
        out: NDArray[np.float32] = classifier.model.eval()(
            torch.from_numpy(np.float32(channels)).swapaxes(0, 1)
        ).numpy()
    return out


# --- what all share ---


@BUILT
def test_a_network_is_a_classifier_of_raw_images_on_which_art_attacks_and_metrics_run(build: Any) -> None:
    classifier, x = build(), images(100)
    assert classifier.nb_classes == 4
    assert [float(v) for v in classifier.clip_values] == [0, 1]
    x_adv = ProjectedGradientDescentPyTorch(classifier, eps=0.05, eps_step=0.02, max_iter=3, verbose=False).generate(x)
    assert 0.01 < np.abs(x_adv - x).max() <= 0.05 + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert empirical_robustness(classifier, x, "fgsm", {"eps_step": 0.1, "eps": 0.5}) >= 0
    assert 0 < representation_vulnerability(classifier, x, eps=0.01, max_iter=5, verbose=False) < np.log(100)


@BUILT
def test_the_seed_decides_about_random_weights_and_global_randomness_stays(build: Any) -> None:
    before = torch.get_rng_state()
    first, again, other = (build(random_state=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(torch.get_rng_state(), before)
    x = images()
    np.testing.assert_array_equal(first.predict(x), again.predict(x))
    assert not np.allclose(first.predict(x), other.predict(x))


@BUILT
def test_an_optimizer_is_made_of_the_parameters_and_art_trains_with_it(build: Any) -> None:
    classifier = build(optimizer=partial(torch.optim.SGD, lr=0.1))
    before = [p.detach().clone() for p in classifier.model.parameters()]
    classifier.fit(images(8), np.arange(8) % 4, nb_epochs=1, batch_size=8)
    after = classifier.model.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert build().optimizer is None


@BUILT
def test_another_normalisation_can_be_given(build: Any) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    classifier = build(preprocessing=(mean, std))
    np.testing.assert_allclose(classifier.predict(images()), by_hand(classifier, images(), mean, std), atol=1e-5)


@BUILT
def test_normalisation_of_another_number_of_channels_is_refused(build: Any) -> None:
    with pytest.raises(ValueError, match="`preprocessing` must have the 3 channels of an input"):
        build(preprocessing=((0.5,), (0.5,)))


@BUILT
@pytest.mark.parametrize(("name", "value"), [("nb_classes", 0), ("random_state", -1)])
def test_a_wrong_number_is_refused(build: Any, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be .*, got {value}"):
        build(**{name: value})


# --- torchvision ---


def test_a_torchvision_network_sees_the_normalisation_of_its_weights() -> None:
    classifier = from_torchvision(**SQUEEZENET)
    np.testing.assert_allclose(classifier.predict(images()), by_hand(classifier, images(), *IMAGENET), atol=1e-5)


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", get_model_weights("squeezenet1_1")["DEFAULT"]])
def test_named_weights_are_loaded_with_their_classes_and_size(weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = {name: value + 0.01 for name, value in get_model("squeezenet1_1").state_dict().items()}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: downloaded)
    classifier = from_torchvision("squeezenet1_1", weights=weights)
    assert classifier.nb_classes == 1000
    assert classifier.input_shape == (3, 224, 224)
    torch.testing.assert_close(classifier.model.state_dict(), downloaded)


class Bomb:
    """What unpickling runs."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path(os.environ["TORCH_HOME"], "ran").touch, ()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder where torch keeps what it has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("forced", [None, "0", "1"])
def test_weights_that_would_run_code_are_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, forced: str | None
) -> None:
    if forced is not None:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    before = dict(os.environ)
    torch.save({"a": Bomb()}, cache / Path(ResNet18_Weights.DEFAULT.url).name)
    with pytest.raises(ValueError, match="`weights` must be those of a file that holds tensors alone, got 'DEFAULT'"):
        from_torchvision("resnet18", weights="DEFAULT")
    assert not (cache.parents[1] / "ran").exists()
    assert os.environ == before


def test_weights_in_the_cache_are_loaded_as_torchvision_loads_them(cache: Path) -> None:
    known = get_model_weights("googlenet")["DEFAULT"]  # its builder leaves parts of them out, and scales inputs anew
    stored = get_model("googlenet", init_weights=False).state_dict()
    torch.save(stored, cache / Path(known.url).name)
    model = from_torchvision("googlenet", weights="DEFAULT").model
    assert model.transform_input
    torch.testing.assert_close(model.state_dict(), {k: v for k, v in stored.items() if not k.startswith("aux")})


def test_the_size_is_that_of_the_weights_of_the_network() -> None:
    assert from_torchvision("efficientnet_b1", nb_classes=2).input_shape == (3, 240, 240)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet81"}, "`name` must be a classifier of torchvision, got 'resnet81'. Close names: resnet18"),
        ({"name": "fcn_resnet50"}, "`name` must be a classifier of torchvision, got 'fcn_resnet50'"),
        ({"weights": "BEST"}, "`weights` must be one of 'DEFAULT', 'IMAGENET1K_V1', got 'BEST'"),
        ({"weights": ResNet18_Weights.DEFAULT}, "`weights` must be one of .*, got ResNet18_Weights"),
        (
            {"name": "vgg16", "weights": "IMAGENET1K_FEATURES"},
            "`weights` must be one of 'DEFAULT', 'IMAGENET1K_V1', got",
        ),
        ({"weights": "DEFAULT", "nb_classes": 4}, "`nb_classes` must be that of the weights, 1000, got 4"),
    ],
)
def test_a_wrong_argument_of_torchvision_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_torchvision(**{"name": "squeezenet1_1", **options})


# --- timm ---


def test_a_timm_network_sees_the_normalisation_of_its_configuration() -> None:
    classifier = from_timm(**TIMM)
    np.testing.assert_allclose(
        classifier.predict(images()), by_hand(classifier, images(), [0.5] * 3, [0.5] * 3), atol=1e-5
    )
    resnet = from_timm("resnet18", nb_classes=4, input_shape=(3, 32, 32))
    np.testing.assert_allclose(resnet.predict(images()), by_hand(resnet, images(), *IMAGENET), atol=1e-4)


def test_channels_are_normalised_also_where_an_image_is_as_wide_as_it_has_channels() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    classifier = from_timm("test_resnet", nb_classes=4, input_shape=(3, 32, 3), preprocessing=(mean, std))
    x = images(shape=(3, 32, 3))
    np.testing.assert_allclose(classifier.predict(x), by_hand(classifier, x, mean, std), atol=1e-5)


def test_pretrained_weights_are_loaded_and_get_another_head_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded = timm.create_model("test_resnet").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(downloaded))
    whole = from_timm("test_resnet.r160_in1k", pretrained=True)
    assert whole.nb_classes == 1000
    assert whole.input_shape == (3, 160, 160)
    torch.testing.assert_close(whole.model.state_dict(), downloaded)
    tuned = from_timm("test_resnet", pretrained=True, nb_classes=7)
    assert tuned.nb_classes == 7
    assert tuned.model.fc.weight.shape[0] == 7
    body = {name: value for name, value in tuned.model.state_dict().items() if not name.startswith("fc.")}
    torch.testing.assert_close(body, {name: downloaded[name] for name in body})


def test_pretrained_weights_that_would_run_code_are_refused(cache: Path) -> None:
    torch.save({"a": Bomb()}, cache / "weights.pth")
    described = {"url": "https://example.org/weights.pth", "hf_hub_id": None, "num_classes": 1000}
    with pytest.raises(ValueError, match="`pretrained` must be those of a file that holds tensors alone, got True"):
        from_timm("test_resnet", pretrained=True, pretrained_cfg_overlay=described)
    assert not (cache.parents[1] / "ran").exists()


def test_an_unknown_timm_network_is_refused_with_close_names() -> None:
    with pytest.raises(ValueError, match="`name` must be a network of timm, got 'resnet81'"):
        from_timm("resnet81")


def test_a_missing_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr("art_mi.extras.import_module", missing)
    with pytest.raises(ImportError, match=r"`timm` is not installed: pip install 'art-mi\[timm\]'"):
        from_timm("resnet18")


# --- RobustBench ---


def test_a_robustbench_model_is_left_to_normalise_itself() -> None:
    classifier = from_robustbench(Normalising())
    assert (classifier.nb_classes, classifier.input_shape) == (10, (3, 32, 32))
    with torch.no_grad():
        expected = classifier.model(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(classifier.predict(images()), expected, atol=1e-6)
    assert from_robustbench(Normalising(), dataset="imagenet").input_shape == (3, 224, 224)
    assert from_robustbench(Normalising(), dataset="imagenet", input_shape=(3, 288, 288)).input_shape == (3, 288, 288)
    x_adv = ProjectedGradientDescentPyTorch(classifier, eps=0.05, eps_step=0.02, max_iter=3, verbose=False).generate(
        images()
    )
    assert 0.01 < np.abs(x_adv - images()).max() <= 0.05 + 1e-6


def test_a_wrong_argument_of_robustbench_is_refused() -> None:
    with pytest.raises(TypeError, match="`model` must be a torch module, got str"):
        from_robustbench("Standard")
    with pytest.raises(ValueError, match="`dataset` must be one of 'cifar10', 'cifar100', 'imagenet', got 'mnist'"):
        from_robustbench(Normalising(), dataset="mnist")


@pytest.mark.parametrize("build", [from_torchvision, from_timm])
def test_a_name_must_be_a_text(build: Any) -> None:
    with pytest.raises(ValueError, match="`name` must be a text, got 5"):
        build(5)
