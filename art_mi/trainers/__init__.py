"""Defences: the trainers of the three papers and what they are compared with, on one loop."""

from art_mi.trainers.base import StepTrainer
from art_mi.trainers.baselines import MadryPGDTrainer, MARTTrainer, StandardTrainer, TRADESTrainer
from art_mi.trainers.dale import DALETrainer
from art_mi.trainers.mimae import MIMAETrainer
from art_mi.trainers.monitor import RVMonitor, TensorBoard
from art_mi.trainers.worst_case_mi import WorstCaseMITrainer

__all__ = [
    "DALETrainer",
    "MARTTrainer",
    "MIMAETrainer",
    "MadryPGDTrainer",
    "RVMonitor",
    "StandardTrainer",
    "StepTrainer",
    "TRADESTrainer",
    "TensorBoard",
    "WorstCaseMITrainer",
]
