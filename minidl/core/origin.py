"""Where a view comes from, so that in-place changes reach the history of all who share its memory.

A view made while recording remembers its parent. When a parent is changed in place on the tape, its views are out of
date: their place on the tape is that of the old values. They are brought up to date when they are next used, as if the
view were made then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from minidl.core.tape import Node

if TYPE_CHECKING:
    from minidl.core.op import ViewOp
    from minidl.core.tensor import Tensor

# How often a tensor was given a new place on the tape by an in-place change; while it stays, no view is out of date.
rebased = 0


class Origin(NamedTuple):
    """What a view was made from, and the parent's node and the count of changes at that time."""

    parent: Tensor
    op: type[ViewOp]
    params: dict[str, Any]
    node: Node | None
    rebased: int

    @staticmethod
    def of(parent: Tensor, op: type[ViewOp], params: dict[str, Any]) -> Origin:
        """The origin of a view made now."""
        return tuple.__new__(Origin, (parent, op, params, parent.node, rebased))  # half the time of Origin(...)


def refresh(view: Tensor) -> None:
    """Give a view, and those that it is a view of, the places on the tape that they would have if made now."""
    chain: list[Tensor] = []
    tensor = view
    while tensor.origin is not None and tensor.origin.rebased != rebased:
        chain.append(tensor)
        tensor = tensor.origin.parent
    for tensor in reversed(chain):
        origin = tensor.origin
        assert origin is not None
        parent = origin.parent
        if parent.node is not origin.node and parent.requires_grad:
            node = Node(origin.op, (parent,), origin.params, (parent.spec,), (tensor.spec,), ())
            tensor.node, tensor.slot, tensor.requires_grad = node, 0, True
        tensor.origin = origin._replace(node=parent.node, rebased=rebased)


def note_rebase() -> None:
    """Say that some tensor has a new place on the tape, so that views look whether it is their parent."""
    global rebased
    rebased += 1
