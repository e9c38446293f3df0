"""Reports: terminal table, plots and a self-contained HTML page. They read results and never recompute them."""

from __future__ import annotations

from art_mi.report.card import card
from art_mi.report.plots import figure_svg, information_bars, sweep_curve
from art_mi.report.tables import Accuracy, text_table, verdict

__all__ = ["Accuracy", "card", "figure_svg", "information_bars", "sweep_curve", "text_table", "verdict"]
