"""Op: the base of every room, and the one place where a kernel is chosen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType
from typing import Any, ClassVar

import numpy as np

from minidl.core import registry
from minidl.core.tape import OUT, Call, Grads, Kernel, Node, Source, is_recording, launch
from minidl.core.tensor import Tensor
from minidl.device import Array, Device, device_of, empty, numba_enabled
from minidl.errors import DeviceError, GradError


class Op:
    """Base of every op; a subclass is the room where all of one op lives.

    A subclass gives `name`, `infer` and `reference`, and, where they apply, `saves` and `vjp`, and fast kernels.
    """

    name: ClassVar[str]
    # What backward needs: names of array arguments of `infer` ("*rest" for a variable number of them), or "out".
    saves: ClassVar[tuple[str, ...]] = ()
    # The same as positions, OUT for the result; made from `saves`.
    sources: ClassVar[tuple[Source, ...]] = ()
    # (*specs, **params) -> Spec, or a tuple of them. Checks shapes; pure, memoised, so params must be hashable.
    infer: ClassVar[Callable[..., Any]]
    # `infer`, remembered.
    result_specs: ClassVar[Callable[..., Any]]
    # (xp, out, *arrays, **params) -> None: the textbook version, on NumPy and CuPy, on any strides.
    reference: ClassVar[Callable[..., None]]
    # (out, *arrays, **params) -> None: Numba, on C-contiguous arrays that `cpu_takes` accepts.
    cpu: ClassVar[Callable[..., None] | None] = None
    # (out, *arrays, **params) -> None: CUDA C++, on C-contiguous CuPy arrays that `cuda_takes` accepts.
    cuda: ClassVar[Callable[..., None] | None] = None

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            return  # an abstract family, not an op
        registry.ops[cls.name] = cls
        cls.sources = tuple(_source(cls.infer.__code__, saved) for saved in cls.saves)
        cls.result_specs = staticmethod(functools.lru_cache(maxsize=1024)(cls.infer))

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        """Whether `cpu` handles these arrays; Numba has no float16 arithmetic, so such calls go to the reference."""
        return arrays[0].dtype in (np.float32, np.float64)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        """Whether `cuda` handles these arrays."""
        return arrays[0].dtype in (np.float32, np.float64)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        """The gradients of the inputs, given `g`, that of the result (a tuple, None for unused, if there are several).

        Written in ops, as if nothing broadcast: the tape sums each gradient to its input's shape.
        """
        raise GradError(f"backward: {node.op.name} has no gradient; detach its inputs, or use another op")

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> Any:
        """Run this op on `inputs` and put the step on the tape."""
        specs = cls.result_specs(*[t.spec for t in inputs], **params)
        arrays = tuple([t.array for t in inputs])
        device = common_device(cls.name, arrays)
        several = type(specs) is tuple
        out = tuple([empty(device, *s) for s in specs]) if several else empty(device, *specs)
        launch(Call(cls, select_kernel(cls, device, arrays, params), out, arrays, params))
        results = tuple([Tensor.of(a) for a in out]) if several else (Tensor.of(out),)
        results = cls.record(inputs, params, results)
        return results if several else results[0]

    @classmethod
    def record(
        cls, inputs: tuple[Tensor, ...], params: dict[str, Any], results: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Put one step on the tape, if it is recorded now and any input needs a gradient."""
        if not (is_recording() and any(t.requires_grad for t in inputs)):
            return results
        node = Node(cls, inputs, params, results)
        return tuple([t.linked_to(node, slot) for slot, t in enumerate(results)])


def _source(rule: CodeType, saved: str) -> Source:
    """Where the value called `saved` is found among the inputs of a shape rule."""
    if saved == "out":
        return OUT
    if saved.startswith("*"):
        return slice(rule.co_argcount, None)
    return rule.co_varnames.index(saved)


class ViewOp(Op):
    """An op whose result shares its input's memory: `view(array, **params)` stands in for kernels."""

    view: ClassVar[Callable[..., Array]]

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> Tensor:
        (x,) = inputs
        return cls.record(inputs, params, (Tensor.of(cls.view(x.array, **params)),))[0]


class UpdateOp(Op):
    """An op that changes its first `updates` inputs in place: optimiser steps, running statistics. Never taped.

    Kernels get those inputs as `out` (a tuple if there are several) and the others after it.
    """

    updates: ClassVar[int] = 1

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and all(a.flags.c_contiguous for a in arrays[: cls.updates])

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cuda_takes(arrays, params) and all(a.flags.c_contiguous for a in arrays[: cls.updates])

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> None:
        cls.infer(*[t.spec for t in inputs], **params)
        arrays = tuple([t.array for t in inputs])
        out, rest = arrays[: cls.updates], arrays[cls.updates :]
        kernel = select_kernel(cls, common_device(cls.name, arrays), arrays, params)
        launch(Call(cls, kernel, out if cls.updates > 1 else out[0], rest, params))


def common_device(name: str, arrays: tuple[Array, ...]) -> Device:
    """The device of all `arrays`.

    Raises:
        DeviceError: if they live on several.
    """
    device = device_of(arrays[0])
    for array in arrays[1:]:
        if device_of(array) != device:
            raise DeviceError(f"{name}: inputs are on {device} and {device_of(array)}; move them with .to(device)")
    return device


_overrides: ContextVar[Mapping[str, Kernel]] = ContextVar("overrides", default={})  # noqa: B039 - never changed


@contextmanager
def use_kernel(name: str, kernel: Kernel) -> Iterator[None]:
    """Run op `name` by `kernel(out, *arrays, **params)` inside the block.

    Arrays come as they are, whatever their strides. Prove a kernel first with `minidl.testing.check_kernel`.

    Raises:
        KernelError: if there is no op of that name.
    """
    token = _overrides.set({**_overrides.get(), registry.find_op(name).name: kernel})
    try:
        yield
    finally:
        _overrides.reset(token)


def select_kernel(op: type[Op], device: Device, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> Kernel:
    """The kernel that runs `op` on `arrays`: the user's, else the device's fast one, else the reference."""
    overrides = _overrides.get()
    if op.name in overrides:
        return overrides[op.name]
    if device.type == "cpu" and op.cpu is not None and numba_enabled() and op.cpu_takes(arrays, params):
        return functools.partial(_on_contiguous, op.cpu)
    if device.type == "cuda" and op.cuda is not None and op.cuda_takes(arrays, params):
        return functools.partial(_on_contiguous, op.cuda)
    return functools.partial(op.reference, device.xp)


def _on_contiguous(kernel: Kernel, out: Any, /, *arrays: Array, **params: Any) -> None:
    kernel(out, *[a if a.flags.c_contiguous else a.copy() for a in arrays], **params)
