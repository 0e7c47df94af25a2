"""Planted faults: wrong gradients, values and kernels, a lesson each, and the proof that our checks find them all.

`python -m tests.minidl.gallery` prints the kill rate.
"""

import inspect

from tests.minidl.gallery import arithmetic, kernels, layers, losses, memory, recurrent, shapes
from tests.minidl.gallery.fault import PLANTED, Fault

__all__ = ["CHAPTERS", "FAULTS", "Fault"]

# From the chain rule to the machine.
CHAPTERS = (arithmetic, shapes, layers, recurrent, losses, memory, kernels)
FAULTS = sorted(PLANTED, key=lambda fault: CHAPTERS.index(inspect.getmodule(fault.code)))
