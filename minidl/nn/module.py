"""Module: a network is an object, and its weights are what its attributes hold.

Nothing is registered behind the scenes: `vars(module)` is the register. A `Parameter` among the attributes is a weight,
a `Module` is a part, and a tensor whose name was given to `register_buffer` is state that is not trained; the order is
that of assignment. So `super().__init__()` may be called or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np

from minidl.core import Tensor, deferring
from minidl.core.defer import window
from minidl.core.hooks import RemovableHandle
from minidl.device import Device, dtypes
from minidl.device import device as find_device
from minidl.device.dtypes import DType, is_floating
from minidl.errors import ArgumentError, DTypeError
from minidl.nn.hidden import check_nothing_is_hidden
from minidl.nn.hooks import Hook, ModuleHooks
from minidl.nn.parameter import Parameter
from minidl.nn.state import LoadResult, load

__all__ = ["Module"]

Found = TypeVar("Found", bound=Tensor)


class Module:
    """Base of all layers and networks: give `forward`, assign weights and layers as attributes.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, input):
    ...         return input * self.factor
    >>> Scale()(Tensor([1.0, 3.0])).tolist(), list(Scale().state_dict())
    ([2.0, 6.0], ['factor'])
    """

    training: bool = True
    # Names of buffers, and whether they belong to the state_dict. The instance gets its own with its first buffer.
    _buffers: Mapping[str, bool] = MappingProxyType({})
    _hooks: ModuleHooks | None = None

    forward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run `forward`, with the hooks around it."""
        if self._hooks is not None:
            return self._hooks.call(self, args, kwargs)  # type: ignore[no-any-return]
        return self.run_forward(args, kwargs)  # type: ignore[no-any-return]

    def run_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`forward`, without hooks."""
        try:
            if window() is not None:  # inside another module's call
                return self.forward(*args, **kwargs)
            with deferring():
                return self.forward(*args, **kwargs)
        except AttributeError as error:
            _explain_arrays(self, args, error)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Tensor and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter and would no longer be trained as a plain tensor; assign "
                f"nn.Parameter(...), or change its values with minidl.no_grad(): {name}.copy_(...)"
            )
        object.__setattr__(self, name, value)

    # -- weights, buffers, parts -----------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """The same as `self.<name> = param`, for names made at run time; None keeps the name without a weight."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name} must be a Parameter or None, got {type(param).__name__}")
        _check_name(self, name)
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make `tensor` part of the state without training it, under the attribute `name`.

        Args:
            persistent: whether it belongs to the state_dict.
        """
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name} must be a Tensor or None, got {type(tensor).__name__}")
        _check_name(self, name)
        object.__setattr__(self, "_buffers", {**self._buffers, name: persistent})
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """The same as `self.<name> = module`, for names made at run time."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name} must be a Module or None, got {type(module).__name__}")
        _check_name(self, name)
        setattr(self, name, module)

    register_module = add_module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The parts of this module, not their parts, each once."""
        seen: set[Module] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module) and value not in seen:
                seen.add(value)
                yield name, value

    def children(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (named `prefix`) and all below it, each before its parts."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, value in tuple(vars(self).items()):
            if isinstance(value, Module):
                yield from value.named_modules(memo, _joined(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Module:
        """The part with a name such as "stages.0.conv1"; this module for ""."""
        module = self
        for name in target.split(".") if target else ():
            part = vars(module).get(name)
            if not isinstance(part, Module):
                known = ", ".join(name for name, _ in module.named_children()) or "none"
                raise AttributeError(f"get_submodule: {type(module).__name__} has no part {name!r}; it has {known}")
            module = part
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` in the place of the part named `target`, such as "stages.0.conv1".

        Args:
            strict: refuse a name that there is no part of; False adds one to the part before the last dot.
        """
        place, _, name = target.rpartition(".")
        if strict:
            self.get_submodule(target)
        self.get_submodule(place).add_module(name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The weight with a name such as "stages.0.conv1.weight"."""
        place, _, name = target.rpartition(".")
        own = dict(self.get_submodule(place).named_parameters(recurse=False))
        return _one_of(own, "get_parameter", "weight", name)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with a name such as "stages.0.norm.running_mean"."""
        place, _, name = target.rpartition(".")
        own = dict(self.get_submodule(place).named_buffers(recurse=False))
        return _one_of(own, "get_buffer", "buffer", name)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The weights, those of the parts included; one that has two names is given once.

        Raises:
            ArgumentError: if a plain list hides layers, whose weights would be missed.
        """
        check_nothing_is_hidden(self, Module)
        for name, tensor in self._named_tensors(prefix, recurse, remove_duplicate):
            if isinstance(tensor, Parameter):
                yield name, tensor

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The tensors given to `register_buffer`, those of the parts included."""
        for name, tensor in self._named_tensors(prefix, recurse, remove_duplicate):
            if not isinstance(tensor, Parameter):
                yield name, tensor

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _own_tensors(self, *, persistent: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Weights, then buffers, of this module alone; `persistent` leaves out buffers that are not saved."""
        own = vars(self)
        for name, value in own.items():
            if isinstance(value, Parameter):
                yield name, value
        for name, is_saved in self._buffers.items():
            if isinstance(own.get(name), Tensor) and (is_saved or not persistent):
                yield name, own[name]

    def _named_tensors(self, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Tensor]]:
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        seen: set[int] = set()
        for place, module in modules:
            for name, tensor in module._own_tensors():
                if id(tensor) not in seen:
                    if remove_duplicate:
                        seen.add(id(tensor))
                    yield _joined(place, name), tensor

    # -- state -----------------------------------------------------------------------------------------------------

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """All weights and buffers by name, sharing memory with the module; PyTorch's keys in PyTorch's order.

        Args:
            prefix: put before each name.
            keep_vars: give the Parameters themselves instead of detached tensors.
        """
        check_nothing_is_hidden(self, Module)
        return {
            _joined(place, name): tensor if keep_vars else tensor.detach()
            for place, module in self.named_modules(None, prefix.removesuffix("."), remove_duplicate=False)
            for name, tensor in module._own_tensors(persistent=True)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into the weights and buffers. If anything does not fit, nothing is changed.

        Args:
            state_dict: tensors or arrays by name, as `state_dict` gives them.
            strict: refuse names that are missing or unknown; False passes over them. Shapes must fit in both cases.

        Returns:
            (missing_keys, unexpected_keys).

        Raises:
            StateDictError: listing what is missing, unexpected or of another shape.
        """
        return load(self.state_dict(keep_vars=True), state_dict, strict, type(self).__name__)

    # -- changes to all --------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch dropout and batch statistics on; returns the module."""
        object.__setattr__(self, "training", mode)
        for part in vars(self).values():
            if isinstance(part, Module):
                part.train(mode)
        return self

    def eval(self) -> Self:
        """Switch dropout and batch statistics off; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for the gradients of all weights, or freeze them; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all weights; False sets them to zero instead."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = Tensor.of(parameter.grad.device.xp.zeros_like(parameter.grad.array))

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module, parts first; returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self, *targets: Any, device: Device | str | None = None, dtype: DType | type | None = None) -> Self:
        """Move all weights and buffers to a device, or give the floating ones another type; returns the module.

        The Parameters stay the same objects, so an optimizer made before still holds them.
        """
        given = [*targets, *(t for t in (device, dtype) if t is not None)]
        for target in [t for g in given for t in ((g.dtype, g.device) if isinstance(g, Tensor) else (g,))]:
            for _, tensor in self._named_tensors("", True, True):
                _convert(tensor, target)
        return self

    def cpu(self) -> Self:
        return self.to("cpu")

    def cuda(self, device: int | None = None) -> Self:
        return self.to("cuda" if device is None else f"cuda:{device}")

    def float(self) -> Self:
        return self.to(np.float32)

    def double(self) -> Self:
        return self.to(np.float64)

    def half(self) -> Self:
        return self.to(np.float16)

    def bfloat16(self) -> Self:
        return self.to(dtypes.bfloat16)

    # -- hooks and text --------------------------------------------------------------------------------------------

    def _own_hooks(self) -> ModuleHooks:
        self._hooks = self._hooks or ModuleHooks()
        return self._hooks

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each `forward`; what it returns, unless None, replaces the arguments.

        Args:
            prepend: before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs)`, which returns None or (args, kwargs).
        """
        return self._own_hooks().before.add(Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each `forward`; what it returns, unless None, replaces the output.

        Args:
            prepend: before the hooks that are there.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: after an error in `forward` too, with None as output.
        """
        return self._own_hooks().after.add(Hook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are there; a tuple replaces them."""
        return self._own_hooks().before_backward.add(Hook(hook), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when those of the inputs are; a tuple replaces `grad_input`.

        The gradients are those of the tensors among the arguments and results, in order.
        """
        return self._own_hooks().after_backward.add(Hook(hook), prepend)

    def extra_repr(self) -> str:
        """What stands between the parentheses of this module's line in `repr`."""
        return ""

    def _repr_children(self) -> list[str]:
        return [f"({name}): {child!r}" for name, child in self.named_children()]

    def __repr__(self) -> str:
        extra, children = self.extra_repr(), self._repr_children()
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = "\n".join([*([extra] if extra else []), *children]).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {lines}\n)"


def _no_forward(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f"{type(self).__name__} has no forward; define forward(self, input) in the class")


# Attached, not written in the class: there, its signature would forbid any other in subclasses.
Module.forward = _no_forward


def _explain_arrays(module: Module, args: tuple[Any, ...], error: AttributeError) -> None:
    """Say so if `forward` failed because it was given an array where a tensor is needed."""
    for position, value in enumerate(args):
        if isinstance(value, np.ndarray):
            raise DTypeError(
                f"{type(module).__name__}: argument {position} is a numpy array, not a Tensor; "
                "wrap it: minidl.from_numpy(x)"
            ) from error


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _one_of(own: Mapping[str, Found], method: str, kind: str, name: str) -> Found:
    """What a module has under `name`, or an error that lists what it has."""
    if name not in own:
        raise AttributeError(f"{method}: there is no {kind} {name!r}; there is {', '.join(own) or 'none'}")
    return own[name]


def _check_name(module: Module, name: str) -> None:
    if not name or "." in name:
        raise ArgumentError(f"{type(module).__name__}: a name must not be empty or hold a dot, got {name!r}")
    if hasattr(type(module), name):
        raise ArgumentError(f"{type(module).__name__}: {name!r} is the name of a method or setting; take another one")


def _convert(tensor: Tensor, target: Device | str | DType | type) -> None:
    """Move one tensor, and its gradient, or change its type; whole numbers keep theirs."""
    if isinstance(target, str):
        target = find_device(target)
    if not isinstance(target, Device):
        if not is_floating(np.dtype(target)):
            raise ArgumentError(f"to: weights can only be floating, got {np.dtype(target)}")
        if not is_floating(tensor.dtype):
            return
    tensor.data = tensor.data.to(target)
    if tensor.grad is not None:
        tensor.grad = tensor.grad.to(target)
