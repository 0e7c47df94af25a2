"""The walk back along the tape: from results to the gradients of what they were computed from.

Every node is visited once, after all its consumers, and a leaf counts as the last of them; so the walk is linear in the
steps of the graph. It does not recurse: depth has no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from minidl.core import registry
from minidl.core.casting import casting
from minidl.core.node_hooks import through_hooks
from minidl.core.spec import Spec
from minidl.core.tape import Edge, Grads, Node, edge_of, in_float32, is_recording, recording
from minidl.core.versions import memory_of

if TYPE_CHECKING:
    from minidl.core.tensor import Tensor

Waiting: TypeAlias = "list[Tensor | None]"
# Computes the gradients of a node's inputs.
Step: TypeAlias = "Callable[[Node, Waiting], Grads]"
Vertex: TypeAlias = "Node | Tensor"

_around: ContextVar[Callable[[Step], Step] | None] = ContextVar("around", default=None)


@contextmanager
def around_steps(wrap: Callable[[Step], Step]) -> Iterator[None]:
    """Put `wrap(step)` in the place of the step of all walks of the block: anomaly mode looks at gradients there."""
    token = _around.set(wrap)
    try:
        yield
    finally:
        _around.reset(token)


def walk_back(
    roots: Sequence[tuple[Tensor, Tensor]],
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    wanted: Sequence[Tensor] | None = None,
    accumulate: bool = True,
) -> Grads:
    """The gradients of the sum of all roots, each weighted by the tensor beside it.

    Args:
        roots: tensors and the gradients that they start with.
        retain_graph: keep what the steps saved, so that they can be walked again.
        create_graph: record the walk itself.
        wanted: go no further than to these, leaves or not; None for all leaves.
        accumulate: add the gradients of leaves to their `.grad`.

    Returns:
        The gradients of `wanted`, None where it had no part.
    """
    starts = [edge_of(root) for root, _ in roots]
    targets = None if wanted is None else _Targets(wanted, starts)
    with recording(create_graph), casting(None):
        _Walk(starts, [grad for _, grad in roots], retain_graph, targets, accumulate).run()
    return () if targets is None else tuple([targets.found.get(edge_of(t)) for t in targets.wanted])


class _Walk:
    """One walk: what waits at which vertex, and how many users of it have not been visited."""

    def __init__(
        self, starts: list[Edge], grads: list[Tensor], retain_graph: bool, targets: _Targets | None, accumulate: bool
    ) -> None:
        wrap = _around.get()
        self.step = _input_gradients if wrap is None else wrap(_input_gradients)
        self.retain_graph, self.targets, self.accumulate = retain_graph, targets, accumulate
        self.pending: dict[Vertex, Waiting] = {}
        self.users = _count_users(starts)
        self.ready: list[Vertex] = [v for v in dict.fromkeys(map(_vertex, starts)) if not self.users[v]]
        for edge, grad in zip(starts, grads, strict=True):
            if isinstance(edge, tuple):
                self.put(*edge, grad)
            else:
                self.put(edge, 0, grad.clone() if accumulate else grad)  # the caller has the memory of this one

    def run(self) -> None:
        while self.ready:
            vertex = self.ready.pop()
            grads = self.pending.pop(vertex, None)
            if isinstance(vertex, Node):
                self.visit(vertex, grads)
            elif grads is not None:
                self.arrive(vertex, grads)

    def visit(self, node: Node, grads: Waiting | None) -> None:
        """Send the gradients of the node's inputs on their way; None where nothing reached the node."""
        found: Grads = (None,) * len(node.edges)
        if grads is not None:
            if node.hooks is not None:
                grads = node.hooks.on_arrival(node.name(), grads)
            if self.targets is not None:
                self.targets.note(node, grads)
            if self.targets is None or node in self.targets.above:
                joins = node.op.joins
                if joins is not None:
                    self.offer(node, joins)
                found = self.step(node, grads)
                if node.present is not None:
                    self.take_back(node, joins or 0)
                if node.hooks is not None:
                    found = node.hooks.on_leaving(node.name(), found, grads)
                if not self.retain_graph:
                    node.keep(None)
        users, pending, ready = self.users, self.pending, self.ready
        held: set[int] | None = None  # the memory of what arrived here, once it is asked for
        for edge, grad in zip(node.edges, found, strict=True):
            if edge is None:
                continue
            below: Vertex
            if type(edge) is tuple:
                below, slot = edge
                is_single = len(below.outs) == 1
            else:
                below, slot, is_single = edge, 0, True  # type: ignore[assignment]
                # A leaf's `.grad` may be changed in place later (clipping, the next backward), so it never keeps memory
                # that somebody else may hold: that of a gradient that came in here.
                if grad is not None and self.accumulate:
                    if held is None:
                        held = {id(memory_of(g.array)) for g in grads or () if g is not None}
                    if id(memory_of(grad.array)) in held:
                        grad = grad.clone()
            if grad is not None:
                if is_single and below not in pending:
                    pending[below] = [grad]  # the usual case
                else:
                    self.put(below, slot, grad)
            left = users[below] = users[below] - 1
            if not left:
                ready.append(below)

    def offer(self, node: Node, number: int) -> None:
        """Let the node add the gradient of this input to what waits where it goes (a layer behind a skip connection).

        The sum is made in the kernel then: a pass less over memory (a step of an Inception net had nine, 5 % of it).
        """
        edge = node.edges[number]
        if type(edge) is not tuple or node.hooks is not None or node.in_float32 or is_recording():
            return
        waiting = self.pending.get(edge[0])
        if waiting is not None:
            present = waiting[edge[1]]
            if present is not None and present.spec == node.specs[number]:
                node.present, waiting[edge[1]] = present, None

    def take_back(self, node: Node, number: int) -> None:
        """Let what the node did not take wait again."""
        edge, present = node.edges[number], node.present
        if type(edge) is tuple and present is not None:
            self.put(*edge, present)
        node.present = None

    def put(self, below: Vertex, slot: int, grad: Tensor) -> None:
        """Add `grad` to what waits for result `slot` of a node, or for a leaf."""
        waiting = self.pending.get(below)
        if waiting is None:
            waiting = self.pending[below] = [None] * (len(below.outs) if type(below) is Node else 1)
        present = waiting[slot]
        waiting[slot] = grad if present is None else present + grad

    def arrive(self, leaf: Tensor, grads: Waiting) -> None:
        """Hand a leaf the whole of its gradient."""
        (grad,), hooks = grads, leaf.hooks
        if hooks is not None:
            grad = through_hooks(hooks.before, grad)
        if self.targets is not None:
            self.targets.note(leaf, [grad])
        if grad is None or not self.accumulate or (self.targets is not None and leaf not in self.targets.edges):
            return
        if leaf.grad is None:
            leaf.grad = grad if hooks is None else grad.clone()  # a hook may have kept what it gave
        elif is_recording():
            leaf.grad = leaf.grad + grad
        else:
            registry.call("add_", leaf.grad, grad)
        for hook in () if hooks is None else hooks.after:
            hook(leaf)


def _vertex(edge: Edge) -> Vertex:
    return edge[0] if isinstance(edge, tuple) else edge


def _count_users(starts: Iterable[Edge]) -> dict[Vertex, int]:
    """How many edges lead to each node and leaf below `starts`."""
    counts: dict[Vertex, int] = {_vertex(edge): 0 for edge in starts}
    stack = [v for v in counts if isinstance(v, Node)]
    while stack:
        for edge in stack.pop().edges:
            if edge is None:
                continue
            below = edge[0] if isinstance(edge, tuple) else edge
            if below in counts:
                counts[below] += 1
            else:
                counts[below] = 1
                if isinstance(below, Node):
                    stack.append(below)
    return counts


class _Targets:
    """The tensors whose gradients are asked for, what was found of them, and the nodes `above`, that lead to them."""

    def __init__(self, wanted: Sequence[Tensor], starts: Iterable[Edge]) -> None:
        self.wanted = wanted
        self.edges = {edge_of(t) for t in wanted}
        self.found: dict[Edge, Tensor | None] = {}
        self.above = _nodes_above({_vertex(edge) for edge in self.edges}, starts)

    def note(self, vertex: Vertex, grads: Waiting) -> None:
        """Keep the gradients that arrived at `vertex` if they are asked for."""
        for slot, grad in enumerate(grads):
            edge: Edge = (vertex, slot) if isinstance(vertex, Node) else vertex
            if edge in self.edges:
                self.found[edge] = grad


def _nodes_above(targets: set[Vertex], starts: Iterable[Edge]) -> set[Node]:
    """The nodes below `starts` from which some target is reached."""
    users: dict[Vertex, list[Node]] = {_vertex(edge): [] for edge in starts}
    stack = [v for v in users if isinstance(v, Node)]
    while stack:
        node = stack.pop()
        for edge in node.edges:
            if edge is None:
                continue
            below = _vertex(edge)
            if below not in users:
                users[below] = []
                if isinstance(below, Node):
                    stack.append(below)
            users[below].append(node)
    above: set[Node] = set()
    climbing = [user for target in targets for user in users.get(target, ())]
    while climbing:
        node = climbing.pop()
        if node not in above:
            above.add(node)
            climbing += users[node]
    return above


def _input_gradients(node: Node, grads: Waiting) -> Grads:
    """The gradient of each input, in that input's shape and type; results that nobody used are None."""
    if node.in_float32:
        grads = list(map(in_float32, grads))
    found = node.op.vjp(node, grads[0] if len(grads) == 1 else tuple(grads))
    for gx, (shape, dtype) in zip(found, node.specs, strict=True):
        if gx is not None and (gx.array.shape != shape or gx.array.dtype != dtype):
            break
    else:
        return found  # the usual case
    return tuple([None if gx is None else _fitted(gx, spec) for gx, spec in zip(found, node.specs, strict=True)])


def _fitted(grad: Tensor, spec: Spec) -> Tensor:
    """`grad` with the broadcasting and the promotion of its input undone, here and nowhere else."""
    if grad.shape != spec.shape:
        grad = registry.call("sum_to", grad, spec.shape)
    if grad.dtype != spec.dtype:
        grad = registry.call("cast", grad, spec.dtype)
    return grad
