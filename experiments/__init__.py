"""The papers' tables and figures on real data, each by one command: `python -m experiments NAME`."""

EXPERIMENTS = ("table1", "figures12", "figures34", "mimae", "rates", "dale", "tau", "combined")
