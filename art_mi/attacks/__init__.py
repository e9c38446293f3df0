"""Attacks: one inner loop, and the objectives and moves that it takes."""

from art_mi.attacks.ascent import Move, Objective, ascend, best_of, falling
from art_mi.attacks.langevin import LangevinMonteCarlo
from art_mi.attacks.margin import MarginAttack
from art_mi.attacks.worst_case_mi import WorstCaseMIAttack

__all__ = [
    "LangevinMonteCarlo",
    "MarginAttack",
    "Move",
    "Objective",
    "WorstCaseMIAttack",
    "ascend",
    "best_of",
    "falling",
]
