"""In-place changes on the tape.

The memory of a tensor is overwritten; the tensor becomes the result of the op of the same meaning that gives a new one:
`x.mul_(y)` is recorded as `mul`. If the tensor is a view, what it is a view of changes too, and becomes the result of
putting the view back into its old value (`ViewOp.put`).
"""

from __future__ import annotations

from typing import Any

from minidl.core.node_hooks import NodeHooks
from minidl.core.op import Op, UpdateOp
from minidl.core.origin import Origin, note_rebase, refresh
from minidl.core.tape import Node, is_recording
from minidl.core.tensor import Tensor
from minidl.device.dtypes import is_floating, is_narrow
from minidl.errors import GradError


def update(
    op: type[UpdateOp],
    meaning: type[Op],
    inputs: tuple[Tensor, ...],
    params: dict[str, Any] | None = None,
    meaning_params: dict[str, Any] | None = None,
) -> Tensor:
    """Run an in-place op on `inputs`, of which it changes the first, and give that one.

    Args:
        meaning: the op by which the change is recorded if one of `inputs` needs a gradient.
        params, meaning_params: the parameters of the two; the same if the second are None.

    Raises:
        GradError: if the first input is a leaf that needs a gradient, or a view of one, and steps are being recorded.
    """
    input, params = inputs[0], params or {}
    if input.origin is not None:
        refresh(input)
    if not (is_recording() and is_floating(input.dtype) and any(t.requires_grad for t in inputs)):
        op.apply(*inputs, **params)
        return input
    check_may_change(op.name, input)
    before = _as_it_was(input, copy=any(source == 0 for source in meaning.sources))
    op.apply(*inputs, **params)
    recorded = tuple([before if t is input else t for t in inputs])
    move(input, _step(input, meaning, recorded, params if meaning_params is None else meaning_params), 0)
    return input


def check_may_change(name: str, input: Tensor) -> None:
    """See that no leaf would be changed on the tape: its value would no longer be what its gradient is for."""
    tensor = input
    while True:
        if tensor.requires_grad and tensor.node is None:
            what = "a leaf that requires a gradient" if tensor is input else "a view of a leaf that requires a gradient"
            raise GradError(
                f"{name}: {what}, of shape {input.shape}, cannot be changed in place while steps are recorded; "
                "use the op without the underscore, or no_grad()"
            )
        if tensor.origin is None:
            return
        # Raises for a kind of view that cannot be put back.
        tensor.origin.op.put(tensor.origin.parent, tensor, **tensor.origin.params)
        tensor = tensor.origin.parent


def _as_it_was(input: Tensor, *, copy: bool) -> Tensor:
    """The old value, in its place on the tape; with memory of its own if a step needs it."""
    before = Tensor.of(input.array.copy() if copy else input.array)
    before.node, before.slot, before.requires_grad = input.node, input.slot, input.requires_grad
    return before


def move(tensor: Tensor, node: Node, slot: int) -> None:
    """Make `tensor`, whose memory was changed, result `slot` of `node`, and tell all that it is a view of."""
    _place(tensor, node, slot)
    while tensor.origin is not None:
        parent, op, params = tensor.origin[:3]
        _place(parent, _step(parent, *op.put(_as_it_was(parent, copy=False), tensor, **params)), 0)
        tensor.origin = Origin.of(parent, op, params)
        tensor = parent


def _step(tensor: Tensor, op: type[Op], inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Node:
    """The node that makes the new value of `tensor`."""
    specs = tuple([t.spec for t in inputs])
    node = Node(op, inputs, params, specs, (tensor.spec,), (Tensor.of(tensor.array),))
    node.in_float32 = is_narrow(tensor.dtype) and not op.moves
    return node


def _place(tensor: Tensor, node: Node, slot: int) -> None:
    """Give `tensor` a new place on the tape; a gradient that it retains is that of its new value from now on."""
    old = tensor.node
    if old is not None and old.hooks is not None and tensor.slot in old.hooks.kept:
        NodeHooks.of(node).kept[slot] = old.hooks.kept.pop(tensor.slot)
    tensor.node, tensor.slot, tensor.requires_grad = node, slot, True
    note_rebase()
