"""Ways: which kernel runs an op on some arrays, where its results lie, and in which order of dimensions it sees them.

All of that follows from the op, its parameters, and the types, shapes and strides of the arrays, so it is found once
and remembered: a call then costs one look into a table. (Found anew at each call it took 3 us warm, and five times
that behind a large kernel, which leaves nothing of Python in the caches.)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl.core import registry
from minidl.core.companion import tell_companion
from minidl.core.spec import Spec, spec_of
from minidl.core.tape import OUT, Kernel
from minidl.device import CPU, Array, Device, device_of, empty, numba_enabled
from minidl.device.background import compiles_in_background
from minidl.device.dtypes import DType
from minidl.device.layout import channels_last_view, common_order, hands_on, in_order, last_order
from minidl.device.memory import Place, fresh, place_of
from minidl.device.numba_status import is_switched_on
from minidl.device.settings import on_change
from minidl.device.turn import contiguous, copy_into
from minidl.errors import DeviceError

if TYPE_CHECKING:
    from minidl.core.op import Op

Order = tuple[int, ...] | None  # of dimensions; None for their own


class Way(NamedTuple):
    """What is known of a call before its numbers are."""

    specs: tuple[Spec, ...]
    outs: tuple[Spec, ...]
    several: bool  # whether the results are a tuple; of one, it may be
    types: tuple[DType, ...] | None  # in which kernels take the inputs, None for those they have; then nothing follows
    places: tuple[Place, ...]  # of results; none for an op that changes its inputs
    kernel: Kernel | None  # None for the op's own, `cpu`, on the arrays as they are
    stand_in: Kernel | None  # what runs while the kernel is being compiled, if the user does not want to wait


_ways: dict[tuple[Any, ...], Way] = {}
_MOST = 4096
_form_of = attrgetter("__class__", "dtype", "shape", "strides")
on_change(_ways.clear)


def way_of(op: type[Op], arrays: tuple[Array, ...], params: dict[str, Any]) -> Way:
    """The way in which `op` runs on these arrays.

    Raises:
        DeviceError: if they live on several devices.
    """
    if overrides():
        return _new_way(op, arrays, params)
    key = (op, is_switched_on(), *map(_form_of, arrays), *params.items())
    way = _ways.get(key)
    if way is None:
        if len(_ways) >= _MOST:
            _ways.clear()
        way = _ways[key] = _new_way(op, arrays, params)
    return way


def _new_way(op: type[Op], arrays: tuple[Array, ...], params: dict[str, Any]) -> Way:
    specs = tuple(map(spec_of, arrays))
    outs, several, types = op.plan(*specs, **params)
    if types is not None:
        return Way(specs, outs, several, types, (), None, None)
    tell_companion(op, arrays, params)
    device = common_device(op.name, arrays)
    kernel = select_kernel(op, device, arrays, params)
    places = () if op.updates else _places(op, outs, device, kernel, arrays)
    results = arrays[: op.updates] if op.updates else tuple(map(fresh, places))
    stand_in = functools.partial(op.reference, device.xp) if compiles_in_background() else None
    return Way(specs, outs, several, None, places, _shortest(op, kernel, results, arrays[op.updates :]), stand_in)


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
# The kernels of the user, by the names of their ops.
overrides = _overrides.get


@contextmanager
def use_kernel(name: str, kernel: Kernel) -> Iterator[None]:
    """Run op `name` by `kernel(out, *arrays, **params)` inside the block.

    Arrays come as they are, whatever their strides. Prove a kernel first with `minidl.testing.check_kernel`.

    Raises:
        KernelError: if there is no op of that name.
    """
    token = _overrides.set({**overrides(), registry.find_op(name).name: kernel})
    try:
        yield
    finally:
        _overrides.reset(token)


def select_kernel(op: type[Op], device: Device, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> Kernel:
    """The kernel that runs `op` on `arrays`: the user's, else the device's fast one, else the reference."""
    own = overrides().get(op.name)
    if own is not None:
        return own
    if device.type == "cpu" and op.cpu is not None and op.cpu_takes(arrays, params) and numba_enabled():
        if op.strided:
            return op.cpu
        return functools.partial(_on_images if op.images else _in_one_order if op.elementwise else _on_contiguous, op)
    if device.type == "cuda" and op.cuda is not None and op.cuda_takes(arrays, params):
        return functools.partial(_on_contiguous_cuda, op)
    return functools.partial(op.reference, device.xp)


def _places(
    op: type[Op], specs: tuple[Spec, ...], device: Device, kernel: Kernel, arrays: tuple[Array, ...]
) -> tuple[Place, ...]:
    """Where results lie: in the layout that the kernel writes, its own or else that of its inputs."""
    how = getattr(kernel, "func", None)
    if device.type != "cpu" or how is _on_contiguous:
        order = None
    elif op.elementwise:
        order = common_order(specs[0].shape, arrays)
    else:
        shape = specs[0].shape
        is_last = OUT in op.image_sources if how is _on_images else any(hands_on(a, shape) for a in arrays)
        return tuple([place_of(device, *s, _last(len(s.shape)) if is_last and len(shape) > 2 else None) for s in specs])
    return tuple([place_of(device, *s, order) for s in specs])


def _last(ndim: int) -> Order:
    """The order in which kernels see images; None for arrays without space."""
    return last_order(ndim) if ndim > 2 else None


def _shortest(op: type[Op], kernel: Kernel, results: tuple[Array, ...], arrays: tuple[Array, ...]) -> Kernel | None:
    """What does the same as `kernel` without looking, for arrays that lie like these; None for the op's own kernel."""
    how, everything = getattr(kernel, "func", None), (*results, *arrays)
    orders: list[Order] = [None] * len(everything)
    if kernel == op.cpu:
        return None
    if how is _on_contiguous_cuda:
        return op.cuda if _are_straight(everything) else kernel
    if how is _on_images:
        seen = [OUT in op.image_sources] * len(results) + [i in op.image_sources for i in range(len(arrays))]
        orders = [_last(a.ndim) if is_image else None for a, is_image in zip(everything, seen, strict=True)]
    elif how is _in_one_order:
        order = _one_order(results, arrays)
        if any(a.ndim not in (0, len(order or ())) for a in everything):
            return None if _are_straight(everything) else kernel
        orders = [order if a.ndim else None for a in everything]
    elif how is not _on_contiguous:
        return kernel
    if not _are_straight([a if o is None else a.transpose(o) for a, o in zip(everything, orders, strict=True)]):
        return kernel
    if not any(orders):
        return None
    return functools.partial(_turned, op, tuple(orders[: len(results)]), tuple(orders[len(results) :]))


def _are_straight(arrays: Sequence[Array]) -> bool:
    return all(a.flags.c_contiguous for a in arrays)


def _on_contiguous(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    op.cpu(out, *map(contiguous, arrays), **params)  # type: ignore[misc]


def _on_contiguous_cuda(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    op.cuda(out, *[a if a.flags.c_contiguous else a.copy() for a in arrays], **params)  # type: ignore[misc]


def _in_one_order(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    """Run an element-wise kernel on the memory as it lies."""
    results = out if type(out) is tuple else (out,)
    order = _one_order(results, arrays)
    if order is None:
        _run(op, results, arrays, params, several=type(out) is tuple)
    else:
        seen = [in_order(a, order) for a in (*results, *arrays)]
        _run(op, tuple(seen[: len(results)]), seen[len(results) :], params, several=type(out) is tuple)


def _one_order(results: tuple[Array, ...], arrays: tuple[Array, ...]) -> Order:
    """The order in which all of them lie, as far as they can; None for C's."""
    if _are_straight((*results, *arrays)):
        return None
    whole = max((*results, *arrays), key=np.ndim)  # the first result, unless it is a sum
    return common_order(whole.shape, (whole, *arrays))


def _on_images(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    """Run a channels-last kernel; its other arrays are C-contiguous."""
    sources = op.image_sources
    results = out if type(out) is tuple else (out,)
    if OUT in sources:
        results = tuple([channels_last_view(a) for a in results])
    given = [channels_last_view(a) if i in sources else a for i, a in enumerate(arrays)]
    _run(op, results, given, params, several=type(out) is tuple)


def _turned(
    op: type[Op], results: tuple[Order, ...], inputs: tuple[Order, ...], out: Any, /, *arrays: Array, **params: Any
) -> None:
    """Run a kernel on arrays that are C-contiguous when their dimensions are taken in these orders."""
    if type(out) is tuple:
        out = tuple([a if order is None else a.transpose(order) for a, order in zip(out, results, strict=True)])
    elif results[0] is not None:
        out = out.transpose(results[0])
    given = [a if order is None else a.transpose(order) for a, order in zip(arrays, inputs, strict=True)]
    op.cpu(out, *given, **params)  # type: ignore[misc]


def _run(
    op: type[Op], results: tuple[Array, ...], arrays: Sequence[Array], params: dict[str, Any], several: bool
) -> None:
    """Give the kernel C-contiguous arrays, and carry what it wrote to results that lie in another way."""
    written = [a if a.flags.c_contiguous else empty(CPU, a.shape, a.dtype) for a in results]
    op.cpu(tuple(written) if several else written[0], *map(contiguous, arrays), **params)  # type: ignore[misc]
    for result, array in zip(results, written, strict=True):
        if array is not result:
            copy_into(result, array)
