"""One call from a classifier to its robust accuracy: closed forms, the worst case, and everything left as it was."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import DeepFool, ProjectedGradientDescentPyTorch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from art_mi.evaluation import DEFAULT, evaluate_robustness
from art_mi.results import RobustnessResult

EPS = 0.02


def evaluated(toy: Any, art: Any = None, x: Any = None, y: Any = None, **options: Any) -> RobustnessResult:
    options = {"eps": EPS, "attacks": ("FGSM",), "checks": False, "verbose": False, **options}
    art = toy.classifier() if art is None else art
    return evaluate_robustness(art, toy.x() if x is None else x, toy.y() if y is None else y, **options)


# --- closed forms ---


@pytest.mark.parametrize("name", ["FGSM", "PGD-20", "PGD-50", "CW-inf", "APGD-CE", "APGD-DLR"])
def test_on_a_linear_classifier_every_attack_breaks_exactly_what_can_be_broken(name: str, toy: Any) -> None:
    robust = toy.robust(EPS)
    assert 4 <= robust.sum() <= 32  # some break and some do not
    found = evaluated(toy, attacks=(name,)).attacks[name].accuracy
    assert np.array_equal(found.correct, robust)
    assert found.nb_samples == 40
    assert found.value == robust.mean()


@pytest.mark.parametrize("name", ["FGSM", "PGD-20", "APGD-CE"])
def test_so_it_is_in_l2(name: str, toy: Any) -> None:
    eps = 0.1
    found = evaluated(toy, attacks=(name,), norm=2, eps=eps)
    assert np.array_equal(found.attacks[name].accuracy.correct, toy.robust(eps, 2))
    assert found.norm == 2


def test_pgd_l2_has_a_radius_of_its_own_and_no_part_in_the_worst_case(toy: Any) -> None:
    found = evaluated(toy, attacks=("FGSM", "PGD-l2"), eps_l2=0.3)
    assert np.array_equal(found.attacks["PGD-l2"].accuracy.correct, toy.robust(0.3, 2))
    assert (found.attacks["PGD-l2"].norm, found.attacks["PGD-l2"].eps) == (2.0, 0.3)
    assert np.array_equal(found.worst_case.correct, toy.robust(EPS))
    assert toy.robust(0.3, 2).sum() < toy.robust(EPS).sum()
    assert evaluated(toy, attacks=("PGD-l2",)).attacks["PGD-l2"].eps == pytest.approx(0.3 * EPS * 6)


def test_clean_accuracy_and_gap(toy: Any) -> None:
    found = evaluated(toy)
    assert found.clean.value == 0.9
    assert found.gap == pytest.approx(0.9 - toy.robust(EPS).mean())


def test_eps_is_in_raw_units_where_the_classifier_preprocesses(toy: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    plain, behind = (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for _ in range(2))
    for copy in (plain, behind):
        copy.load_state_dict(model.state_dict())
    with torch.no_grad():  # (x - 0.5) / 0.25 is undone by the weights
        behind[1].bias += 0.5 * behind[1].weight.sum(1)
        behind[1].weight *= 0.25
    ours = evaluated(toy, toy.classifier(plain), attacks=("PGD-20",))
    theirs = evaluated(toy, toy.classifier(behind, preprocessing=(0.5, 0.25)), attacks=("PGD-20",))
    assert ours.attacks["PGD-20"].accuracy == theirs.attacks["PGD-20"].accuracy


# --- the worst case ---


def _parts(toy: Any) -> tuple[Any, Any, Any]:
    first, second = np.arange(40) % 4 == 1, np.arange(40) % 4 == 2
    return toy.classifier(), first, second


def test_the_worst_case_is_taken_sample_by_sample(toy: Any) -> None:
    art, first, second = _parts(toy)
    attacks = {"a": toy.told(art, first, eps=1.0), "b": toy.told(art, second, eps=1.0)}
    found = evaluated(toy, art, attacks=attacks, eps=1.0)
    clean = np.arange(40) % 10 != 0
    assert np.array_equal(found.attacks["a"].accuracy.correct, clean & ~first | ~clean & first)
    assert np.array_equal(found.worst_case.correct, clean & ~first & ~second)


@pytest.mark.parametrize(("own", "counts"), [({"eps": 0.5}, True), ({"eps": 1.5}, False), ({"norm": 2}, False)])
def test_attacks_of_other_balls_have_no_part_in_it(own: dict[str, Any], counts: bool, toy: Any) -> None:
    art, first, _ = _parts(toy)
    found = evaluated(toy, art, attacks={"a": toy.told(art, first, **{"eps": 1.0, **own})}, eps=1.0)
    assert (found.worst_case.value < found.clean.value) is counts


def test_an_attack_without_a_radius_is_held_to_the_threat_model(toy: Any) -> None:
    art, first, _ = _parts(toy)
    found = evaluated(toy, art, attacks={"a": toy.told(art, first, eps=None)}, eps=1e-4)
    assert found.worst_case == found.clean
    deepfool = DeepFool(art, max_iter=20, verbose=False)
    held = evaluated(toy, art, attacks={"DeepFool": deepfool}, norm=2, eps=0.1).attacks["DeepFool"]
    assert not (toy.robust(0.1, 2) & ~held.accuracy.correct).any()  # it moves across any distance
    assert held.settings["outside the ball, counted as unperturbed"] >= toy.robust(0.1, 2).sum()
    assert held.accuracy.value < 0.9


@pytest.mark.parametrize("added", [np.nan, np.inf, 0.15, -0.6])
def test_what_leaves_ball_or_box_or_is_no_number_counts_as_unperturbed(added: float, toy: Any) -> None:
    art = toy.classifier()
    attack = toy.told(art, np.ones(40, dtype=bool), eps=1.0 if added == -0.6 else 0.1)
    attack.added = attack.added * 0 + np.float32(added)
    found = evaluated(toy, art, attacks={"a": attack}).attacks["a"]
    assert found.accuracy == evaluated(toy, art).clean
    assert found.settings["outside the ball, counted as unperturbed"] == 40


# --- attacks by name ---


def test_by_default_all_attacks_of_the_paper_are_run(toy: Any) -> None:
    found = evaluated(toy, attacks=DEFAULT)
    assert list(found.attacks) == list(DEFAULT)
    assert list(found.accuracies()) == ["clean", *DEFAULT, "worst in the ball"]
    assert all(attack.seconds > 0 for attack in found.attacks.values())
    assert found.attacks["PGD-50"].settings["max_iter"] == 50
    assert RobustnessResult.from_dict(found.to_dict()) == found


def test_what_has_no_meaning_is_left_out_and_said_so(toy: Any) -> None:
    two = evaluated(toy, toy.classifier(nb_classes=2), attacks=DEFAULT)
    assert "APGD-DLR" not in two.attacks
    assert two.settings["left out"] == {"APGD-DLR": "its loss needs 3 classes"}
    other = evaluated(toy, norm=2, attacks=("FGSM", "PGD-l2", "CW-inf", "Square"))
    assert list(other.attacks) == ["FGSM"]
    assert set(other.settings["left out"].values()) == {"the norm is 2, not inf"}


def test_square_runs_by_name_and_breaks_nothing_that_cannot_be_broken(toy: Any) -> None:
    found = evaluated(toy, attacks=("Square",), x=toy.x()[:10], y=toy.y()[:10])
    correct, robust = found.attacks["Square"].accuracy.correct, toy.robust(EPS)[:10]
    assert not (robust & ~correct).any()


def test_labels_and_inputs_may_come_in_every_form(toy: Any) -> None:
    x, y = toy.x(), toy.y()
    expected = evaluated(toy)
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=7)
    forms = [(x.astype(np.float64), np.eye(3)[y]), (torch.from_numpy(x), torch.from_numpy(y)), (x, y.tolist())]
    for inputs, labels in forms:
        assert np.array_equal(evaluated(toy, x=inputs, y=labels).worst_case.correct, expected.worst_case.correct)
    from_loader = evaluate_robustness(toy.classifier(), loader, eps=EPS, attacks=["FGSM"], checks=False, verbose=False)
    assert np.array_equal(from_loader.worst_case.correct, expected.worst_case.correct)


def test_a_result_does_not_depend_on_which_other_attacks_ran(toy: Any) -> None:
    art = toy.classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)))
    alone = evaluated(toy, art, attacks=("PGD-20",))
    after = evaluated(toy, art, attacks=("APGD-CE", "PGD-20"))
    assert np.array_equal(alone.attacks["PGD-20"].accuracy.correct, after.attacks["PGD-20"].accuracy.correct)


class Noisy(nn.Module):
    """Scores of noisy inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.scores((x + 0.5 * torch.randn_like(x)).flatten(1))
        return out


def test_a_model_that_draws_when_it_predicts_is_evaluated_alike_by_seed(toy: Any) -> None:
    art = toy.classifier(Noisy())
    torch.manual_seed(1)
    first = evaluated(toy, art, attacks=("PGD-20",), random_state=0)
    torch.manual_seed(2)
    second, other = (evaluated(toy, art, attacks=("PGD-20",), random_state=seed) for seed in (0, 1))
    for one, two, is_equal in ((first, second, True), (first, other, False)):
        assert np.array_equal(one.clean.correct, two.clean.correct) is is_equal
        assert np.array_equal(one.worst_case.correct, two.worst_case.correct) is is_equal


def test_an_attack_does_not_know_the_draws_of_the_prediction(toy: Any) -> None:
    seen: list[list[float]] = []
    art = toy.classifier(Noisy())
    art.model.register_forward_pre_hook(lambda module, args: seen.append(torch.randn(3).tolist()))
    evaluated(toy, art, attacks=("FGSM",), checks=False)
    assert len(seen) >= 3
    assert seen[0] == seen[-1]  # clean and perturbed
    assert seen[0] not in seen[1:-1]


# --- everything stays as it was ---


def _state(art: Any) -> tuple[Any, ...]:
    return (
        [module.training for module in art.model.modules()],
        [parameter.requires_grad for parameter in art.model.parameters()],
        [None if p.grad is None else p.grad.clone().tolist() for p in art.model.parameters()],
        {name: value.tolist() for name, value in art.model.state_dict().items()},
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        random.getstate(),
    )


@pytest.mark.parametrize("fails", [False, True])
def test_model_gradients_inputs_and_random_state_are_left_alone(fails: bool, toy: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Dropout(0.5), nn.Linear(36, 3))
    model[1].eval()
    art = toy.classifier(model)
    model(torch.from_numpy(toy.x())).sum().backward()
    x, y, before = toy.x(), toy.y(), _state(art)
    attack = ProjectedGradientDescentPyTorch(art, eps=EPS, eps_step=EPS, max_iter=2, num_random_init=1, verbose=False)
    told = toy.told(toy.classifier(), np.zeros(40, dtype=bool))
    told._estimator, told.interrupted = art, fails
    attacks = {"PGD": attack, "told": told}
    if fails:
        with pytest.raises(KeyboardInterrupt):
            evaluated(toy, art, x, y, attacks=attacks)
    else:
        evaluated(toy, art, x, y, attacks=attacks)
        evaluated(toy, art, x, y, attacks=("PGD-20", "APGD-CE", "CW-inf"), checks=True)
    assert _state(art) == before
    assert np.array_equal(x, toy.x())
    assert np.array_equal(y, toy.y())


def test_the_network_is_attacked_in_evaluation_mode(toy: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))
    training, evaluation = (evaluated(toy, toy.classifier(model.train(mode))) for mode in (True, False))
    assert np.array_equal(training.worst_case.correct, evaluation.worst_case.correct)
    assert training.clean == evaluation.clean


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0}, "`eps` must be a positive number, got 0"),
        ({"eps": "8/255"}, "`eps` must be a positive number"),
        ({"eps_l2": -1.0}, "`eps_l2` must be None or a positive number, got -1.0"),
        ({"norm": 3}, "`norm` must be inf, 2 or 1, got 3"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0"),
        ({"checks": "no"}, "`checks` must be True or False, got 'no'"),
        ({"verbose": 1}, "`verbose` must be True or False, got 1"),
        ({"random_state": -1}, "`random_state` must be an integer from 0"),
        ({"attacks": ("PGD",)}, "`attacks` must be one of 'FGSM', .*got 'PGD'"),
        ({"attacks": "PGD"}, "`attacks` must be one of 'FGSM', .*got 'PGD'"),
        ({"y": [0, 1]}, "`y` must hold one label for each of the 40 samples"),
        ({"x": np.zeros((3, 6, 6))}, r"`x` must have shape \(n, 1, 6, 6\)"),
        ({"x": np.zeros((0, 1, 6, 6)), "y": np.zeros(0)}, "`x` must hold at least 1 sample, got none"),
    ],
)
def test_an_argument_that_breaks_its_rule_is_refused(options: dict[str, Any], message: str, toy: Any) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(toy, **options)


def test_labels_are_asked_for(toy: Any) -> None:
    with pytest.raises(ValueError, match="`y` must hold labels"):
        evaluate_robustness(toy.classifier(), toy.x(), eps=EPS)


def test_a_classifier_of_another_kind_is_refused(toy: Any) -> None:
    with pytest.raises(TypeError, match="`classifier` must be an ART PyTorchClassifier, got Linear"):
        evaluated(toy, nn.Linear(2, 2))


def test_probabilities_are_refused_because_attacks_would_seem_to_fail(toy: Any) -> None:
    art = toy.classifier(nn.Sequential(toy.classifier().model, nn.Softmax(1)))
    with pytest.raises(ValueError, match="`classifier` must give logits, got probabilities"):
        evaluated(toy, art)


def test_a_single_output_is_refused(toy: Any) -> None:
    art = toy.classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), nb_classes=2)
    with pytest.raises(ValueError, match="one logit for each of at least 2 classes, got outputs of shape"):
        evaluated(toy, art)


def test_attacks_of_ones_own_are_checked(toy: Any) -> None:
    art, none = toy.classifier(), np.zeros(40, dtype=bool)
    with pytest.raises(TypeError, match="`attacks` must hold ART EvasionAttacks, got str for 'a'"):
        evaluated(toy, art, attacks={"a": "PGD-20"})
    with pytest.raises(ValueError, match="`attacks` must be on `classifier`, got one on another estimator for 'a'"):
        evaluated(toy, art, attacks={"a": toy.told(toy.classifier(), none)})
    with pytest.raises(ValueError, match=r"`attacks` must have names other than 'clean', .*got 'clean'"):
        evaluated(toy, art, attacks={"clean": toy.told(art, none)})
    targeted = ProjectedGradientDescentPyTorch(art, targeted=True, verbose=False)
    with pytest.raises(ValueError, match="`attacks` must be untargeted, got a targeted ProjectedGradientDescentPyT"):
        evaluated(toy, art, attacks={"a": targeted})
    wrong = toy.told(art, none)
    wrong.added = np.zeros((2, *wrong.added.shape), dtype=np.float32)
    with pytest.raises(ValueError, match="`attacks` must return inputs of the shape of `x`"):
        evaluated(toy, art, attacks={"a": wrong})


def test_infinity_is_a_norm_by_name_too(toy: Any) -> None:
    assert evaluated(toy, norm="inf").norm == math.inf
