"""Lazy layers: the first input tells how many features or channels come in.

Until then a layer's weights have no shape. With its first call it draws them, and becomes a layer of the class that it
is called after; with `load_state_dict` of a layer that has values it takes those.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, _ConvBase
from minidl.nn.linear import Linear
from minidl.nn.module import Module
from minidl.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, _BatchNorm
from minidl.nn.norm_family import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from minidl.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
    "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
    "LazyInstanceNorm3d", "LazyLinear", "LazyModuleMixin",
]  # fmt: skip


class LazyModuleMixin(Module):
    """Base of lazy layers. A subclass also inherits the layer, gives `cls_to_become`, and says the shapes.

    The constructor is that of the layer without its first argument, the size that the first input tells.
    """

    cls_to_become: ClassVar[type[Module]]
    size: ClassVar[str]  # the attribute that the first input tells

    def __init_subclass__(cls) -> None:
        if "cls_to_become" in vars(cls):
            _describe(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, *args, **kwargs)  # type: ignore[call-arg]  # of the layer
        for name, tensor in list(self._own_tensors()):
            if tensor.ndim:  # the number of batches is known
                kind = UninitializedParameter if isinstance(tensor, Parameter) else UninitializedBuffer
                setattr(self, name, kind(tensor.requires_grad, tensor.device, tensor.dtype))

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of weights and buffers for an input of `size` features or channels."""
        raise NotImplementedError

    def size_of(self, input: Tensor) -> int:
        """How many features or channels come in."""
        return input.shape[1]

    def has_uninitialized_params(self) -> bool:
        """Whether a weight or buffer has no shape yet."""
        return any(is_lazy(tensor) for _, tensor in self._own_tensors())

    def initialize_parameters(self, input: Tensor) -> None:
        """Give weights and buffers the shapes that `input` tells, and their starting values.

        Raises:
            ArgumentError: if some have values already, and others have none.
        """
        size = self.size_of(input)
        setattr(self, self.size, size)
        own = {name: tensor for name, tensor in self._own_tensors() if is_lazy(tensor) or tensor.ndim}
        lacking = [name for name, tensor in own.items() if is_lazy(tensor)]
        if not lacking:
            return
        if len(lacking) < len(own):
            raise ArgumentError(f"{type(self).__name__}: {', '.join(lacking)} got no values, and others did; load all, "
                                "or none")  # fmt: skip
        for name, shape in self.shapes(size).items():
            if name in own:
                own[name].materialize(shape)
        self.reset_all()

    def reset_all(self) -> None:
        """Draw or set the starting values."""
        self.reset_parameters()  # type: ignore[attr-defined]  # of the layer

    def run_forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.initialize_parameters(*args[:1], **{name: kwargs[name] for name in ("input",) if name in kwargs})
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self.run_forward(args, kwargs)


def _describe(layer: type[LazyModuleMixin]) -> None:
    """The docstring and the signature of a lazy layer: those of its layer without the size that the input tells."""
    whole = inspect.signature(layer.cls_to_become)
    arguments = [p for name, p in whole.parameters.items() if name != layer.size]
    if layer.__init__ is LazyModuleMixin.__init__:
        layer.__signature__ = whole.replace(parameters=arguments)  # type: ignore[attr-defined]
    layer.__doc__ = f"`{layer.cls_to_become.__name__}` whose {layer.size} the first input tells; other arguments alike."


class LazyLinear(LazyModuleMixin, Linear):
    cls_to_become = Linear
    size = "in_features"

    def size_of(self, input: Tensor) -> int:
        return input.shape[-1]

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, size), "bias": (self.out_features,)}


class _LazyConv(LazyModuleMixin, _ConvBase):
    """What lazy convolutions share: channels come before the spatial dimensions."""

    size = "in_channels"

    def size_of(self, input: Tensor) -> int:
        if input.ndim not in (self.dims + 1, self.dims + 2):
            takes = f"(N, C, {', '.join('DHW'[3 - self.dims :])})"
            raise ShapeError(f"{type(self).__name__}: input must be {takes}, got {input.shape}")
        channels = input.shape[-self.dims - 1]
        if channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: groups {self.groups} must divide the channels of input, got {input.shape}"
            )
        return channels

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {
            "weight": (self.out_channels, size // self.groups, *self.kernel_size), "bias": (self.out_channels,),
        }  # fmt: skip


class _LazyConvTranspose(_LazyConv):
    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return {
            "weight": (size, self.out_channels // self.groups, *self.kernel_size), "bias": (self.out_channels,),
        }  # fmt: skip


class LazyConv1d(_LazyConv, Conv1d):
    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin, _BatchNorm):
    """What lazy norms share: everything has one number for each channel."""

    size = "num_features"

    def shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (size,))

    def reset_all(self) -> None:
        self.reset_running_stats()
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    cls_to_become = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    """As in PyTorch, its weights and running averages are there unless they are refused."""

    def __init__(
        self, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: Device | str | None = None, dtype: DType | None = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def size_of(self, input: Tensor) -> int:
        return input.shape[1 if input.ndim == max(self.ranks) else 0]


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    cls_to_become = InstanceNorm3d
