"""The papers' tables and figures on real data, each by one command: `python -m experiments NAME`."""

PAPERS = ("table1", "figures12", "figures34", "mimae", "dale")
OURS = ("rates", "tau", "combined")
EXPERIMENTS = (*PAPERS, *OURS)
