"""Rehearsals: what a companion (`companion.py`) does with the calls it is told of."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from ast import literal_eval

import numpy as np

from minidl.core import registry
from minidl.core.companion import Scene
from minidl.core.tensor import Tensor
from minidl.core.walk import walk_back
from minidl.device import Array
from minidl.device.dtypes import DType
from minidl.device.layout import dense_order, undone

_PATIENCE_S = 20.0


def main() -> None:
    """Rehearse the scenes that standard input names, a line each, until it ends or is silent for long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    serve(lines)


def serve(lines: queue.SimpleQueue[str]) -> None:
    """Rehearse one scene after the other, until none comes for a while."""
    with contextlib.suppress(queue.Empty):
        while True:
            scene = lines.get(timeout=_PATIENCE_S)
            with contextlib.suppress(Exception):  # whoever runs the call in earnest will be told
                rehearse(literal_eval(scene))


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # nobody waits for kernels any more, not even for the one being compiled


def rehearse(scene: Scene) -> None:
    """Run a call on zeros, and back, for the sake of the kernels that they need."""
    name, arrays, params = scene
    inputs = tuple([Tensor.of(_zeros(np.dtype(dtype), shape, strides)) for dtype, shape, strides in arrays])
    for t in inputs:
        t.requires_grad_(t.is_floating_point())
    found = registry.find_op(name).run(inputs, params)
    results = found if isinstance(found, tuple) else (found,)
    walk_back([(t, Tensor.of(np.ones_like(t.array))) for t in results if t.requires_grad])


def _zeros(dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """An array that lies as one with these strides does, if that is dense."""
    order = dense_order(np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides))
    if order is None:
        return np.zeros(shape, dtype)
    return np.zeros([shape[d] for d in order], dtype).transpose(undone(order))
