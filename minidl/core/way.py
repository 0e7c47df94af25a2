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
from minidl.core.tape import OUT, Kernel, Run
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
    places: tuple[Place, ...]  # of results that are made
    run: Run  # the kernel, which knows the parameters and all that follows from types and shapes
    stand_in: Run | None  # what runs while the kernel is being compiled, if the user does not want to wait


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
        return Way(specs, outs, several, types, (), op.run, None)  # in those types it is another call
    tell_companion(op, arrays, params)
    device = common_device(op.name, arrays)
    kernel = select_kernel(op, device, arrays, params)
    places = _places(op, outs, device, kernel, arrays) if outs else ()
    results = arrays[: op.updates] + tuple(map(fresh, places))
    run = _bound(op, kernel, results, arrays[op.updates :], params)
    stand_in = functools.partial(op.reference, device.xp, **params) if compiles_in_background() else None
    return Way(specs, outs, several, None, places, run, stand_in)


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


def _bound(
    op: type[Op], kernel: Kernel, results: tuple[Array, ...], arrays: tuple[Array, ...], params: dict[str, Any]
) -> Run:
    """What does the same as `kernel` with these parameters, without looking, for arrays that lie like these."""
    how, everything = getattr(kernel, "func", None), (*results, *arrays)
    if how is _on_contiguous_cuda:
        straight: Any = op.cuda
        return functools.partial(straight if _are_straight(everything) else kernel, **params)
    if how is _on_contiguous:
        orders: list[Order] = [None] * len(everything)
    elif how is _on_images:
        seen = [OUT in op.image_sources] * len(results) + [i in op.image_sources for i in range(len(arrays))]
        orders = [_last(a.ndim) if is_image else None for a, is_image in zip(everything, seen, strict=True)]
    elif how is _in_one_order:
        order = _one_order(results, arrays)
        orders = [order if a.ndim else None for a in everything]
        if any(a.ndim not in (0, len(order or ())) for a in everything) and not _are_straight(everything):
            return functools.partial(kernel, **params)
    elif kernel == op.cpu:
        return _of_op(op, results, arrays, params)
    else:
        return functools.partial(kernel, **params)
    shown = [a if o is None else a.transpose(o) for a, o in zip(everything, orders, strict=True)]
    outs, given, count = tuple(shown[: len(results)]), shown[len(results) :], len(results)
    if not _are_straight(outs):
        return functools.partial(kernel, **params)
    run = _of_op(op, outs, [a if a.flags.c_contiguous else empty(CPU, a.shape, a.dtype) for a in given], params)
    if not _are_straight(given):
        return functools.partial(_copied, run, tuple(orders[:count]), tuple(orders[count:]))
    return functools.partial(_turned, run, tuple(orders[:count]), tuple(orders[count:])) if any(orders) else run


def _of_op(op: type[Op], results: tuple[Array, ...], arrays: Sequence[Array], params: dict[str, Any]) -> Run:
    """The op's own kernel for arrays like these, as it wants them."""
    if op.bind is None:
        own: Any = op.cpu
        return functools.partial(own, **params) if params else own
    return op.bind(results if len(results) > 1 else results[0], *arrays, **params)


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


def _turned(run: Run, results: tuple[Order, ...], inputs: tuple[Order, ...], out: Any, /, *arrays: Array) -> None:
    """Run a kernel on arrays that are C-contiguous when their dimensions are taken in these orders."""
    run(
        _in_orders(out, results),
        *[a if order is None else a.transpose(order) for a, order in zip(arrays, inputs, strict=True)],
    )


def _copied(run: Run, results: tuple[Order, ...], inputs: tuple[Order, ...], out: Any, /, *arrays: Array) -> None:
    """The same where some inputs have to be copied for that."""
    run(
        _in_orders(out, results),
        *[contiguous(a if order is None else a.transpose(order)) for a, order in zip(arrays, inputs, strict=True)],
    )


def _in_orders(out: Any, orders: tuple[Order, ...]) -> Any:
    """A result, or a tuple of them, in these orders of dimensions."""
    if type(out) is tuple:
        return tuple([a if order is None else a.transpose(order) for a, order in zip(out, orders, strict=True)])
    return out if orders[0] is None else out.transpose(orders[0])


def _run(
    op: type[Op], results: tuple[Array, ...], arrays: Sequence[Array], params: dict[str, Any], several: bool
) -> None:
    """Give the kernel C-contiguous arrays, and carry what it wrote to results that lie in another way."""
    written = [a if a.flags.c_contiguous else empty(CPU, a.shape, a.dtype) for a in results]
    op.cpu(tuple(written) if several else written[0], *map(contiguous, arrays), **params)  # type: ignore[misc]
    for result, array in zip(results, written, strict=True):
        if array is not result:
            copy_into(result, array)
