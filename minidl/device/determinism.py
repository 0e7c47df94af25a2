"""How far a result must not depend on how it was computed.

Results never depend on the number of threads. That of a sample may depend on what else is in its batch, by the last
digits: a product of few rows is summed in another order than one of many, and a convolution of many images may take
another algorithm than that of one.
"""

from __future__ import annotations

from minidl.device.settings import changed
from minidl.errors import ArgumentError

MODES = ("threads", "batch")
_chosen = {"mode": "threads"}


def use_deterministic(mode: str) -> None:
    """Choose what bits of a result may depend on.

    Args:
        mode: "threads" (the default): not on the number of threads. "batch": nor, in inference, on the other samples of
            the batch: products of matrices are summed step by step whatever their size, sums leave our loops for
            NumPy's, and convolutions choose their algorithm as for one image. Gradients of weights are sums over the
            batch and depend on it in any case.

    Raises:
        ArgumentError: if it is neither.
    """
    if mode not in MODES:
        raise ArgumentError(f"use_deterministic: mode must be 'threads' or 'batch', got {mode!r}")
    _chosen["mode"] = mode
    changed()


def is_batch_invariant() -> bool:
    """Whether a sample's result must not depend on its batch."""
    return _chosen["mode"] == "batch"
