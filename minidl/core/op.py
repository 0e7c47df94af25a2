"""Op: the base of every room."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import CodeType
from typing import Any, ClassVar

import numpy as np

from minidl.core import defer, registry
from minidl.core.defer import Waiting, window
from minidl.core.origin import Origin, refresh
from minidl.core.spec import Spec, spec_of
from minidl.core.tape import OUT, Grads, Node, Run, Source, is_recording, launch, recording
from minidl.core.tensor import Tensor
from minidl.core.versions import note_changes
from minidl.core.way import overrides, way_of
from minidl.device import Array
from minidl.device.background import run_or
from minidl.device.dtypes import DType, float32, in_float32, is_narrow, round_back
from minidl.device.memory import fresh
from minidl.errors import GradError

# What is known of a call before its numbers are: the results' specs; whether they are a tuple (of one, it may be); and
# the types in which kernels take the inputs, None for those they have. A plain tuple is unpacked in 10 ns.
Plan = tuple[tuple[Spec, ...], bool, tuple[DType, ...] | None]


_array_of, _spec_of, _tensor_of = attrgetter("array"), attrgetter("shape", "dtype"), Tensor.of


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
    # What is saved, as its source and the positions in `saves_for`, or None; made from both.
    keeps: ClassVar[tuple[tuple[Source, tuple[int, ...] | None], ...]] = ()
    # Of several results saved as "out", those that are needed; all if empty. The others are None.
    saves_results: ClassVar[tuple[int, ...]] = ()
    # Of several results, those that no gradient goes through: they stay off the tape.
    constants: ClassVar[tuple[int, ...]] = ()
    # `saves` as positions, OUT for the result; made from `saves`.
    sources: ClassVar[tuple[Source, ...]] = ()
    # (*specs, **params) -> Spec, or a tuple of them. Checks shapes; pure, memoised, so params must be hashable.
    infer: ClassVar[Callable[..., Any]]
    # (*specs, **params) -> Plan: what follows from `infer`, remembered. Plain pairs do for specs.
    plan: ClassVar[Callable[..., Plan]]
    # Whether kernels take 16-bit floats as they are, because they move numbers only; all others get float32.
    moves: ClassVar[bool] = False
    # (xp, out, *arrays, **params) -> None: the textbook version, on NumPy and CuPy, on any strides.
    reference: ClassVar[Callable[..., None]]
    # (out, *arrays, **params) -> None: Numba, on C-contiguous arrays that `cpu_takes` accepts.
    cpu: ClassVar[Callable[..., None] | None] = None
    # (out, *arrays, **params) -> Run: finds all that follows from parameters, types and shapes, and gives the kernel
    # for arrays like these, which it does not keep. An op gives it instead of `cpu` where finding takes long.
    bind: ClassVar[Callable[..., Run] | None] = None
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
    # The input whose gradient `vjp` can add to what others have sent to the same place: `Node.joined`. None: the tape
    # adds it, in a pass of its own.
    joins: ClassVar[int | None] = None
    # How many of its first inputs it changes in place: an `UpdateOp`, then.
    updates: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        if "bind" in cls.__dict__:
            cls.cpu = staticmethod(functools.partial(_bound_and_run, cls))
        elif "cpu" in cls.__dict__:
            cls.bind = None
        if "name" not in cls.__dict__:
            return  # an abstract family, not an op
        registry.ops[cls.name] = cls
        cls.sources = tuple(_source(cls.infer.__code__, saved) for saved in cls.saves)
        position, users = cls.infer.__code__.co_varnames.index, cls.saves_for
        uses = [tuple(map(position, users[saved])) if saved in users else None for saved in cls.saves]
        cls.keeps = tuple(zip(cls.sources, uses, strict=True))
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
        if window() is not None and not overrides():
            if cls.name in defer.rules and (taken := defer.absorbed(cls.name, inputs, params)) is not None:
                return taken
            if cls.defers:
                outs, _, _ = cls.plan(*map(_spec_of, inputs), **params)
                return defer.waiting(cls, outs[0], inputs, params)
        return cls.run(inputs, params)

    @classmethod
    def run(cls, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        """Run this op now and put the step on the tape."""
        arrays = tuple(map(_array_of, inputs))
        specs, outs, several, types, places, kernel, stand_in = way_of(cls, arrays, params)
        if types is not None:
            return cls._run_in(types, inputs, params, specs)
        out = tuple(map(fresh, places))
        given = out if several else out[0]
        if stand_in is None:
            launch(cls, kernel, given, arrays, params)
        else:
            run_or(*[functools.partial(launch, cls, k, given, arrays, params) for k in (kernel, stand_in)])
        results = tuple(map(_tensor_of, out))
        if is_recording():
            results = cls.record(inputs, params, specs, outs, results)
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
        results = cls.record(inputs, params, specs, outs, tuple(rounded)) if is_recording() else tuple(rounded)
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
        """Put one step on the tape, while steps are recorded, if any input needs a gradient."""
        needed = False
        for t in inputs:
            if t.origin is not None:
                refresh(t)
            needed = needed or t.requires_grad
        if not needed:
            return results
        node = Node(cls, inputs, params, specs, outs, results)
        constants = cls.constants
        if OUT in cls.sources:  # the node keeps these results, and must not be reached from them
            return tuple([t if slot in constants else t.linked_to(node, slot) for slot, t in enumerate(results)])
        for slot, t in enumerate(results):
            if slot not in constants:
                t.link(node, slot)
        return results


def _bound_and_run(op: type[Op], out: Any, /, *arrays: Array, **params: Any) -> None:
    """`cpu` of an op that gives `bind`."""
    op.bind(out, *arrays, **params)(out, *arrays)  # type: ignore[misc]


def _planned(op: type[Op], *given: tuple[tuple[int, ...], DType], **params: Any) -> Plan:
    specs = tuple(itertools.starmap(Spec, given))
    outs = op.infer(*specs, **params)
    several, types = type(outs) is tuple, op.computes_in(*specs)
    made = outs if several else () if op.updates else (outs,)
    return made, several, None if types == tuple([s.dtype for s in specs]) else types


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
        return _are_alike(arrays) and super().cpu_takes(arrays, params)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return _are_alike(arrays) and super().cuda_takes(arrays, params)


def _are_alike(arrays: tuple[Array, ...]) -> bool:
    """Whether they are of one type and none is empty."""
    dtype = arrays[0].dtype
    return all(a.dtype == dtype and a.size for a in arrays)


class ViewOp(Op):
    """An op whose result shares its input's memory: `view(array, **params)` stands in for kernels."""

    view: ClassVar[Callable[..., Array]]
    moves = True

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> Tensor:
        (x,) = inputs
        if type(x) is Waiting and cls.name in defer.rules and not overrides():
            taken = defer.absorbed(cls.name, inputs, params)
            if taken is not None:
                return taken
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

    Kernels get those inputs as `out` (a tuple if there are several) and the others after it. If `infer` gives a tuple,
    those are the specs of what it makes besides: kernels get that in `out`, behind what they change.
    """

    updates: ClassVar[int] = 1

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and all(a.flags.c_contiguous for a in arrays[: cls.updates])

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cuda_takes(arrays, params) and all(a.flags.c_contiguous for a in arrays[: cls.updates])

    @classmethod
    def apply(cls, *inputs: Tensor, **params: Any) -> Any:
        """Run it now; the tuple of what it makes, if it makes anything."""
        given = tuple(map(_array_of, inputs))
        defer.settle(given[: cls.updates])
        way, arrays = way_of(cls, given, params), given
        if way.types is not None:
            arrays = tuple(map(in_float32, given))
            way = way_of(cls, arrays, params)
        made = tuple(map(fresh, way.places))
        out, rest = arrays[: cls.updates] + made, arrays[cls.updates :]
        launch(cls, way.run, out if len(out) > 1 else out[0], rest, params)
        if arrays is not given:
            round_back(out[: cls.updates], given)
        note_changes(given[: cls.updates], cls.name)
        return tuple(map(_tensor_of, made)) or None
