"""Optimizers and learning-rate schedules, under PyTorch's names."""

from minidl.optim import lr_scheduler, swa_utils
from minidl.optim.adadelta import Adadelta
from minidl.optim.adafactor import Adafactor
from minidl.optim.adagrad import Adagrad
from minidl.optim.adam import Adam, AdamW
from minidl.optim.adamax import Adamax
from minidl.optim.asgd import ASGD
from minidl.optim.lamb import LAMB
from minidl.optim.lbfgs import LBFGS
from minidl.optim.nadam import NAdam
from minidl.optim.optimizer import Optimizer
from minidl.optim.radam import RAdam
from minidl.optim.rmsprop import RMSprop
from minidl.optim.rprop import Rprop
from minidl.optim.sgd import SGD

__all__ = [
    "ASGD", "LAMB", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer",
    "RAdam", "RMSprop", "Rprop", "lr_scheduler", "swa_utils",
]  # fmt: skip
