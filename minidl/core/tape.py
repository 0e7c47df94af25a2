"""The tape: what was computed from what, and the walk back along it.

A `Node` is one step of a computation that needs gradients. It points to the nodes (or leaf tensors) of its inputs and
holds the few arrays that its op named in `saves`; nothing points from a node to its own result, so there is no cycle,
and a graph dies with the last tensor that needs it, without the garbage collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from minidl.core import registry
from minidl.core.spec import Spec
from minidl.device import Array
from minidl.errors import GradError

if TYPE_CHECKING:
    from minidl.core.op import Op
    from minidl.core.tensor import Tensor

Grads: TypeAlias = "tuple[Tensor | None, ...]"
Kernel: TypeAlias = Callable[..., None]
# Where a saved value comes from: an input's position, a slice for a variable number of inputs, or the result.
Source: TypeAlias = int | slice | None
OUT: Final = None


class Call(NamedTuple):
    """One run of one kernel: `kernel(out, *inputs, **params)`."""

    op: type[Op]
    kernel: Kernel
    out: Any  # one array, or a tuple of them
    inputs: tuple[Array, ...]
    params: dict[str, Any]

    def run(self) -> None:
        self.kernel(self.out, *self.inputs, **self.params)


_launcher: ContextVar[Callable[[Call], None] | None] = ContextVar("launcher", default=None)
_recording: ContextVar[bool] = ContextVar("recording", default=True)


def launch(call: Call) -> None:
    """Run one kernel, by way of the innermost `launching` block. No kernel runs anywhere else."""
    through = _launcher.get()
    if through is None:
        call.kernel(call.out, *call.inputs, **call.params)
    else:
        through(call)


@contextmanager
def launching(through: Callable[[Call], None]) -> Iterator[None]:
    """Hand every `Call` of the block to `through`, which runs it (`call.run()`) and may time, log or keep it."""
    token = _launcher.set(through)
    try:
        yield
    finally:
        _launcher.reset(token)


def is_recording() -> bool:
    """Whether steps are put on the tape now."""
    return _recording.get()


@contextmanager
def recording(enabled: bool) -> Iterator[None]:
    """Put the steps of the block on the tape, or leave them off."""
    token = _recording.set(enabled)
    try:
        yield
    finally:
        _recording.reset(token)


class Node:
    """One recorded step: the op, its parameters, where its inputs came from, and what backward needs of them."""

    __slots__ = ("__weakref__", "_saved", "edges", "needs", "op", "outs", "params", "specs")

    def __init__(self, op: type[Op], inputs: tuple[Tensor, ...], params: dict[str, Any], results: tuple[Tensor, ...]):
        self.op = op
        self.params = params
        self.specs = tuple(t.spec for t in inputs)
        self.outs = tuple(t.spec for t in results)
        self.needs = tuple(t.requires_grad for t in inputs)
        self.edges = tuple(_edge(t) if t.requires_grad else None for t in inputs)
        # Results are kept without their link to this node: with it, node and result would be a cycle.
        self._saved: tuple[Any, ...] | None = tuple(
            results if source is OUT else _picked(inputs, source) for source in op.sources
        )

    @property
    def saved(self) -> tuple[Any, ...]:
        """What the op named in `saves`, in that order; None for an input that was not given.

        For "out" it is the result, or the tuple of results where the op has several.
        """
        if self._saved is None:
            raise GradError(
                f"backward: the values saved by {self.op.name} were freed by an earlier backward; "
                "call that one with retain_graph=True, or run the forward pass again"
            )
        return tuple(
            self._linked(value) if source is OUT else value
            for source, value in zip(self.op.sources, self._saved, strict=True)
        )

    def free(self) -> None:
        """Forget the saved arrays."""
        self._saved = None

    def _linked(self, results: tuple[Tensor, ...]) -> Any:
        linked = tuple(t.linked_to(self, slot) for slot, t in enumerate(results))
        return linked if len(linked) > 1 else linked[0]


def _picked(inputs: tuple[Tensor, ...], source: int | slice) -> Any:
    if isinstance(source, slice):
        return inputs[source]
    return inputs[source] if source < len(inputs) else None


# Where a gradient goes: result `slot` of a node, or a leaf tensor.
Edge: TypeAlias = "tuple[Node, int] | Tensor"


def _edge(tensor: Tensor) -> Edge:
    return tensor if tensor.node is None else (tensor.node, tensor.slot)


def backward(root: Tensor, grad: Tensor, *, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add d(root)/d(leaf), weighted by `grad`, to the `.grad` of every leaf that `root` was computed from.

    Visits every node once, after all its consumers, without recursion: depth has no limit.
    """
    pending: dict[Node, list[Tensor | None]] = {}
    consumers = _count_consumers(root.node)
    ready = [] if root.node is None else [root.node]
    with recording(create_graph):
        _deliver(_edge(root), grad, (grad,), pending)
        while ready:
            node = ready.pop()
            grads = pending.pop(node, None)
            for edge, gx in zip(node.edges, _input_gradients(node, grads), strict=True):
                if edge is not None and gx is not None:
                    _deliver(edge, gx, grads or (), pending)
                if isinstance(edge, tuple):
                    consumers[edge[0]] -= 1
                    if not consumers[edge[0]]:
                        ready.append(edge[0])
            if not (retain_graph or create_graph):
                node.free()


def _count_consumers(root: Node | None) -> dict[Node, int]:
    """How many edges lead to each node below `root`."""
    counts: dict[Node, int] = {}
    stack = [] if root is None else [root]
    while stack:
        for edge in stack.pop().edges:
            if isinstance(edge, tuple):
                if edge[0] not in counts:
                    counts[edge[0]] = 0
                    stack.append(edge[0])
                counts[edge[0]] += 1
    return counts


def _input_gradients(node: Node, grads: list[Tensor | None] | None) -> Grads:
    """The gradient of each input, in that input's shape and type; results that nobody used count as zero."""
    if grads is None:
        return (None,) * len(node.edges)
    found = node.op.vjp(node, grads[0] if len(node.outs) == 1 else tuple(grads))
    return tuple(None if gx is None else _fitted(gx, spec) for gx, spec in zip(found, node.specs, strict=True))


def _fitted(grad: Tensor, spec: Spec) -> Tensor:
    """`grad` with the broadcasting and the promotion of its input undone, here and nowhere else."""
    if grad.shape != spec.shape:
        grad = registry.call("sum_to", grad, spec.shape)
    if grad.dtype != spec.dtype:
        grad = registry.call("cast", grad, spec.dtype)
    return grad


def _deliver(
    edge: Edge, grad: Tensor, incoming: Sequence[Tensor | None], pending: dict[Node, list[Tensor | None]]
) -> None:
    """Add `grad` to what waits at `edge`.

    A leaf's `.grad` may be changed in place later (clipping, the next backward), so it never keeps an array that
    somebody else may hold: one that is an `incoming` gradient itself, or a view.
    """
    if isinstance(edge, tuple):
        node, slot = edge
        waiting = pending.setdefault(node, [None] * len(node.outs))
        present = waiting[slot]
        waiting[slot] = grad if present is None else present + grad
    elif edge.grad is None:
        shared = grad.array.base is not None or any(grad is g for g in incoming)
        edge.grad = grad.clone() if shared else grad
    elif is_recording():
        edge.grad = edge.grad + grad
    else:
        registry.call("add_", edge.grad, grad)
