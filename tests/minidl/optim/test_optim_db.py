"""PyTorch's own list of optimizers, with the options it tests each with, and the calls that must be refused."""

from __future__ import annotations

import sys
import types
import unittest
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import optim
from minidl.errors import ArgumentError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

# The module of the list imports `expecttest` for snapshot tests, which are not run here; its name is enough.
_stand_in = types.ModuleType("expecttest")
_stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
sys.modules.setdefault("expecttest", _stand_in)

from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

ABSENT = {  # what minidl does not have
    "Muon": "not among the optimizers offered", "SparseAdam": "there are no sparse gradients",
}  # fmt: skip
INFOS = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ not in ABSENT}
# Refused by PyTorch because two of its implementations cannot be combined; there is one here.
ONE_IMPLEMENTATION = "lr as Tensor doesn't work with foreach"
COMPLEX = "does not support complex parameters"  # which cannot be made here


def rows() -> list[Any]:
    found = []
    for name, info in INFOS.items():
        for sample in info.optim_inputs_func(device="cpu"):
            found.append(pytest.param(name, sample.kwargs, id=f"{name} {sample.desc}"))
    return found


def refused() -> list[Any]:
    found = []
    for name, info in INFOS.items():
        for bad in info.optim_error_inputs_func(device="cpu", dtype=torch.float64):
            sample = bad.optimizer_error_input
            if not sample.desc.startswith(ONE_IMPLEMENTATION) and COMPLEX not in sample.desc:
                found.append(pytest.param(name, sample.params, sample.kwargs, id=f"{name} {sample.desc}"))
    return found


def ours(value: Any, made: dict[int, Any] | None = None) -> Any:
    """The same in minidl: tensors, in whatever they lie; one that is there twice is one here too."""
    made = {} if made is None else made
    if isinstance(value, torch.Tensor):
        kind = minidl.nn.Parameter if isinstance(value, torch.nn.Parameter) else minidl.Tensor
        return made.setdefault(id(value), kind(value.detach().numpy().copy()))
    if isinstance(value, dict):
        return {key: ours(part, made) for key, part in value.items()}
    return type(value)(ours(part, made) for part in value) if isinstance(value, (list, tuple)) else value


def trained(lib: Any, name: str, options: dict[str, Any]) -> list[np.ndarray]:
    """Least squares: 10 steps of a matrix and a vector towards a target."""
    rng = np.random.default_rng(0)
    data, target = (lib.tensor(rng.standard_normal(shape)) for shape in ((6, 4), (6, 3)))
    weights = [lib.nn.Parameter(lib.tensor(rng.standard_normal(shape))) for shape in ((4, 3), (3,))]
    optimizer = getattr(lib.optim, name)(weights, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((data @ weights[0] + weights[1] - target) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    return [w.detach().numpy() for w in weights]


def test_the_list_is_the_one_that_is_known() -> None:
    """A new optimizer of PyTorch's is to be built or to be named above."""
    names = {info.optim_cls.__name__ for info in optim_db}
    assert names - set(ABSENT) == {n for n in optim.__all__ if n in names}
    assert {n for n in optim.__all__ if isinstance(getattr(optim, n), type)} - names == {"LAMB", "Optimizer"}
    assert len(rows()) > 60
    assert len(refused()) > 70


@pytest.mark.parametrize(("name", "options"), rows())
def test_weights_are_pytorchs_after_ten_steps(name: str, options: dict[str, Any]) -> None:
    """float64; LBFGS divides small differences, and so blows up roundings."""
    tolerance = 1e-7 if name == "LBFGS" else 1e-11
    for given, wanted in zip(trained(minidl, name, ours(options)), trained(torch, name, options), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "params", "options"), refused())
def test_what_pytorch_refuses_is_refused(name: str, params: Any, options: dict[str, Any]) -> None:
    weights = [minidl.nn.Parameter(minidl.ones(2))] if params is None else ours(params)
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        getattr(optim, name)(weights, **ours(options))
