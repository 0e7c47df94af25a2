"""Function: a step whose forward and backward the user writes."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from minidl.core import Grads, Node, Op, Tensor, is_recording, recording
from minidl.core.in_place import check_may_change, move
from minidl.core.spec import Spec
from minidl.core.tape import check_unchanged
from minidl.errors import GradError

__all__ = ["Function", "once_differentiable"]


class FunctionCtx:
    """What `forward` leaves for `backward`; other attributes may be set at will.

    `needs_input_grad` says for each argument of `forward` whether a gradient of it is asked for.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._to_save: tuple[Tensor | None, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materialize = True
        self._node: weakref.ref[Node] | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or results for backward; other than attributes, they are freed, and changes in place noticed."""
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given.

        Raises:
            GradError: if it was freed by an earlier backward, or was changed in place since.
        """
        node = None if self._node is None else self._node()
        return self._to_save if node is None else node.saved

    def mark_dirty(self, *args: Tensor) -> None:
        """Say that `forward` changes these inputs in place; they must be among its results."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Say that these results have no gradient."""
        self._constant = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros, as it does unless this is False, for results that nobody used, or None."""
        self._materialize = value


class Function:
    """Base of steps with a forward and a backward of their own.

    A subclass gives the static methods `forward(ctx, *args)` and `backward(ctx, *grads)`, which returns a gradient, or
    None, for each argument of `forward`. If `backward` is written with tensors, it can itself be differentiated. With
    `setup_context(ctx, inputs, output)` defined, `forward` takes no ctx.

    >>> from minidl import tensor
    >>> class Cube(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * grad
    >>> x = tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    forward: ClassVar[Callable[..., Any]]
    backward: ClassVar[Callable[..., Any]]
    setup_context: ClassVar[Callable[..., None] | None] = None
    _op: ClassVar[type[Op]]

    def __init_subclass__(cls) -> None:
        cls._op = type(cls.__name__, (_Custom,), {"function": cls})
        cls._op.name = cls.__name__  # after the class was made: a user's function is no op of the registry

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward`, without recording what happens inside, and put it on the tape as one step."""
        needs = [isinstance(a, Tensor) and _needs_gradient(a) for a in args]
        ctx = FunctionCtx(tuple(needs))
        with recording(False):
            output = cls.forward(*args) if cls.setup_context else cls.forward(ctx, *args)
            if cls.setup_context:
                cls.setup_context(ctx, args, output)
        if not (is_recording() and any(needs)):
            return output
        results = output if isinstance(output, tuple) else (output,)
        for position, result in enumerate(results):
            if not isinstance(result, Tensor):
                raise GradError(f"{cls.__name__}: forward must return tensors, result {position} is a "
                                f"{type(result).__name__}")  # fmt: skip
        linked = _recorded(cls._op, ctx, args, results)
        return linked if isinstance(output, tuple) else linked[0]


class _Custom(Op):
    """The op that stands on the tape for a user's function."""

    function: ClassVar[type[Function]]

    @classmethod
    def vjp(cls, node: Node, g: Any) -> Grads:
        ctx = node.params["ctx"]
        grads = list(g) if isinstance(g, tuple) else [g]
        if ctx._materialize:
            grads = _materialized(grads, node.outs)
        found = cls.function.backward(ctx, *grads)
        return _checked(cls.name, node, found if isinstance(found, tuple) else (found,))


def _recorded(op: type[Op], ctx: FunctionCtx, args: tuple[Any, ...], results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The results, as those of one step on the tape."""
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    tensors = tuple([args[i] for i in places])
    specs, outs = tuple([t.spec for t in tensors]), tuple([t.spec for t in results])
    for tensor in ctx._dirty:
        check_may_change(op.name, tensor)
    node = Node(op, tensors, {"ctx": ctx, "places": places, "count": len(args)}, specs, outs, ())
    saved, slots = _unlinked(ctx, tensors, results)
    node.keep(functools.partial(_unpacked, saved, slots))
    ctx._node, ctx._to_save = weakref.ref(node), ()
    linked = []
    for slot, result in enumerate(results):
        if _is_in(result, ctx._constant):
            linked.append(Tensor.of(result.array))
        elif _is_in(result, ctx._dirty):
            move(result, node, slot)
            linked.append(result)
        else:
            linked.append(result.linked_to(node, slot))
    ctx._dirty = ctx._constant = ()  # the node holds ctx, which must not hold the node's results
    return tuple(linked)


def _unlinked(
    ctx: FunctionCtx, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]
) -> tuple[list[Tensor | None], list[int | None]]:
    """What was saved, and for results their number; these without their link, as the node must not hold them."""
    saved: list[Tensor | None] = []
    slots: list[int | None] = []
    for t in ctx._to_save:
        slot = next((i for i, r in enumerate(results) if r is t), None)
        is_result = t is not None and slot is not None and (_is_in(t, ctx._dirty) or not _is_in(t, inputs))
        saved.append(Tensor.of(t.array) if is_result and t is not None else t)
        slots.append(slot if is_result and not _is_in(t, ctx._constant) else None)
    return saved, slots


def _unpacked(saved: list[Tensor | None], slots: list[int | None], node: Node) -> tuple[Tensor | None, ...]:
    check_unchanged(node, [("a tensor given to save_for_backward", t) for t in saved])
    return tuple([t if slot is None or t is None else t.linked_to(node, slot)
                  for t, slot in zip(saved, slots, strict=True)])  # fmt: skip


def _materialized(grads: list[Tensor | None], outs: tuple[Spec, ...]) -> list[Tensor | None]:
    """The gradients, with zeros for results that nobody used."""
    xp = next(g.device.xp for g in grads if g is not None)
    return [Tensor.of(xp.zeros(*spec)) if g is None else g for g, spec in zip(grads, outs, strict=True)]


def _checked(name: str, node: Node, found: tuple[Any, ...]) -> Grads:
    """The gradients of the tensors among the arguments; a sentence for what `backward` got wrong."""
    count = node.params["count"]
    if len(found) < count or any(g is not None for g in found[count:]):
        raise GradError(f"{name}: backward must return {count} gradients, one for each argument of forward (None where "
                        f"there is none); it returned {len(found)}")  # fmt: skip
    grads = []
    for place, spec in zip(node.params["places"], node.specs, strict=True):
        grad = found[place]
        if grad is not None and not isinstance(grad, Tensor):
            raise GradError(f"{name}: backward must return tensors or None; for argument {place} of forward it "
                            f"returned a {type(grad).__name__}")  # fmt: skip
        if grad is not None and not _sums_to(grad.shape, spec.shape):
            raise GradError(f"{name}: argument {place} of forward has shape {spec.shape}, but backward returned a "
                            f"gradient of shape {grad.shape} for it")  # fmt: skip
        grads.append(grad)
    return tuple(grads)


def _sums_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether a gradient of this shape is that of an input that was broadcast."""
    lead = len(shape) - len(target)
    return lead >= 0 and all(t in (1, n) for n, t in zip(shape[lead:], target, strict=True))


def _is_in(tensor: Tensor | None, tensors: tuple[Tensor, ...]) -> bool:
    return any(t is tensor for t in tensors)


def _needs_gradient(tensor: Tensor) -> bool:
    return tensor.grad_fn is not None or tensor.requires_grad  # grad_fn brings a view up to date


class _OnlyOnce(Op):
    """What stands behind the gradients of a backward that cannot be differentiated."""

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        raise GradError(f"backward: {node.params['where']} is marked once_differentiable, so its gradients cannot be "
                        "differentiated again; write it with tensors and without the mark")  # fmt: skip


_OnlyOnce.name = "once_differentiable"


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a `backward` that works outside of the tape, on arrays for example: a second derivative is an error then."""

    @functools.wraps(fn)
    def backward(ctx: FunctionCtx, *grads: Tensor | None) -> Any:
        with recording(False):
            found = fn(ctx, *grads)
        given = tuple([g for g in grads if g is not None])
        results = [g for g in (found if isinstance(found, tuple) else (found,)) if g is not None]
        if not is_recording() or not results:
            return found
        specs, outs = tuple([t.spec for t in given]), tuple([t.spec for t in results])
        node = Node(_OnlyOnce, given, {"where": fn.__qualname__}, specs, outs, ())
        linked = iter([t.linked_to(node, slot) for slot, t in enumerate(results)])
        if not isinstance(found, tuple):
            return next(linked)
        return tuple([None if g is None else next(linked) for g in found])

    return backward
