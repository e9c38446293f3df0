"""Reports: the robustness card, its figures, a table for the terminal. They read results and never recompute them."""

from __future__ import annotations

from art_mi.extras import needing

with needing("matplotlib", "report"), needing("jinja2", "report"):
    from art_mi.report.card import card, write_card
    from art_mi.report.figures import write_figures
    from art_mi.report.folders import load_records
    from art_mi.report.tables import text_table
    from art_mi.report.verdict import verdict

__all__ = ["card", "load_records", "text_table", "verdict", "write_card", "write_figures"]
