"""Op: the base of every room, and the one place where a kernel is chosen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType
from typing import Any, ClassVar

import numpy as np

from minidl.core import defer, registry
from minidl.core.defer import may_wait
from minidl.core.origin import Origin, refresh
from minidl.core.spec import Spec, spec_of
from minidl.core.tape import OUT, Call, Grads, Kernel, Node, Source, is_recording, launch, recording
from minidl.core.tensor import Tensor
from minidl.core.versions import note_change
from minidl.device import CPU, Array, Device, device_of, empty, numba_enabled
from minidl.device.background import compiles_in_background, run_or
from minidl.device.dtypes import DType, float32, in_float32, is_narrow, round_back
from minidl.device.layout import channels_last_view, common_order, hands_on, in_order
from minidl.device.turn import contiguous, copy_into
from minidl.errors import DeviceError, GradError

# What is known of a call before its numbers are: the results' specs; whether they are a tuple (of one, it may be); and
# the types in which kernels take the inputs, None for those they have. A plain tuple is unpacked in 10 ns.
Plan = tuple[tuple[Spec, ...], bool, tuple[DType, ...] | None]


class Op:
    """Base of every op; a subclass is the room where all of one op lives.

    A subclass gives `name`, `infer` and `reference`, and, where they apply, `saves` and `vjp`, and fast kernels.
    """

    name: ClassVar[str]
    # What backward needs: names of array arguments of `infer` ("*rest" for a variable number of them), or "out".
    saves: ClassVar[tuple[str, ...]] = ()
    # Which of those only the gradients of some inputs need: {saved: names of these inputs}. What no gradient needs is
    # not kept, and may be changed in place.
    saves_for: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # The same as positions for each of `saves`, or None; made from `saves_for`.
    uses: ClassVar[tuple[tuple[int, ...] | None, ...]] = ()
    # Of several results saved as "out", those that are needed; all if empty. The others are None.
    saves_results: ClassVar[tuple[int, ...]] = ()
    # `saves` as positions, OUT for the result; made from `saves`.
    sources: ClassVar[tuple[Source, ...]] = ()
    # (*specs, **params) -> Spec, or a tuple of them. Checks shapes; pure, memoised, so params must be hashable.
    infer: ClassVar[Callable[..., Any]]
    # (*specs, **params) -> Plan: what follows from `infer`, remembered.
    plan: ClassVar[Callable[..., Plan]]
    # Whether kernels take 16-bit floats as they are, because they move numbers only; all others get float32.
    moves: ClassVar[bool] = False
    # (xp, out, *arrays, **params) -> None: the textbook version, on NumPy and CuPy, on any strides.
    reference: ClassVar[Callable[..., None]]
    # (out, *arrays, **params) -> None: Numba, on C-contiguous arrays that `cpu_takes` accepts.
    cpu: ClassVar[Callable[..., None] | None] = None
    # The arguments that `cpu` takes channels-last, as C-contiguous (N, *space, C): names of `infer`'s, or "out" for
    # its results.
    images: ClassVar[tuple[str, ...]] = ()
    image_sources: ClassVar[tuple[Source, ...]] = ()
    # Whether a result may wait for the op after it (`core.defer`).
    defers: ClassVar[bool] = False
    # Whether backward passes that need a result compute it again (`core.recipe`): one pass over what is kept anyway.
    recomputes: ClassVar[bool] = False
    # Whether `cpu` treats every number alike, so that all arrays may lie in any one order.
    elementwise: ClassVar[bool] = False
    # Whether `cpu` takes arrays as they lie, whatever their strides; the result follows as for the reference.
    strided: ClassVar[bool] = False
    # (out, *arrays, **params) -> None: CUDA C++, on C-contiguous CuPy arrays that `cuda_takes` accepts.
    cuda: ClassVar[Callable[..., None] | None] = None

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            return  # an abstract family, not an op
        registry.ops[cls.name] = cls
        cls.sources = tuple(_source(cls.infer.__code__, saved) for saved in cls.saves)
        if cls.saves_for:
            positions = cls.infer.__code__.co_varnames.index
            cls.uses = tuple(
                [tuple(map(positions, cls.saves_for[s])) if s in cls.saves_for else None for s in cls.saves]
            )
        cls.image_sources = tuple(_source(cls.infer.__code__, image) for image in cls.images)
        cls.plan = staticmethod(functools.lru_cache(maxsize=1024)(functools.partial(_planned, cls)))

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        """Whether `cpu` handles these arrays."""
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
        """Run this op on `inputs` and put the step on the tape; inside a module's call it may wait (`core.defer`)."""
        if may_wait() and not _overrides.get():
            if cls.name in defer.rules and (taken := defer.absorbed(cls.name, inputs, params)) is not None:
                return taken
            if cls.defers:
                outs, _, _ = cls.plan(*[t.spec for t in inputs], **params)
                return defer.waiting(cls, outs[0], inputs, params)
        return cls.run(inputs, params)

    @classmethod
    def run(cls, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        """Run this op now and put the step on the tape."""
        arrays = tuple([t.array for t in inputs])
        specs = tuple(map(spec_of, arrays))
        outs, several, types = cls.plan(*specs, **params)
        if types is not None:
            return cls._run_in(types, inputs, params, specs)
        device = common_device(cls.name, arrays)
        kernel = select_kernel(cls, device, arrays, params)
        out = _allocate(cls, outs, device, kernel, arrays)
        call = Call.of(cls, kernel, out if several else out[0], arrays, params)
        if compiles_in_background():
            instead = Call.of(cls, functools.partial(cls.reference, device.xp), call.out, arrays, params)
            run_or(lambda: launch(call), lambda: launch(instead))
        else:
            launch(call)
        results = cls.record(inputs, params, specs, outs, tuple([Tensor.of(a) for a in out]))
        return results if several else results[0]

    @classmethod
    def _run_in(
        cls, types: tuple[DType, ...], inputs: tuple[Tensor, ...], params: dict[str, Any], specs: tuple[Spec, ...]
    ) -> Any:
        """Run this op in other types than it was given: round results once, record what was given and made."""
        outs, several, _ = cls.plan(*specs, **params)
        with recording(False):
            computed = cls.run(tuple([t.to(dtype) for t, dtype in zip(inputs, types, strict=True)]), params)
            rounded = [t.to(spec.dtype) for t, spec in zip(computed if several else (computed,), outs, strict=True)]
        results = cls.record(inputs, params, specs, outs, tuple(rounded))
        for t in results:
            if t.node is not None:
                t.node.in_float32 = any(is_narrow(s.dtype) for s in specs)
        return results if several else results[0]

    @classmethod
    def computes_in(cls, *specs: Spec) -> tuple[DType, ...]:
        """The types in which kernels take these inputs: 16-bit floats as float32, which holds all their values."""
        return tuple([float32 if is_narrow(s.dtype) and not cls.moves else s.dtype for s in specs])

    @classmethod
    def record(
        cls,
        inputs: tuple[Tensor, ...],
        params: dict[str, Any],
        specs: tuple[Spec, ...],
        outs: tuple[Spec, ...],
        results: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """Put one step on the tape, if it is recorded now and any input needs a gradient."""
        if not is_recording():
            return results
        needed = False
        for t in inputs:
            if t.origin is not None:
                refresh(t)
            needed = needed or t.requires_grad
        if not needed:
            return results
        node = Node(cls, inputs, params, specs, outs, results)
        if OUT in cls.sources:  # the node keeps these results, and must not be reached from them
            return tuple([t.linked_to(node, slot) for slot, t in enumerate(results)])
        return tuple([t.link(node, slot) for slot, t in enumerate(results)])


def _planned(op: type[Op], *specs: Spec, **params: Any) -> Plan:
    outs = op.infer(*specs, **params)
    several, types = type(outs) is tuple, op.computes_in(*specs)
    return outs if several else (outs,), several, None if types == tuple([s.dtype for s in specs]) else types


def _source(rule: CodeType, saved: str) -> Source:
    """Where the value called `saved` is found among the inputs of a shape rule."""
    if saved == "out":
        return OUT
    if saved.startswith("*"):
        return slice(rule.co_argcount, None)
    return rule.co_varnames.index(saved)


class AlikeOp(Op):
    """An op whose compiled kernel wants arrays of one type, none of them empty."""

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        dtype = arrays[0].dtype
        return all(a.dtype == dtype and a.size for a in arrays) and super().cpu_takes(arrays, params)


class ViewOp(Op):
    """An op whose result shares its input's memory: `view(array, **params)` stands in for kernels."""

    view: ClassVar[Callable[..., Array]]
    moves = True

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> Tensor:
        (x,) = inputs
        array = cls.view(x.array, **params)
        result = Tensor.of(array)
        if is_recording():
            if x.origin is not None:
                refresh(x)
            if x.requires_grad:
                result.link(Node(cls, inputs, params, (x.spec,), (spec_of(array),), (result,)), 0)
            base = array.base
            if base is x.array or (base is not None and base is x.array.base):  # not a copy
                result.origin = Origin.of(x, cls, params)
        return result

    @classmethod
    def put(cls, parent: Tensor, view: Tensor, **params: Any) -> tuple[type[Op], tuple[Tensor, ...], dict[str, Any]]:
        """The step that makes the new value of `parent` when `view` was changed in place: op, inputs, parameters."""
        raise GradError(
            f"in-place update: what {cls.name} gives cannot be changed in place while steps are recorded; "
            "change a clone() of it, or use no_grad()"
        )


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
        _, _, types = cls.plan(*[t.spec for t in inputs], **params)
        given = tuple([t.array for t in inputs])
        defer.settle(given[: cls.updates])
        arrays = given if types is None else tuple(map(in_float32, given))
        out, rest = arrays[: cls.updates], arrays[cls.updates :]
        kernel = select_kernel(cls, common_device(cls.name, arrays), arrays, params)
        launch(Call.of(cls, kernel, out if cls.updates > 1 else out[0], rest, params))
        if types is not None:
            round_back(out, given)
        for array in given[: cls.updates]:
            note_change(array, cls.name)


def common_device(name: str, arrays: tuple[Array, ...]) -> Device:
    """The device of all `arrays`.

    Raises:
        DeviceError: if they live on several.
    """
    for array in arrays:
        if type(array) is not np.ndarray:
            break
    else:
        return CPU  # the usual case, in a sixth of the time
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
    if device.type == "cpu" and op.cpu is not None and op.cpu_takes(arrays, params) and numba_enabled():
        if op.strided:
            return op.cpu
        return functools.partial(_on_images if op.images else _in_one_order if op.elementwise else _on_contiguous, op)
    if device.type == "cuda" and op.cuda is not None and op.cuda_takes(arrays, params):
        return functools.partial(_on_contiguous_cuda, op)
    return functools.partial(op.reference, device.xp)


def _allocate(
    op: type[Op], specs: tuple[Spec, ...], device: Device, kernel: Kernel, arrays: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Fresh memory for results, in the layout that the kernel writes: its own, or else that of its inputs."""
    how = getattr(kernel, "func", None)
    if device.type != "cpu" or how is _on_contiguous:
        return tuple([empty(device, *s) for s in specs])
    if op.elementwise:
        order = common_order(specs[0].shape, arrays)
        return tuple([empty(device, *s, order=order) for s in specs])
    if how is _on_images:
        last = OUT in op.image_sources
    else:
        last = len(specs[0].shape) > 2 and any(hands_on(a, specs[0].shape) for a in arrays)
    if len(specs) == 1:
        return (empty(device, *specs[0], channels_last=last),)
    return tuple([empty(device, *s, channels_last=last) for s in specs])


def _on_contiguous(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    op.cpu(out, *map(contiguous, arrays), **params)  # type: ignore[misc]


def _on_contiguous_cuda(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    op.cuda(out, *[a if a.flags.c_contiguous else a.copy() for a in arrays], **params)  # type: ignore[misc]


def _in_one_order(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    """Run an element-wise kernel on the memory as it lies."""
    results = out if type(out) is tuple else (out,)
    order = None
    if not all(a.flags.c_contiguous for a in (*results, *arrays)):
        whole = max((*results, *arrays), key=np.ndim)  # the first result, unless it is a sum
        order = common_order(whole.shape, (whole, *arrays))
    if order is None:
        _run(op, results, arrays, params, several=type(out) is tuple)
    else:
        seen = [in_order(a, order) for a in (*results, *arrays)]
        _run(op, tuple(seen[: len(results)]), seen[len(results) :], params, several=type(out) is tuple)


def _on_images(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    """Run a channels-last kernel; its other arrays are C-contiguous."""
    sources = op.image_sources
    results = out if type(out) is tuple else (out,)
    if OUT in sources:
        results = tuple([channels_last_view(a) for a in results])
    given = [channels_last_view(a) if i in sources else a for i, a in enumerate(arrays)]
    _run(op, results, given, params, several=type(out) is tuple)


def _run(
    op: type[Op], results: tuple[Array, ...], arrays: Sequence[Array], params: dict[str, Any], several: bool
) -> None:
    """Give the kernel C-contiguous arrays, and carry what it wrote to results that lie in another way."""
    written = [a if a.flags.c_contiguous else empty(CPU, a.shape, a.dtype) for a in results]
    op.cpu(tuple(written) if several else written[0], *map(contiguous, arrays), **params)  # type: ignore[misc]
    for result, array in zip(results, written, strict=True):
        if array is not result:
            copy_into(result, array)
