"""Tensor: an array, and its place on the tape.

The arithmetic is not here: methods and operators find their op by name in the registry, so that ops can be built on
tensors, and a new op never touches this class. `METHODS` lists the names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from minidl.core import registry
from minidl.core.on_tape import OnTape
from minidl.core.spec import Spec
from minidl.core.tape import Node, is_recording
from minidl.device import Array, Device, device_of, dtypes, to_device
from minidl.device import device as find_device
from minidl.device.dtypes import (
    DEFAULT_FLOAT,
    FLOATING,
    DType,
    beside,
    in_float32,
    is_floating,
    is_known,
    is_narrow,
    scalar_dtype,
)
from minidl.errors import DTypeError, GradError, ShapeError

# PyTorch's method names that are the public function of the same name with the tensor as first argument.
METHODS = """
    abs absolute acos acosh add add_ addbmm addcdiv addcmul addmm addmv addr adjoint all allclose amax amin aminmax
    any arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort argwhere asin asinh atan atan2
    atanh baddbmm bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bmm
    broadcast_to ceil cholesky cholesky_inverse cholesky_solve chunk clamp clamp_max clamp_min clip clone contiguous
    copy_ copysign corrcoef cos cosh count_nonzero cov cross cummax cummin cumprod cumsum deg2rad det diag
    diag_embed diagflat diagonal diagonal_scatter diff digamma dist div div_ divide dot dsplit eq equal erf erfc
    erfinv exp exp2 expand expand_as expm1 fill_ fix flatten flip fliplr flipud float_power floor floor_divide fmax
    fmin fmod frac gather gcd ge ger greater greater_equal gt hardshrink heaviside histc hsplit hypot index_add
    index_copy index_fill index_put index_reduce index_select inner inverse isclose isfinite isinf isnan isneginf
    isposinf isreal kron kthvalue lcm ldexp le lerp less less_equal lgamma log log10 log1p log2 log_softmax
    logaddexp logaddexp2 logcumsumexp logdet logical_and logical_not logical_or logical_xor logit logsumexp lt
    masked_fill masked_scatter masked_select matmul matrix_exp matrix_power max maximum mean median min minimum mm
    mode moveaxis movedim msort mul mul_ multiply mv nan_to_num nanmean nanmedian nanquantile nansum narrow ne neg
    negative nextafter nonzero norm not_equal outer permute pinverse polygamma positive pow prelu prod put qr
    quantile rad2deg ravel reciprocal relu remainder renorm repeat repeat_interleave reshape reshape_as roll rot90
    round rsqrt scatter scatter_add scatter_reduce select select_scatter sgn sigmoid sign signbit sin sinc sinh
    slice_scatter slogdet softmax sort split split_with_sizes sqrt square squeeze std sub sub_ subtract sum
    sum_to_size svd swapaxes swapdims t take take_along_dim tan tanh tensor_split tile topk trace transpose tril
    triu true_divide trunc unbind unflatten unique unique_consecutive unsqueeze var vdot view view_as vsplit xlogy
    zero_
""".split()  # noqa: SIM905 - a table to read

# Of those in `minidl.draws`.
DRAWS = """
    bernoulli bernoulli_ cauchy_ exponential_ geometric_ log_normal_ multinomial normal_ random_ uniform_
""".split()  # noqa: SIM905 - a table to read

# Those of METHODS that have a form in place, made in `minidl.ops.in_place`.
IN_PLACE_METHODS = """
    abs_ absolute_ acos_ acosh_ addbmm_ addcdiv_ addcmul_ addmm_ addmv_ addr_ asin_ asinh_ atan2_ atan_ atanh_
    baddbmm_ bitwise_and_ bitwise_left_shift_ bitwise_not_ bitwise_or_ bitwise_right_shift_ bitwise_xor_ ceil_
    clamp_ clamp_max_ clamp_min_ clip_ copysign_ cos_ cosh_ cumprod_ cumsum_ deg2rad_ digamma_ divide_ eq_ erf_
    erfc_ erfinv_ exp2_ exp_ expm1_ fix_ floor_ floor_divide_ fmod_ frac_ gcd_ ge_ greater_ greater_equal_ gt_
    heaviside_ hypot_ index_add_ index_copy_ index_fill_ index_put_ index_reduce_ lcm_ ldexp_ le_ lerp_ less_
    less_equal_ lgamma_ log10_ log1p_ log2_ log_ logical_and_ logical_not_ logical_or_ logical_xor_ logit_ lt_
    masked_fill_ masked_scatter_ multiply_ nan_to_num_ ne_ neg_ negative_ nextafter_ not_equal_ polygamma_ pow_ put_
    rad2deg_ reciprocal_ relu_ remainder_ renorm_ round_ rsqrt_ scatter_ scatter_add_ scatter_reduce_ sgn_ sigmoid_
    sign_ sin_ sinc_ sinh_ sqrt_ square_ subtract_ tan_ tanh_ tril_ triu_ true_divide_ trunc_ xlogy_
""".split()  # noqa: SIM905 - a table to read

_new = object.__new__  # `Tensor.of` runs for every result


class Tensor(OnTape):
    """An n-dimensional array that remembers how it was computed.

    Args:
        data: an array (kept, not copied), a number, or nested lists of numbers (made float32, as `torch.Tensor` does;
            `minidl.tensor` keeps integers).
        requires_grad: record what is computed from it, so that `backward` can fill its `.grad`.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()
    __array_ufunc__ = None  # NumPy's operators leave `ndarray + Tensor` to Tensor.__radd__
    __hash__ = object.__hash__

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self.array = as_array(data, None if hasattr(data, "dtype") else DEFAULT_FLOAT)
        self.grad = self.node = self.hooks = self.origin = None
        self.slot, self.requires_grad = 0, False
        self.requires_grad_(requires_grad)

    @staticmethod
    def of(array: Array) -> Tensor:
        """The tensor around `array`, neither copied nor checked."""
        t = _new(Tensor)
        t.array = array
        t.grad = t.node = t.hooks = t.origin = None
        t.slot, t.requires_grad = 0, False
        return t

    def linked_to(self, node: Node, slot: int) -> Tensor:
        """The same array as result number `slot` of `node`; integers carry no gradient and are not linked."""
        return Tensor.of(self.array).link(node, slot)

    def link(self, node: Node, slot: int) -> Tensor:
        """Make this tensor result number `slot` of `node`; returns it."""
        if self.array.dtype.kind in FLOATING:
            self.node, self.slot, self.requires_grad = node, slot, True
        return self

    # -- what it is ------------------------------------------------------------------------------------------------

    # Without a function of Python's: everybody asks for them.
    shape: tuple[int, ...] = property(attrgetter("array.shape"))  # type: ignore[assignment]
    dtype: DType = property(attrgetter("array.dtype"))  # type: ignore[assignment]
    ndim: int = property(attrgetter("array.ndim"))  # type: ignore[assignment]

    @property
    def spec(self) -> Spec:
        return tuple.__new__(Spec, (self.array.shape, self.array.dtype))  # what `spec_of` does, in half the time

    @property
    def device(self) -> Device:
        return device_of(self.array)

    @property
    def data(self) -> Tensor:
        """The same memory, off the tape."""
        return Tensor.of(self.array)

    @data.setter
    def data(self, value: Tensor) -> None:
        registry.call("settle", (self.array,))
        self.array = value.array

    @property
    def T(self) -> Tensor:
        """The matrix transposed: (M, N) to (N, M)."""
        return self.transpose(0, 1)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged."""
        return self.transpose(-2, -1)

    @property
    def H(self) -> Tensor:
        """The matrix transposed; there are no complex numbers to conjugate."""
        return self.transpose(0, 1)

    @property
    def mH(self) -> Tensor:
        """The last two dimensions exchanged."""
        return self.transpose(-2, -1)

    def dim(self) -> int:
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its length along `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def element_size(self) -> int:
        """Bytes of one element."""
        return int(self.array.itemsize)

    def is_floating_point(self) -> bool:
        return is_floating(self.dtype)

    def is_contiguous(self) -> bool:
        return bool(self.array.flags.c_contiguous)

    # -- out of the engine ---------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ShapeError: if there are more or fewer elements than one.
        """
        if self.numel() != 1:
            raise ShapeError(
                f"item: needs a tensor of one element, got shape {self.shape}; index it or reduce it first"
            )
        return self.array.item()

    def numpy(self) -> np.ndarray[Any, Any]:
        """The array itself, sharing memory, on the CPU.

        Raises:
            GradError: if the tensor needs a gradient, for changes would go unseen; call detach() first.
        """
        if self.requires_grad:
            raise GradError("numpy: the tensor requires a gradient; use x.detach().numpy()")
        return self.cpu().array  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        return self.array.tolist()

    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.detach().array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len: a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self[i] for i in range(len(self))])

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iub":
            raise DTypeError(f"index: only an integer tensor can be an index, this one is {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __repr__(self) -> str:
        array = in_float32(np.asarray(self.cpu().array))
        digits = 4 if is_narrow(self.dtype) else None  # more would be those of float32
        values = np.array2string(array, precision=digits, separator=", ", prefix="tensor(")
        notes = "" if self.dtype in (DEFAULT_FLOAT, np.int64, np.bool_) else f", dtype={self.dtype}"
        notes += "" if self.device.type == "cpu" else f", device='{self.device}'"
        if self.node is not None:
            notes += f", grad_fn=<{self.node.op.name}>"
        elif self.requires_grad:
            notes += ", requires_grad=True"
        return f"tensor({values}{notes})"

    # -- new ones of its type and on its device --------------------------------------------------------------------

    def new_zeros(self, *size: Any, dtype: DType | None = None, device: Device | str | None = None,
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
        """Zeros of shape `size`, of this tensor's type and on its device unless others are named."""
        return self._new(self.device.xp.zeros, size, dtype, device, requires_grad)

    def new_ones(self, *size: Any, dtype: DType | None = None, device: Device | str | None = None,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
        """Ones of shape `size`, of this tensor's type and on its device unless others are named."""
        return self._new(self.device.xp.ones, size, dtype, device, requires_grad)

    def new_empty(self, *size: Any, dtype: DType | None = None, device: Device | str | None = None,
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
        """Values that are not set, of shape `size`, of this tensor's type and on its device unless others are named."""
        return self._new(self.device.xp.empty, size, dtype, device, requires_grad)

    def new_full(self, size: Any, fill_value: float, *, dtype: DType | None = None, device: Device | str | None = None,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
        """`fill_value` in shape `size`, of this tensor's type and on its device unless others are named."""
        t = self._new(self.device.xp.zeros, (size,), dtype, device, False)
        t.array[...] = fill_value
        return t.requires_grad_(requires_grad)

    def _new(self, make: Any, size: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        t = Tensor.of(make(tuple(shape), dtype or self.dtype))
        return (t if device is None else t.to(find_device(device))).requires_grad_(requires_grad)

    # -- type and place ------------------------------------------------------------------------------------------

    def to(self, *targets: Device | str | DType | type | Tensor) -> Tensor:
        """This tensor with another element type, on another device, or both; itself if nothing changes.

        Raises:
            GradError: when a recorded tensor would change its device; move the leaves instead.
        """
        t = self
        for target in targets:
            if isinstance(target, Tensor):
                t = t.to(target.dtype, target.device)
            elif isinstance(target, Device) or (isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda")):
                t = t._moved(find_device(target))
            elif t.dtype != target:
                t = registry.call("cast", t, np.dtype(target))
        return t

    def _moved(self, target: Device) -> Tensor:
        if device_of(self.array) == target:
            return self
        if self.node is not None and is_recording():
            raise GradError("to: a computed tensor cannot change its device on the tape; move the inputs before")
        return Tensor.of(to_device(self.array, target)).requires_grad_(self.requires_grad)

    def bfloat16(self) -> Tensor:
        """This tensor as bfloat16: the upper half of a float32, its range with 8 bits of precision."""
        return self.to(dtypes.bfloat16)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    # -- operators -----------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        result: Tensor = registry.call("getitem", self, index)
        return result

    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """All slices of `size` elements along `dimension`, `step` apart, with the elements as the last dimension."""
        result: Tensor = registry.call("slices", self, dimension, size, step)
        return result

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where `condition` holds, `other` elsewhere."""
        result: Tensor = registry.call("where", condition, self, other)
        return result

    def __setitem__(self, index: Any, value: Any) -> None:
        registry.call("setitem", self, index, value)

    if TYPE_CHECKING:
        # Methods and operators are attached below, by name.
        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __iadd__(self, other: Any) -> Tensor: ...
        def __isub__(self, other: Any) -> Tensor: ...
        def __imul__(self, other: Any) -> Tensor: ...
        def __itruediv__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...


# operator -> function; those with a reflected form are marked in REFLECTED
OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "floordiv": "floor_divide", "mod": "remainder",
    "pow": "pow", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift", "lt": "lt", "le": "le", "gt": "gt",
    "ge": "ge", "eq": "eq", "ne": "ne", "neg": "neg", "invert": "bitwise_not", "abs": "abs",
}  # fmt: skip
# `x += y`, as NumPy and PyTorch do it
IN_PLACE = {
    "iadd": "add_", "isub": "sub_", "imul": "mul_", "itruediv": "div_", "ifloordiv": "floor_divide_",
    "imod": "remainder_", "ipow": "pow_",
}  # fmt: skip
REFLECTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


def _method(function: str, name: str, *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (
            registry.functions[function](*args, self)
            if reflected
            else registry.functions[function](self, *args, **kwargs)
        )

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"See `minidl.{function}`."
    return method


def _cast_method(dtype: type) -> Callable[[Tensor], Tensor]:
    return lambda self: self.to(dtype)


# Attached, not written in the class: there, `float` and `int` would hide the builtins from every annotation.
CASTS = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "long": np.int64,
    "int": np.int32,
    "short": np.int16,
    "char": np.int8,
    "byte": np.uint8,
    "bool": np.bool_,
}
for _name, _dtype in CASTS.items():
    setattr(Tensor, _name, _cast_method(_dtype))
for _name in [*METHODS, *IN_PLACE_METHODS, *DRAWS]:
    setattr(Tensor, _name, _method(_name, _name))
for _name, _function in {**OPERATORS, **IN_PLACE}.items():
    setattr(Tensor, f"__{_name}__", _method(_function, f"__{_name}__"))
    if _name in REFLECTED:
        setattr(Tensor, f"__r{_name}__", _method(_function, f"__r{_name}__", reflected=True))


def as_array(data: Any, dtype: DType | type | None = None) -> Array:
    """`data` as an array: arrays and tensors as they are, Python floats as float32, integers as int64."""
    if isinstance(data, Tensor):
        data = data.array
    if hasattr(data, "__cuda_array_interface__"):
        return data if dtype is None else data.astype(dtype, copy=False)
    if isinstance(data, (list, tuple)) and any(isinstance(item, Tensor) for item in data):
        data = [item.item() if isinstance(item, Tensor) and not item.shape else np.asarray(item) for item in data]
    array = np.asarray(data)
    if not is_known(array.dtype):
        raise DTypeError(f"tensor: needs numbers, got {array.dtype} from {type(data).__name__}")
    if dtype is None and array.dtype == np.float64 and not hasattr(data, "dtype"):
        dtype = DEFAULT_FLOAT
    return array if dtype is None else array.astype(dtype, copy=False)


def as_tensor(data: Any, like: Tensor | None = None) -> Tensor:
    """`data` as a tensor; a Python number takes the element type and the device of `like`."""
    if isinstance(data, Tensor):
        return data
    if like is not None and isinstance(data, (bool, int, float, np.generic)):
        kind: type = type(data)
        beside_it = like.dtype
        dtype = scalar_dtype(kind, beside_it)
        if dtype is not beside_it and not like.ndim:  # of two single numbers neither counts more
            dtype = beside(beside_it, dtype)
        return Tensor.of(like.device.xp.asarray(data, dtype))
    return Tensor.of(as_array(data))


def tensor(
    data: Any,
    dtype: DType | type | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A new tensor with a copy of `data`.

    Args:
        data: a number, nested lists, an array or a tensor. Python floats become float32, integers int64; arrays keep
            their type.
        dtype: element type, when it shall be another.
        device: "cpu" when None.
        requires_grad: record what is computed from it.

    >>> tensor([[1, 2], [3, 4]]).sum(1)
    tensor([3, 7])
    """
    array = as_array(data, None if dtype is None else np.dtype(dtype))
    t = Tensor.of(array.copy())
    return (t if device is None else t.to(find_device(device))).requires_grad_(requires_grad)


def dim_index(op: str, dim: SupportsIndex, ndim: int) -> int:
    """`dim` counted from the front.

    Raises:
        ShapeError: if there is no such dimension.
    """
    index = dim.__index__()
    places = max(ndim, 1)  # a single number counts as one dimension, as in PyTorch
    if not -places <= index < places:
        raise ShapeError(f"{op}: dim {index} does not exist; the tensor has {ndim} dimensions")
    return index % places
