"""Learning rates that change while a net trains: after each epoch (or step), call `scheduler.step()`.

Each schedule is a function of the epoch's number, not of the rate before, so rounding does not add up, a run resumes
exactly, and of two schedulers on one optimizer the last to step wins (join them with `SequentialLR` or
`ChainedScheduler`).
"""

from minidl.optim.lr_scheduler.base import LRScheduler
from minidl.optim.lr_scheduler.chained import ChainedScheduler
from minidl.optim.lr_scheduler.cyclic import CyclicLR
from minidl.optim.lr_scheduler.decay import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from minidl.optim.lr_scheduler.one_cycle import OneCycleLR
from minidl.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minidl.optim.lr_scheduler.sequential import SequentialLR

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR",
    "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
