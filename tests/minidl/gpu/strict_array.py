"""A stand-in for CuPy, so that the path of a GPU can be walked on any machine.

Its arrays lie in main memory and compute by NumPy, but refuse what CuPy's arrays refuse: to become NumPy arrays unless
asked with `.get()`, to mix with them, and every function, keyword or element type that CuPy has not. What it has was
read from CuPy itself, see `list_cupy.py`. NumPy's functions, which CuPy's arrays would quietly take over, are refused
too: a room that calls them would run one thing on the CPU and another on the GPU.

An array is refused when the stand-in that it was made on is gone: who kept it would keep it beside a real GPU too,
where CuPy hands it on to NumPy.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.minidl.gpu.list_cupy import API

OFFERED = json.loads(API.read_text())
FROM_HOST = ("array", "asarray", "asanyarray", "ascontiguousarray")  # functions whose work it is to copy host arrays
# What `atomicAdd` takes: int64 is not among them (cupy/_core/_routines_indexing.pyx, _scatter_op_default).
ATOMIC_ADD = "iILQefd"


class StrictArray:
    """One array of the pretended GPU; `host` is the NumPy array that stands for its memory."""

    __array_ufunc__ = None  # NumPy's operators and ufuncs refuse it

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self._host, self._made_on = host, Module.now

    @property
    def host(self) -> np.ndarray[Any, Any]:
        if self._made_on is not Module.now:
            raise TypeError("an array of another GPU: of a stand-in that is gone, or of one that is not there yet")
        return self._host

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with a GPU array; call it by the array's own module xp")

    def __getattr__(self, name: str) -> Any:
        if name in OFFERED["methods"]:
            checked_call = functools.partial(call, f"ndarray.{name}", getattr(self.host, name))
            return functools.partial(checked_call, OFFERED["methods"][name])
        if name in OFFERED["attributes"]:
            return wrap(getattr(self.host, name))
        raise AttributeError(f"CuPy's arrays have no {name!r}")

    @property
    def flags(self) -> SimpleNamespace:
        f = self.host.flags
        return SimpleNamespace(c_contiguous=f.c_contiguous, f_contiguous=f.f_contiguous, owndata=f.owndata)

    @property
    def data(self) -> SimpleNamespace:
        assert self.host.flags.c_contiguous, "a kernel was given an array with gaps"
        return SimpleNamespace(ptr=self.host.ctypes.data)

    @property
    def device(self) -> SimpleNamespace:
        return SimpleNamespace(id=0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.host.__array_interface__, "version": 3}

    def get(self) -> np.ndarray[Any, Any]:
        return self.host.copy()

    def __getitem__(self, index: Any) -> StrictArray:
        entries = unwrap(index if isinstance(index, tuple) else (index,))
        if not any(entry is Ellipsis for entry in entries):
            entries = (*entries, Ellipsis)  # so that a single element is a 0-d array, as in CuPy
        return StrictArray(self.host[entries])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[unwrap(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self.host)

    def __iter__(self) -> Iterator[StrictArray]:
        return iter([self[i] for i in range(len(self.host))])

    def __bool__(self) -> bool:
        return bool(self.host)

    def __int__(self) -> int:
        return int(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __index__(self) -> int:
        return self.host.__index__()

    __hash__ = None  # type: ignore[assignment]


class StrictUfunc:
    """An element-wise function with the type combinations that CuPy has for it."""

    def __init__(self, name: str, types: Sequence[str]) -> None:
        self.name, self.types, self.numpy = name, types, getattr(np, name)

    def __call__(self, *args: Any, out: Any = None, casting: Any = "same_kind", dtype: Any = None) -> Any:
        inputs, given = args[: self.numpy.nin], args[self.numpy.nin :]
        out = given[0] if given else out
        operands = unwrap(inputs)
        takes, gives = self._types_for(operands, dtype)
        cast = [np.asarray(x).astype(t) for x, t in zip(operands, takes, strict=True)]
        with np.errstate(all="ignore"):  # a GPU gives inf and NaN without a word
            result = np.asarray(self.numpy(*cast)).astype(gives, copy=False)
        if out is None:
            return StrictArray(result)
        if not np.can_cast(result.dtype, out.dtype, casting):
            raise TypeError(f"{self.name}: output {out.dtype} cannot hold {result.dtype} with casting={casting!r}")
        np.copyto(unwrap(out), result, casting="unsafe")
        return out

    def at(self, array: StrictArray, index: Any, value: Any) -> None:
        if self.name != "add" or array.host.dtype.char not in ATOMIC_ADD:
            raise TypeError(f"{self.name}.at: CuPy has none for {array.host.dtype}")
        self.numpy.at(unwrap(array), unwrap(index), unwrap(value))

    def _types_for(self, operands: Sequence[Any], dtype: Any) -> tuple[str, str]:
        """The first combination that takes `operands` without loss, or that gives `dtype`."""
        for combination in self.types:
            takes, gives = combination.split("->")
            if (dtype is None and all(map(_fits, operands, takes))) or (dtype is not None and np.dtype(dtype) == gives):
                return takes, gives
        raise TypeError(f"{self.name}: CuPy has none for {[getattr(x, 'dtype', type(x)) for x in operands]}")


def _fits(operand: Any, code: str) -> bool:
    """Whether an array or number can be taken as type `code`; a Python number takes the type of the arrays."""
    if isinstance(operand, (np.ndarray, np.generic)):
        return bool(np.can_cast(operand.dtype, code))
    kinds = "?biufc" if isinstance(operand, bool) else "iufc" if isinstance(operand, int) else "fc"
    return np.dtype(code).kind in kinds


def unwrap(value: Any) -> Any:
    """The NumPy arrays inside `value`; an array that is not on the pretended GPU is refused, as by CuPy."""
    if isinstance(value, StrictArray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: a NumPy array among GPU arrays")
    if isinstance(value, (tuple, list)):
        return type(value)(unwrap(v) for v in value)
    return value


def wrap(value: Any) -> Any:
    """NumPy's results as GPU arrays, single numbers as arrays without dimensions."""
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(value))
    if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
        made = map(wrap, value)
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)  # as NumPy's linalg names results
    return value


def call(name: str, function: Any, parameters: Sequence[str], *args: Any, **kwargs: Any) -> Any:
    """Call a function of NumPy with the arguments that CuPy's takes."""
    unknown = set(kwargs) - set(parameters)
    if unknown or (len(args) > len(parameters) and not any(p.startswith("*") for p in parameters)):
        raise TypeError(f"cupy.{name} takes {parameters}, got {len(args)} arguments and {sorted(kwargs)}")
    host = args if name in FROM_HOST and isinstance(args[0], np.ndarray) else unwrap(args)
    with np.errstate(all="ignore"):
        result = function(*host, **{key: unwrap(value) for key, value in kwargs.items()})
    if name in FROM_HOST and result is args[0]:
        result = result.copy()  # what comes from the host never shares its memory
    return result if name in ("ndarray.item", "ndarray.tolist", "asnumpy") else wrap(result)


# Of cupy.linalg, what the rooms use; all take batches.
LINALG = {
    "cholesky": ["a"], "det": ["a"], "eigh": ["a", "UPLO"], "inv": ["a"], "qr": ["a", "mode"], "slogdet": ["a"],
    "solve": ["a", "b"], "svd": ["a", "full_matrices", "compute_uv"],
}  # fmt: skip


class Module:
    """What `import cupy` would give."""

    ndarray = StrictArray
    __version__ = OFFERED["cupy"]
    now: Module | None = None  # the one that stands in now

    def __init__(self) -> None:
        runtime = SimpleNamespace(
            getDeviceProperties=lambda index: {"name": b"stand-in"},
            driverGetVersion=lambda: 0,
            runtimeGetVersion=lambda: 0,
        )
        self.linalg = SimpleNamespace(
            **{name: functools.partial(call, f"linalg.{name}", getattr(np.linalg, name), parameters)
               for name, parameters in LINALG.items()}
        )  # fmt: skip
        self.cuda = SimpleNamespace(is_available=lambda: True, Device=Device, runtime=runtime)

    @functools.cache  # noqa: B019 - a module holds no array
    def __getattr__(self, name: str) -> Any:
        if name in OFFERED["ufuncs"] and isinstance(getattr(np, name, None), np.ufunc):
            return StrictUfunc(name, OFFERED["ufuncs"][name])
        if name in OFFERED["functions"]:
            return functools.partial(call, name, getattr(np, name), OFFERED["functions"][name])
        if name in (*OFFERED["types"], *OFFERED["constants"]):
            return getattr(np, name)
        raise AttributeError(f"CuPy {OFFERED['cupy']} has no {name!r}")

    def asnumpy(self, array: StrictArray) -> np.ndarray[Any, Any]:
        return array.get()


class Device:
    """The only one there is."""

    compute_capability = "90"

    def synchronize(self) -> None:
        return None


OPERATORS: Mapping[str, str] = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
SIGNS = {"neg": "negative", "invert": "invert", "abs": "absolute"}
cupy = Module()


def _attach(operator: str, name: str) -> None:
    def apply(self: StrictArray, *other: Any) -> Any:
        return getattr(cupy, name)(self, *other)

    def reflected(self: StrictArray, other: Any) -> Any:
        return getattr(cupy, name)(other, self)

    def in_place(self: StrictArray, other: Any) -> Any:
        return getattr(cupy, name)(self, other, out=self)

    setattr(StrictArray, f"__{operator}__", apply)
    if operator in OPERATORS:
        setattr(StrictArray, f"__r{operator}__", reflected)
        setattr(StrictArray, f"__i{operator}__", in_place)


for _operator, _name in {**OPERATORS, **COMPARISONS, **SIGNS}.items():
    _attach(_operator, _name)
