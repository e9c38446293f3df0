"""Attacks: one inner loop, and the objectives it climbs."""

from art_mi.attacks.ascent import Objective, ascend

__all__ = ["Objective", "ascend"]
