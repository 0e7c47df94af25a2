"""Lazy layers: what they become, what they load, and what they say before they know their size."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn, optim
from minidl.errors import ArgumentError, ShapeError, StateDictError
from minidl.nn.lazy import LazyModuleMixin
from minidl.nn.parameter import is_lazy

# A lazy layer's name, its arguments, and the shape of an input.
ROWS = [
    ("Linear", (3,), {}, (2, 4)),
    ("Linear", (3,), {"bias": False}, (2, 5, 4)),
    *[(f"Conv{d}d", (6, 3), {"groups": 2, "padding": 1}, (2, 4, *(5,) * d)) for d in (1, 2, 3)],
    *[(f"ConvTranspose{d}d", (6, 3), {"groups": 2}, (2, 4, *(5,) * d)) for d in (1, 2, 3)],
    ("Conv2d", (6, 3), {"bias": False}, (4, 5, 5)),
    *[(f"BatchNorm{d}d", (), {}, (2, 4, *(5,) * d)) for d in (1, 2, 3)],
    ("BatchNorm1d", (), {"affine": False}, (2, 4)),
    ("BatchNorm1d", (), {"track_running_stats": False, "bias": False}, (2, 4)),
    *[(f"InstanceNorm{d}d", (), {"affine": True, "track_running_stats": True}, (2, 4, *(5,) * d)) for d in (1, 2, 3)],
    ("InstanceNorm2d", (), {"affine": False, "track_running_stats": False}, (2, 4, 5, 5)),
]
each_row = pytest.mark.parametrize(("name", "args", "options", "shape"), ROWS, ids=str)


@each_row
def test_a_lazy_layer_becomes_the_layer_of_its_name(name, args, options, shape) -> None:
    """With its weights: the same draws as by the layer itself."""
    size = shape[-1] if name == "Linear" else shape[len(shape) - int(name[-2]) - 1] if len(shape) > 2 else shape[1]
    x = Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    lazy = getattr(nn, f"Lazy{name}")(*args, **options)
    assert lazy.has_uninitialized_params() == bool(lazy.state_dict())
    minidl.manual_seed(3)
    given = lazy(x)
    minidl.manual_seed(3)
    plain = getattr(nn, name)(size, *args, **options)
    assert type(lazy) is type(plain)
    assert repr(lazy) == repr(plain)
    assert (given.array == plain(x).array).all()
    assert list(lazy.state_dict()) == list(plain.state_dict())
    for key, value in plain.state_dict().items():
        assert (lazy.state_dict()[key].array == value.array).all()


@each_row
def test_keys_and_values_that_are_not_there_yet_are_pytorchs(name, args, options, shape) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = (getattr(lib, f"Lazy{name}")(*args, **options) for lib in (nn, torch.nn))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [is_lazy(t) for t in ours.state_dict().values()] == [
        torch.nn.parameter.is_lazy(t) for t in theirs.state_dict().values()
    ]
    assert list(dict(ours.named_parameters())) == list(dict(theirs.named_parameters()))
    ours, theirs = (inspect.signature(type(layer)).parameters.values() for layer in (ours, theirs))
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]


def net() -> nn.Sequential:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


def test_a_net_learns_after_an_optimizer_was_given_weights_without_shape() -> None:
    model, x = net().double(), minidl.ones(2, 3, 5, 5, dtype=np.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = model(x).sum()
    before.backward()
    optimizer.step()
    assert model(x).sum().item() < before.item()
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    assert {type(p) for p in model.parameters()} == {nn.Parameter}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_states_are_loaded_before_the_first_input(copied) -> None:
    model, x = net(), minidl.ones(2, 3, 5, 5)
    other, empty = copied(model), copied(model)
    model(x)
    assert other.load_state_dict(model.state_dict()) == ([], [])
    assert not any(is_lazy(t) for t in other.state_dict().values())
    assert isinstance(other[0], nn.LazyConv2d)
    model.eval()
    other.eval()
    assert (other(x).array == model(x).array).all()
    assert type(other[0]) is nn.Conv2d
    assert other[0].in_channels == 3
    empty.load_state_dict(net().state_dict())
    assert is_lazy(empty[0].weight)


def test_a_weight_without_shape_says_what_to_do() -> None:
    weight = nn.UninitializedParameter(dtype=np.float64)
    assert (repr(weight), weight.dtype, weight.requires_grad) == ("<UninitializedParameter>", np.float64, True)
    for use in (lambda: weight.shape, lambda: weight.sum(), lambda: weight + 1, lambda: weight.numel()):
        with pytest.raises(ArgumentError, match="it has no shape yet; call its module with an input first, or load a"):
            use()
    weight.materialize((2, 3))
    assert (type(weight), weight.shape, weight.dtype) == (nn.Parameter, (2, 3), np.float64)
    buffer = nn.UninitializedBuffer()
    buffer.materialize((2,), dtype=np.int64)
    assert (type(buffer), buffer.shape, buffer.dtype, buffer.requires_grad) == (Tensor, (2,), np.int64, False)


def test_inputs_and_states_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"LazyConv2d: input must be \(N, C, H, W\), got \(2, 3\)"):
        nn.LazyConv2d(4, 3)(minidl.ones(2, 3))
    with pytest.raises(ShapeError, match=r"LazyConv1d: groups 2 must divide the channels of input, got \(1, 3, 5\)"):
        nn.LazyConv1d(4, 3, groups=2)(minidl.ones(1, 3, 5))
    with pytest.raises(StateDictError, match=r"weight has no shape yet but must be \(4, 3\), bias has no shape yet"):
        nn.Linear(3, 4).load_state_dict(nn.LazyLinear(4).state_dict())
    half = nn.LazyLinear(4)
    half.load_state_dict({"weight": minidl.ones(4, 3)}, strict=False)
    with pytest.raises(ArgumentError, match="LazyLinear: bias got no values, and others did; load all, or none"):
        half(minidl.ones(2, 3))


def test_a_lazy_layer_of_ones_own() -> None:
    class Scale(nn.Module):
        def __init__(self, width: int) -> None:
            self.width, self.factor = width, nn.Parameter(np.ones(width, np.float32))

        def reset_parameters(self) -> None:
            nn.init.ones_(self.factor)

        def forward(self, input):
            return input * self.factor

    class LazyScale(LazyModuleMixin, Scale):
        cls_to_become, size = Scale, "width"

        def shapes(self, size: int):
            return {"factor": (size,)}

    scale = LazyScale()
    assert scale(Tensor([[1.0, 2.0, 3.0]])).tolist() == [[1.0, 2.0, 3.0]]
    assert type(scale) is Scale
