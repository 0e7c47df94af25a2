"""Who wants to know of a node's gradients: hooks on its results, before it and after it, and tensors that keep them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidl.core.hooks import Hooks, RemovableHandle
from minidl.errors import GradError

if TYPE_CHECKING:
    from minidl.core.tape import Grads, Node
    from minidl.core.tensor import Tensor


class NodeHooks:
    """The hooks of one node."""

    def __init__(self) -> None:
        self.results: dict[int, Hooks] = {}
        self.before = Hooks()
        self.after = Hooks()
        # Tensors whose `.grad` is kept, by result. Weak: a node must not hold its own result.
        self.kept: dict[int, weakref.ref[Tensor]] = {}

    @staticmethod
    def of(node: Node) -> NodeHooks:
        """The hooks of `node`, made if it has none."""
        if node.hooks is None:
            node.hooks = NodeHooks()
        return node.hooks

    def add_to_result(self, slot: int, function: Callable[..., Any]) -> RemovableHandle:
        return self.results.setdefault(slot, Hooks()).add(function)

    def on_arrival(self, name: str, grads: list[Tensor | None]) -> list[Tensor | None]:
        """The gradients of the results, as the hooks leave them; those to be kept are put into `.grad`."""
        for slot, hooks in self.results.items():
            grads[slot] = through_hooks(hooks, grads[slot])
        for slot, reference in self.kept.items():
            tensor, grad = reference(), grads[slot]
            if tensor is not None and grad is not None:
                tensor.grad = grad.clone() if tensor.grad is None else tensor.grad + grad
        for hook in self.before:
            grads = _replaced(f"register_prehook of {name}", grads, hook(tuple(grads)))
        return grads

    def on_leaving(self, name: str, found: Grads, grads: list[Tensor | None]) -> Grads:
        """The gradients of the inputs, as the hooks leave them."""
        for hook in self.after:
            found = tuple(_replaced(f"register_hook of {name}", list(found), hook(found, tuple(grads))))
        return found


def through_hooks(hooks: Hooks, grad: Tensor | None) -> Tensor | None:
    """One gradient, as the hooks leave it."""
    for hook in hooks:
        if grad is None:
            return None
        changed = hook(grad)
        if changed is None:
            continue
        if changed.shape != grad.shape:
            raise GradError(
                f"register_hook: the hook must give a gradient of shape {grad.shape}, or None to leave it as it is; "
                f"it gave shape {changed.shape}"
            )
        grad = changed
    return grad


def _replaced(where: str, grads: list[Tensor | None], changed: Any) -> list[Tensor | None]:
    if changed is None:
        return grads
    given: list[Tensor | None] = list(changed) if isinstance(changed, (tuple, list)) else [changed]
    if len(given) != len(grads):
        raise GradError(f"{where}: the hook must give {len(grads)} gradients, or None; it gave {len(given)}")
    return given
