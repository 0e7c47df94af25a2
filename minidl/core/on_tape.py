"""OnTape: the side of a tensor that has to do with gradients."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from minidl.core.hooks import RemovableHandle
from minidl.core.leaf_hooks import LeafHooks
from minidl.core.node_hooks import NodeHooks
from minidl.core.origin import Origin, refresh
from minidl.core.tape import Node
from minidl.core.versions import change_of
from minidl.core.walk import walk_back
from minidl.device import Array
from minidl.device.dtypes import is_floating
from minidl.errors import GradError

if TYPE_CHECKING:
    from minidl.core.tensor import Tensor


class OnTape:
    """An array with a place on the tape: result number `slot` of `node`, or a leaf."""

    __slots__ = ("__weakref__", "array", "grad", "hooks", "node", "origin", "requires_grad", "slot")

    array: Array
    grad: Tensor | None
    node: Node | None
    slot: int
    requires_grad: bool
    # Of a leaf; those of a computed tensor hang on its node.
    hooks: LeafHooks | None
    # Of a view made while recording.
    origin: Origin | None

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not by a recorded op."""
        return self.grad_fn is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded step that made it; None for a leaf."""
        if self.origin is not None:
            refresh(self._tensor())
        return self.node

    @property
    def output_nr(self) -> int:
        """Which of the results of its step it is."""
        return self.slot

    @property
    def _version(self) -> int:
        """How often its memory has been changed in place."""
        change = change_of(self.array)
        return 0 if change is None else change.version

    @property
    def _base(self) -> Tensor | None:
        """For a view made while recording, the tensor that owns the memory."""
        tensor: Any = self
        while tensor.origin is not None:
            tensor = tensor.origin.parent
        return None if tensor is self else tensor

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf it was computed from.

        Args:
            gradient: weights of its elements, of the same shape; may be left out for a tensor of one element.
            retain_graph: keep the saved values, so that backward can run again; as `create_graph` when None.
            create_graph: record the backward pass itself, so that gradients can be differentiated.
            inputs: the leaves that get a gradient; all when None.

        Raises:
            GradError: if nothing here needs a gradient, or `gradient` is missing or does not fit.
        """
        this = self._tensor()
        start = starting_gradient("backward", this, gradient)
        wanted = None if inputs is None else checked_inputs(inputs)
        walk_back(
            [(this, start)],
            retain_graph=create_graph if retain_graph is None else retain_graph,
            create_graph=create_graph,
            wanted=wanted,
        )

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient, or no longer; returns the tensor.

        Raises:
            GradError: for integers, and for `False` on a tensor that was computed.
        """
        if requires_grad and not is_floating(self.array.dtype):
            raise GradError(f"requires_grad: only floating tensors can have gradients, this one is {self.array.dtype}")
        if not requires_grad and self.node is not None:
            raise GradError("requires_grad: a computed tensor cannot leave the tape; use x.detach()")
        if requires_grad and self.node is None:
            self.origin = None  # a leaf of its own: tied to its parent, the two would be a cycle
        self.requires_grad = requires_grad
        return self._tensor()

    def detach(self) -> Tensor:
        """The same memory, off the tape."""
        result: Tensor = self.of(self.array)  # type: ignore[attr-defined]
        return result

    def detach_(self) -> Tensor:
        """Take this tensor off the tape; returns it."""
        if self.origin is not None:
            raise GradError("detach_: a view cannot leave the tape alone; use x.detach()")
        self.node, self.slot, self.requires_grad = None, 0, False
        return self._tensor()

    def _tensor(self) -> Tensor:
        """This object: whatever is on the tape is a tensor."""
        return cast("Tensor", self)

    # -- hooks -----------------------------------------------------------------------------------------------------

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(grad)` with the whole gradient of this tensor; what it returns, unless None, replaces it.

        >>> from minidl import tensor
        >>> x = tensor([1.0, 2.0], requires_grad=True)
        >>> handle = x.register_hook(lambda grad: 10 * grad)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([20., 40.])
        """
        node = self._checked_for_hooks("register_hook")
        if node is not None:
            return NodeHooks.of(node).add_to_result(self.slot, hook)
        return self._leaf_hooks().before.add(hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Call `hook(leaf)` after a backward pass has added to the leaf's `.grad`."""
        if self._checked_for_hooks("register_post_accumulate_grad_hook") is not None:
            raise GradError("register_post_accumulate_grad_hook: only leaves gather gradients; use register_hook")
        return self._leaf_hooks().after.add(hook)

    def retain_grad(self) -> None:
        """Keep the gradient of this computed tensor in its `.grad`; leaves keep theirs anyway."""
        node = self._checked_for_hooks("retain_grad")
        if node is not None:
            NodeHooks.of(node).kept[self.slot] = weakref.ref(self._tensor())

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this computed tensor."""
        node = self.grad_fn
        kept = None if node is None or node.hooks is None else node.hooks.kept.get(self.slot)
        return kept is not None and kept() is self

    def _checked_for_hooks(self, name: str) -> Node | None:
        node = self.grad_fn
        if not self.requires_grad:
            raise GradError(f"{name}: the tensor does not require a gradient, so none will come; "
                            "set requires_grad=True on it or on its inputs")  # fmt: skip
        return node

    def _leaf_hooks(self) -> LeafHooks:
        if self.hooks is None:
            self.hooks = LeafHooks()
        return self.hooks


def starting_gradient(name: str, root: Tensor, gradient: Tensor | None) -> Tensor:
    """`gradient`, checked, or a one for a tensor of one element.

    Raises:
        GradError: if `root` does not need a gradient, or `gradient` is missing or has another shape.
    """
    if root.origin is not None:
        refresh(root)
    if not root.requires_grad:
        raise GradError(f"{name}: the tensor does not require a gradient; set requires_grad=True on its inputs")
    if gradient is None:
        if root.numel() != 1:
            argument = "gradient" if name == "backward" else "grad_outputs"
            raise GradError(f"{name}: a tensor of shape {root.shape} needs the argument {argument}; or use .sum()")
        one = root.device.xp.empty(root.shape, root.dtype)
        one.fill(1)
        return root.of(one)
    if gradient.shape != root.shape:
        raise GradError(f"{name}: gradient must have shape {root.shape}, got {gradient.shape}")
    return gradient


def checked_inputs(inputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The tensors that gradients shall be added to.

    Raises:
        GradError: for none, and for one that is no leaf or needs no gradient.
    """
    wanted: list[Any] = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    if not wanted:
        raise GradError("backward: inputs is empty; name the leaves that shall get a gradient, or leave it out")
    for position, t in enumerate(wanted):
        if not t.is_leaf or not t.requires_grad:
            kind = "was computed" if not t.is_leaf else "does not require a gradient"
            raise GradError(f"backward: inputs[{position}] {kind}; only leaves that require one gather gradients")
    return wanted
