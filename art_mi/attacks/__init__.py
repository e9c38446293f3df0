"""Attacks: one inner loop, and the objectives and moves that it takes."""

from art_mi.attacks.ascent import Move, Objective, ascend, best_of, falling
from art_mi.attacks.langevin import LangevinMonteCarlo

__all__ = ["LangevinMonteCarlo", "Move", "Objective", "ascend", "best_of", "falling"]
