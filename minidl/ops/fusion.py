"""Which ops run as one: batch-norm takes along the sum with a shortcut, and the ReLU behind it.

A rule gives the result of two ops from what the first, which waits (`core.defer`), was asked for.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor, Waiting, absorbs, waiting
from minidl.ops.batch_norm import BatchNormalize, BatchNormalizeAddRelu

__all__: list[str] = []


@absorbs("relu", "batch_normalize")
@absorbs("relu", "batch_scale")
def _with_relu(waits: Waiting, position: int, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor | None:
    """relu(batch_norm(x) [+ residual]) in the pass that scales."""
    op = waits.op
    if waits.params["activation"] != "none":
        return None
    if op is BatchNormalize and len(waits.inputs) > 5:
        op = BatchNormalizeAddRelu
    return op.run(waits.inputs, {**waits.params, "activation": "relu"})  # type: ignore[union-attr, no-any-return]


@absorbs("add", "batch_normalize")
@absorbs("add", "batch_scale")
def _with_residual(waits: Waiting, position: int, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor | None:
    """batch_norm(x) + residual in the pass that scales, or waiting for a relu yet."""
    residual = inputs[1 - position]
    is_free = waits.params["activation"] == "none" and len(waits.inputs) == (5 if waits.op is BatchNormalize else 3)
    if not is_free or residual.spec != waits.spec:
        return None
    assert waits.op is not None
    return waiting(waits.op, waits.spec, (*waits.inputs, residual), waits.params)
