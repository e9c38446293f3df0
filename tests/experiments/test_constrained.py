"""MIMAE under DALE's constraint moves as stated, and where a constraint ended is read off by hand-made courses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import dale
from experiments.recipe import Recipe
from tests.experiments.test_workshop import workshop

RHO, DUAL_LR = 0.5, 0.5


def test_the_clean_loss_counts_by_a_multiplier_that_moves_once_warm(tmp_path: Path) -> None:
    recipe = Recipe("MIMAE under DALE", options={"rho": RHO, "dual_lr": DUAL_LR, "dual_warmup": 1})
    made = workshop(tmp_path)
    trainer = made._trainer(recipe, made._classifier(recipe))
    step, seen = trainer.step, []

    def noted(*batch: Any) -> Any:
        terms = step(*batch)
        seen.append({name: value.item() for name, value in terms.items()})
        return terms

    trainer.step = noted
    trainer.fit(*made.samples.train, batch_size=128, nb_epochs=3)
    nu = 0.0
    for number, terms in enumerate(seen):
        mimae = terms["adversarial"] - trainer.lamb * terms["mi"] + trainer.beta * terms["distance"]
        assert terms["nu"] == pytest.approx(nu)
        assert terms["loss"] == pytest.approx(mimae + nu * terms["clean"], rel=1e-5)
        if number >= 3:  # an epoch has three steps
            nu = max(0.0, nu + DUAL_LR * (terms["clean"] - RHO))
    assert len(seen) == 9
    assert float(trainer.duals["nu"]) == pytest.approx(nu)
    assert nu > 0


@pytest.mark.parametrize(
    ("clean", "nu", "state", "answers"),
    [
        (0.31, 2.0, "tight", [True, True]),
        (0.28, 2.0, "tight", [True, True]),
        (0.40, 2.0, dale.BROKEN, [False, False]),
        (0.20, 0.0, "slack", [True, True]),
        (0.20, 0.5, dale.FALLING, [True, False]),
    ],
)
def test_a_margin_is_held_or_slack_or_neither(clean: float, nu: float, state: str, answers: list[bool]) -> None:
    ended = {"setting": {"options": {"rho": 0.3}}, "seed": 0, "history": [{"clean": clean, "nu": nu}]}
    without = {"setting": {"options": {"beta": 6.0}}, "seed": 0, "history": [{}]}
    relations = list(dale.held([ended, without]))
    assert [relation.holds for relation in relations] == answers
    assert relations[0].found == f"1 {state}"
    assert dale.ends([ended, without], lambda row: "model").splitlines()[2:] == [
        f"| model | 0 | {clean:.3f} | {nu:.2f} | {state} |"
    ]
    assert [relation.holds for relation in dale.held([without])] == [None, None]
