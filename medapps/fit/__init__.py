"""Training: one loop for all applications, and what each kind of training adds to it."""

from medapps.fit.loop import History, Progress, Trainer, fit
from medapps.fit.task import Task

__all__ = ["History", "Progress", "Task", "Trainer", "fit"]
