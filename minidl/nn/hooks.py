"""Hooks around a module: functions of the user before and after its forward, and before and after its backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from minidl.core import Grads, Node, Op, Tensor, is_recording
from minidl.core.hooks import Hooks
from minidl.errors import GradError

if TYPE_CHECKING:
    from minidl.nn.module import Module


class Hook(NamedTuple):
    """A function, and how it is called."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False


class ModuleHooks:
    """The hooks of one module at its four places."""

    def __init__(self) -> None:
        self.before, self.after = Hooks(), Hooks()
        self.before_backward, self.after_backward = Hooks(), Hooks()

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The module's forward, with all hooks around it."""
        try:
            args, kwargs = self._prepared(module, args, kwargs)
            watched = _Watched(module, self) if self.before_backward or self.after_backward else None
            if watched is not None:
                args = watched.inputs(args)
            result = module.run_forward(args, kwargs)
            if watched is not None:
                result = watched.outputs(result)
        except Exception:
            self._finished(module, args, kwargs, None, always=True)
            raise
        return self._finished(module, args, kwargs, result, always=False)

    def _prepared(
        self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, as the hooks leave them."""
        for hook in self.before:
            changed = hook.function(module, args, kwargs) if hook.with_kwargs else hook.function(module, args)
            if changed is None:
                continue
            if hook.with_kwargs:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise GradError("register_forward_pre_hook: a hook with kwargs must return None or (args, kwargs), "
                                    f"it returned a {type(changed).__name__}")  # fmt: skip
                args, kwargs = changed
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _finished(
        self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, always: bool
    ) -> Any:
        """The result, as the hooks leave it; after an error only those that are always called."""
        for hook in self.after:
            if always and not hook.always_call:
                continue
            given = (module, args, kwargs, result) if hook.with_kwargs else (module, args, result)
            changed = hook.function(*given)
            result = result if changed is None else changed
        return result


class _Boundary(Op):
    """Tensors on their way into a module or out of it: the same on the other side, but one step of the tape."""

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        return g if isinstance(g, tuple) else (g,)


_Boundary.name = "module_boundary"


class _Watched:
    """One call of a module whose backward is watched.

    All inputs go through one step, and so do all outputs; what arrives at the step of the outputs is `grad_output`, and
    what leaves that of the inputs is `grad_input`.
    """

    def __init__(self, module: Module, hooks: ModuleHooks) -> None:
        self.module, self.hooks = module, hooks
        self.grad_output: Grads = ()
        self.has_inputs = False

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        passed, node = _through(args)
        if node is not None:
            self.has_inputs = True
            node.register_hook(lambda found, grads: self._left(found))
        return passed

    def outputs(self, result: Any) -> Any:
        passed, node = _through(result if isinstance(result, tuple) else (result,))
        if node is not None:
            node.register_prehook(self._arrived)
        return passed if isinstance(result, tuple) else passed[0]

    def _arrived(self, grads: Grads) -> Grads:
        for hook in self.hooks.before_backward:
            changed = hook.function(self.module, grads)
            grads = grads if changed is None else _as_many("full_backward_pre_hook", changed, grads)
        self.grad_output = grads
        if not self.has_inputs:  # nothing goes on from here but to the weights
            self._left((None,))
        return grads

    def _left(self, grad_input: Grads) -> Grads:
        for hook in self.hooks.after_backward:
            changed = hook.function(self.module, grad_input, self.grad_output)
            grad_input = grad_input if changed is None else _as_many("full_backward_hook", changed, grad_input)
        return grad_input


def _as_many(name: str, changed: Any, grads: Grads) -> Grads:
    given: Grads = changed if isinstance(changed, tuple) else (changed,)
    if len(given) != len(grads):
        raise GradError(f"register_{name}: the hook must return {len(grads)} gradients, or None; "
                        f"it returned {len(given)}")  # fmt: skip
    return given


def _through(values: tuple[Any, ...]) -> tuple[tuple[Any, ...], Node | None]:
    """The values, with all floating tensors among them as results of one step of the tape, and that step."""
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.is_floating_point()]
    tensors = tuple([values[i] for i in places])
    if not is_recording() or not any(t.grad_fn is not None or t.requires_grad for t in tensors):
        return values, None
    specs = tuple([t.spec for t in tensors])
    node = Node(_Boundary, tensors, {}, specs, specs, ())
    passed = list(values)
    for slot, place in enumerate(places):
        passed[place] = values[place].linked_to(node, slot)
    return tuple(passed), node
