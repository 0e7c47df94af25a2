"""weight_norm and spectral_norm: a weight that is made anew before each call of its layer, from what is trained.

The layer keeps its `forward`; a hook before it sets the weight. Names are those of PyTorch's functions of these names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from minidl.core import Tensor, recording
from minidl.errors import ArgumentError
from minidl.nn.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.random import default_generator

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]

M = TypeVar("M", bound=Module)


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Train a weight as its length and its direction: weight = g v / |v|.

    Args:
        module: a layer; its parameter `name` becomes `name`_g and `name`_v.
        dim: each slice along it has a length of its own; the whole has one when None.

    Returns:
        The layer.

    Raises:
        ArgumentError: if the layer has no such parameter.

    Source: Salimans and Kingma, NeurIPS 2016, eq. 2.
    """
    weight = _taken(module, "weight_norm", name)
    setattr(module, name + "_g", Parameter(_lengths(weight.detach(), dim)))
    setattr(module, name + "_v", Parameter(weight.detach()))

    def make(module: Module) -> Tensor:
        g, v = getattr(module, name + "_g"), getattr(module, name + "_v")
        made: Tensor = v * (g / _lengths(v, dim))
        return made

    _install(module, "weight_norm", name, make, ("_g", "_v"))
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Make the weight a plain parameter again, as it is now.

    Raises:
        ArgumentError: if it is not one that `weight_norm` makes.
    """
    return _removed(module, "weight_norm", name)


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide a weight by its largest singular value, as found by power iterations, so that the layer stretches nothing.

    Args:
        module: a layer; its parameter `name` becomes `name`_orig, with buffers `name`_u and `name`_v.
        n_power_iterations: in each call while training.
        eps: added where a vector is divided by its length.
        dim: the dimension of outputs, of which the weight is seen as a matrix; 0, or 1 of transposed convolutions.

    Returns:
        The layer.

    Raises:
        ArgumentError: if the layer has no such parameter, or there is less than one iteration.

    Source: Miyato et al., ICLR 2018, algorithm 1.
    """
    if n_power_iterations < 1:
        raise ArgumentError(f"spectral_norm: n_power_iterations must be at least 1, got {n_power_iterations}")
    weight = _taken(module, "spectral_norm", name)
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    setattr(module, name + "_orig", weight)
    rows, columns = _matrix(weight, dim).shape
    for suffix, count in (("_u", rows), ("_v", columns)):
        draws = Tensor.of(default_generator().normal((count,), dtype=weight.dtype)).to(weight.device)
        module.register_buffer(name + suffix, _unit(draws, eps))

    def make(module: Module) -> Tensor:
        original, u, v = (getattr(module, name + suffix) for suffix in ("_orig", "_u", "_v"))
        matrix = _matrix(original, dim)
        if module.training:
            with recording(False):
                for _ in range(n_power_iterations):
                    v.copy_(_unit(matrix.T @ u, eps))
                    u.copy_(_unit(matrix @ v, eps))
        made: Tensor = original / (u.clone() @ (matrix @ v.clone()))
        return made

    _install(module, "spectral_norm", name, make, ("_orig", "_u", "_v"))
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Make the weight a plain parameter again, as it is now.

    Raises:
        ArgumentError: if it is not one that `spectral_norm` makes.
    """
    return _removed(module, "spectral_norm", name)


def _lengths(weight: Tensor, dim: int | None) -> Tensor:
    """The 2-norm of each slice along `dim`, with lengths of 1 for the other dimensions."""
    others = None if dim is None else [d for d in range(weight.ndim) if d != dim % weight.ndim]
    total: Tensor = (weight * weight).sum(others, keepdim=dim is not None)
    return total.sqrt()


def _matrix(weight: Tensor, dim: int) -> Tensor:
    return weight.movedim(dim, 0).reshape(weight.shape[dim], -1)


def _unit(vector: Tensor, eps: float) -> Tensor:
    unit: Tensor = vector / max((vector * vector).sum().sqrt().item(), eps)
    return unit


def _taken(module: Module, norm: str, name: str) -> Parameter:
    """The parameter `name`, taken out of the module."""
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ArgumentError(
            f"{norm}: {type(module).__name__} has no parameter {name!r}; it has "
            f"{', '.join(n for n, _ in module.named_parameters(recurse=False)) or 'none'}"
        )
    delattr(module, name)
    return weight


def _install(module: Module, norm: str, name: str, make: Callable[[Module], Tensor], suffixes: tuple[str, ...]) -> None:
    """Set the weight now and before each call; a copy of the module makes its own."""
    handle = module.register_forward_pre_hook(lambda module, args: setattr(module, name, make(module)))
    setattr(module, name, make(module).detach())
    _made(module)[norm, name] = (handle, suffixes)


def _removed(module: M, norm: str, name: str) -> M:
    made = _made(module).pop((norm, name), None)
    if made is None:
        raise ArgumentError(f"remove_{norm}: {type(module).__name__}.{name} is not made by {norm}")
    handle, suffixes = made
    handle.remove()
    value = getattr(module, name).detach()
    for suffix in (name, *(name + suffix for suffix in suffixes)):
        delattr(module, suffix)
    setattr(module, name, Parameter(value))
    return module


def _made(module: Module) -> dict[tuple[str, str], Any]:
    """The hook and the names of each weight of the module that is made before its calls."""
    held: dict[tuple[str, str], Any] = vars(module).setdefault("_normed_weights", {})
    return held
