from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_mi.risk import adversarial_accuracy_upper_bound, adversarial_risk_lower_bound

LOG2 = math.log(2)

information = st.floats(-1.0, 8.0)
classes = st.integers(2, 1000)


def binary_entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize(
    ("mi", "nb_classes", "published", "exact"),
    [
        (0.0, 10, 0.3010, 0.1000),
        (1.08, 10, 0.7701, 0.7154),
        (1.25, 10, 0.8439, 0.7677),
        (1.75, 10, 1.0, 0.8982),
        (0.0, 2, 1.0, 0.5),
        (0.3, 2, 1.0, 0.8664),
        (LOG2, 2, 1.0, 1.0),
    ],
)
def test_both_forms_agree_with_the_table_worked_out_by_hand(
    mi: float, nb_classes: int, published: float, exact: float
) -> None:
    assert adversarial_accuracy_upper_bound(mi, nb_classes, "published") == pytest.approx(published, abs=5.1e-5)
    assert adversarial_accuracy_upper_bound(mi, nb_classes, "exact") == pytest.approx(exact, abs=5.1e-5)


@given(information, classes)
def test_the_exact_form_is_never_above_the_published_one_and_both_are_accuracies(mi: float, nb_classes: int) -> None:
    exact = adversarial_accuracy_upper_bound(mi, nb_classes)
    published = adversarial_accuracy_upper_bound(mi, nb_classes, "published")
    assert 1 / nb_classes - 1e-12 <= exact <= published + 1e-12 <= 1 + 1e-12


@given(information, st.floats(0.0, 2.0), classes, st.sampled_from(["exact", "published"]))
def test_more_information_never_lowers_the_ceiling(mi: float, more: float, nb_classes: int, form: str) -> None:
    low, high = (adversarial_accuracy_upper_bound(i, nb_classes, form) for i in (mi, mi + more))
    assert low <= high + 1e-12


@given(st.floats(0.0, 1.0), classes)
def test_the_exact_form_solves_fanos_equation(share: float, nb_classes: int) -> None:
    mi = share * math.log(nb_classes)
    error = 1 - adversarial_accuracy_upper_bound(mi, nb_classes)
    left = binary_entropy(error) + error * math.log(nb_classes - 1)
    assert left == pytest.approx(math.log(nb_classes) - mi, abs=1e-9)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), classes)
def test_labels_of_less_entropy_are_easier_to_guess(share: float, mi: float, nb_classes: int) -> None:
    uniform = adversarial_accuracy_upper_bound(mi, nb_classes)
    uneven = adversarial_accuracy_upper_bound(mi, nb_classes, label_entropy=share * math.log(nb_classes))
    assert uneven >= uniform - 1e-12


def test_without_information_uneven_binary_labels_are_guessed_by_their_majority() -> None:
    ceiling = adversarial_accuracy_upper_bound(0.0, 2, label_entropy=binary_entropy(0.2))
    assert ceiling == pytest.approx(0.8, abs=1e-9)
    assert adversarial_accuracy_upper_bound(0.0, 10, label_entropy=0.0) == 1.0


def test_the_published_form_takes_no_account_of_the_label_entropy() -> None:
    given_entropy = adversarial_accuracy_upper_bound(1.08, 10, "published", label_entropy=1.0)
    assert given_entropy == adversarial_accuracy_upper_bound(1.08, 10, "published")


@pytest.mark.parametrize("form", ["exact", "published"])
def test_information_beyond_the_labels_clips_the_ceiling_at_one(form: str) -> None:
    for mi in (math.log(10), 5.0, 1e6, math.inf):
        assert adversarial_accuracy_upper_bound(mi, 10, form) == 1.0


@pytest.mark.parametrize("form", ["exact", "published"])
def test_negative_information_counts_as_none(form: str) -> None:
    nothing = adversarial_accuracy_upper_bound(0.0, 7, form)
    for mi in (-1e-12, -0.5, -math.inf):
        assert adversarial_accuracy_upper_bound(mi, 7, form) == nothing


@given(information, classes, st.sampled_from(["exact", "published"]))
def test_risk_and_accuracy_sum_to_one(mi: float, nb_classes: int, form: str) -> None:
    risk = adversarial_risk_lower_bound(mi, nb_classes, form)
    assert risk + adversarial_accuracy_upper_bound(mi, nb_classes, form) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mi": math.nan, "nb_classes": 10}, "`mi` must be a number of nats, got nan"),
        ({"mi": 1.0, "nb_classes": 1}, "`nb_classes` must be an integer of at least 2, got 1"),
        ({"mi": 1.0, "nb_classes": 10, "form": "tight"}, "`form` must be one of 'exact', 'published', got 'tight'"),
        ({"mi": 1.0, "nb_classes": 10, "label_entropy": -0.1}, "`label_entropy` must be between 0 and .* got -0.1"),
        ({"mi": 1.0, "nb_classes": 10, "label_entropy": 2.31}, "`label_entropy` must be between 0 and .*2.3026.*2.31"),
        ({"mi": 1.0, "nb_classes": 10, "label_entropy": math.nan}, "`label_entropy` must be .* got nan"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, float], match: str) -> None:
    for bound in (adversarial_accuracy_upper_bound, adversarial_risk_lower_bound):
        with pytest.raises(ValueError, match=match):
            bound(**arguments)
