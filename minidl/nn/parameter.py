"""Parameter: a tensor that is a weight; and weights and buffers that have no shape yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.core.on_tape import OnTape
from minidl.device import Device
from minidl.device import device as find_device
from minidl.device.dtypes import DEFAULT_FLOAT, DType
from minidl.errors import ArgumentError
from minidl.nn.budget import count_weights

__all__ = ["Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class Parameter(Tensor):
    """A tensor that is a weight: a module that has it as an attribute lists it in `parameters()`.

    Args:
        data: a tensor or array (its memory is shared), or numbers; no elements when None.
        requires_grad: False for a weight that is not trained.
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        super().__init__(np.zeros(0, np.float32) if data is None else data, requires_grad)
        count_weights(self.numel())

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


_place: Any = vars(OnTape)[
    "array"
]  # where the array of a tensor lies; here it has no elements, and says type and device


class _Uninitialized(Tensor):
    """A tensor that has a type and a place but no shape; using it raises an ArgumentError that says what to do."""

    __slots__ = ()

    def _start(self, requires_grad: bool, device: Device | str | None, dtype: DType | type | None) -> None:
        blank = Tensor.of(np.zeros(0, dtype or DEFAULT_FLOAT)).to(find_device(device or "cpu"))
        Tensor.__init__(self, blank, False)
        self.requires_grad = requires_grad

    def materialize(
        self, shape: Sequence[int], device: Device | str | None = None, dtype: DType | type | None = None
    ) -> None:
        """Become a plain Parameter or tensor of `shape`, whose values are set later.

        Args:
            device, dtype: where and of which type, if other than so far.
        """
        blank = _place.__get__(self)
        place = self.device if device is None else find_device(device)
        self.array = Tensor.of(np.empty(tuple(shape), dtype or blank.dtype)).to(place).array
        object.__setattr__(self, "__class__", Parameter if isinstance(self, Parameter) else Tensor)
        if isinstance(self, Parameter):
            count_weights(self.numel())

    @property
    def array(self) -> Any:
        raise ArgumentError(f"{type(self).__name__}: it has no shape yet; call its module with an input first, or load "
                            "a state_dict")  # fmt: skip

    @array.setter
    def array(self, value: Any) -> None:
        _place.__set__(self, value)

    @property
    def data(self) -> Tensor:
        """A tensor without elements, of the same type and in the same place."""
        return Tensor.of(_place.__get__(self))

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array

    @property
    def dtype(self) -> DType:  # type: ignore[override]  # which Tensor declares as an attribute
        return self.data.dtype

    @property
    def device(self) -> Device:
        return self.data.device

    def detach(self) -> Tensor:
        """Itself, so that a state_dict can say that there is no value yet."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.__reduce_ex__(2)[0](*self.__reduce_ex__(2)[1])

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuilt, (type(self), self.requires_grad, str(self.device), self.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A weight whose shape the first input of its module tells; `materialize` makes it a Parameter."""

    __slots__ = ()

    def __init__(
        self, requires_grad: bool = True, device: Device | str | None = None, dtype: DType | type | None = None
    ) -> None:
        self._start(requires_grad, device, dtype)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape the first input of its module tells; `materialize` makes it a tensor."""

    __slots__ = ()

    def __init__(
        self, requires_grad: bool = False, device: Device | str | None = None, dtype: DType | type | None = None
    ) -> None:
        self._start(requires_grad, device, dtype)


def is_lazy(param: Any) -> bool:
    """Whether a weight or buffer has no shape yet."""
    return isinstance(param, _Uninitialized)


def _rebuilt(kind: type[Any], *state: Any) -> Any:
    return kind(*state)
