"""Every layer beside PyTorch's: the same keys, shapes and text, and the same numbers from the same weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


class Row(NamedTuple):
    layer: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        options = ",".join([*map(str, self.args), *(f"{k}={v}" for k, v in self.kwargs.items())])
        return f"{self.layer}({options})".replace(" ", "")


def row(layer: str, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Row:
    return Row(layer, args, kwargs, shape)


IMAGE = (2, 4, 9, 8)
ROWS = [
    row("Linear", (3, 5), 5, 4),
    row("Linear", (2, 3, 5), 5, 4, bias=False),
    row("Identity", (3, 5)),
    row("Flatten", IMAGE),
    row("Flatten", IMAGE, 0, 2),
    row("Unflatten", (2, 12, 3), 1, (3, -1)),
    row("Conv1d", (2, 4, 9), 4, 6, 3, padding=1),
    row("Conv2d", IMAGE, 4, 6, 3),
    row("Conv2d", IMAGE, 4, 6, (3, 2), stride=2, padding=(1, 0), bias=False),
    row("Conv2d", IMAGE, 4, 6, 3, dilation=2, groups=2, padding=2),
    row("Conv2d", IMAGE, 4, 6, (4, 3), padding="same"),
    row("Conv2d", IMAGE, 4, 6, 3, padding="valid", groups=2),
    row("Conv2d", IMAGE, 4, 6, 3, padding=(1, 2), padding_mode="reflect"),
    row("Conv2d", IMAGE, 4, 6, (4, 3), padding="same", padding_mode="circular"),
    row("Conv2d", IMAGE, 4, 6, 3, padding=1, padding_mode="replicate"),
    row("Conv3d", (1, 2, 5, 6, 4), 2, 3, 3, padding=1),
    row("ConvTranspose1d", (2, 4, 9), 4, 6, 3, stride=2),
    row("ConvTranspose2d", IMAGE, 4, 6, 2, 2),
    row("ConvTranspose2d", IMAGE, 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False),
    row("ConvTranspose3d", (1, 2, 3, 4, 2), 2, 3, 2, stride=2),
    row("MaxPool1d", (2, 4, 9), 2),
    row("MaxPool2d", IMAGE, 2),
    row("MaxPool2d", IMAGE, 3, 2, 1, ceil_mode=True),
    row("MaxPool3d", (1, 2, 4, 6, 4), 2),
    row("AvgPool2d", IMAGE, 2),
    row("AvgPool2d", IMAGE, 3, 2, 1, count_include_pad=False),
    row("AvgPool3d", (1, 2, 4, 6, 4), 2),
    row("AdaptiveAvgPool1d", (2, 4, 9), 4),
    row("AdaptiveAvgPool2d", IMAGE, 1),
    row("AdaptiveAvgPool2d", IMAGE, (3, None)),
    row("AdaptiveAvgPool3d", (1, 2, 4, 6, 4), 2),
    row("BatchNorm1d", (6, 4), 4),
    row("BatchNorm1d", (3, 4, 5), 4, affine=False),
    row("BatchNorm2d", IMAGE, 4),
    row("BatchNorm2d", IMAGE, 4, momentum=None),
    row("BatchNorm2d", IMAGE, 4, track_running_stats=False),
    row("BatchNorm3d", (2, 3, 2, 4, 3), 3, momentum=0.3, eps=1e-3),
    row("LayerNorm", (2, 3, 5), 5),
    row("LayerNorm", (2, 3, 5), (3, 5), bias=False),
    row("LayerNorm", (2, 3, 5), 5, elementwise_affine=False),
    row("BatchNorm2d", IMAGE, 4, bias=False),
    row("GroupNorm", IMAGE, 2, 4),
    row("GroupNorm", IMAGE, 2, 4, bias=False),
    row("GroupNorm", IMAGE, 4, 4, affine=False),
    row("Dropout", IMAGE, 0.0),
    row("Dropout2d", IMAGE, 0.0),
    row("ReLU", IMAGE),
    row("ReLU", IMAGE, inplace=True),
    row("LeakyReLU", IMAGE, 0.2),
    row("GELU", IMAGE),
    row("GELU", IMAGE, approximate="tanh"),
    row("Sigmoid", IMAGE),
    row("Tanh", IMAGE),
    row("SiLU", IMAGE),
    row("ELU", IMAGE, 0.7),
    row("Softplus", IMAGE, 2.0),
    row("Hardtanh", IMAGE, -0.5, 0.4),
    row("ReLU6", IMAGE),
    row("Softmax", IMAGE, dim=1),
    row("LogSoftmax", IMAGE, dim=-1),
    row("Upsample", IMAGE, scale_factor=2),
    row("Upsample", IMAGE, size=(5, 7), mode="bilinear"),
    row("Upsample", IMAGE, scale_factor=(2, 3), mode="bilinear", align_corners=True),
]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def both(row: Row) -> tuple[nn.Module, Any]:
    """Our layer and PyTorch's in float64, with the same weights; statistics are not the starting ones."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, row.layer)(*row.args, **row.kwargs).double()
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.uniform_(-1, 1)
    ours = getattr(nn, row.layer)(*row.args, **row.kwargs).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def compare(ours: nn.Module, theirs: Any, shape: tuple[int, ...]) -> None:
    """Results, gradients and state, to a few roundings of float64."""
    values = np.random.default_rng(1).standard_normal(shape)
    x, tx = minidl.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    inputs = (x * 1.0, tx * 1.0)  # PyTorch's in-place layers refuse leaves
    y, ty = ours(inputs[0]), theirs(inputs[1])
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-9, atol=1e-12)
    weights = np.random.default_rng(2).standard_normal(y.shape)
    (y * minidl.tensor(weights)).sum().backward()
    (ty * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-8, atol=1e-10)
    for (name, p), (their_name, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-8, atol=1e-9)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), tensor.numpy(), rtol=1e-9, atol=1e-12)


@each_row
def test_keys_shapes_and_types_are_pytorchs(row: Row) -> None:
    ours = getattr(nn, row.layer)(*row.args, **row.kwargs).state_dict()
    theirs = getattr(torch.nn, row.layer)(*row.args, **row.kwargs).state_dict()
    assert [(k, v.shape, str(v.dtype)) for k, v in ours.items()] == [
        (k, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in theirs.items()
    ]


@each_row
def test_text_is_pytorchs(row: Row) -> None:
    assert repr(getattr(nn, row.layer)(*row.args, **row.kwargs)) == repr(
        getattr(torch.nn, row.layer)(*row.args, **row.kwargs)
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch's own
@each_row
def test_training_and_eval_agree_with_pytorch(row: Row) -> None:
    ours, theirs = both(row)
    compare(ours, theirs, row.shape)
    compare(ours.train(), theirs.train(), row.shape)  # again: statistics have moved
    ours.zero_grad()
    theirs.zero_grad()
    compare(ours.eval(), theirs.eval(), row.shape)


def test_indices_of_max_pool_are_pytorchs() -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 6, 6))
    _, ours = nn.MaxPool2d(2, return_indices=True)(minidl.tensor(values))
    _, theirs = torch.nn.MaxPool2d(2, return_indices=True)(torch.tensor(values))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("size", [(17, 16), (18, 15)])
def test_a_transposed_convolution_gives_the_size_asked_for(size: tuple[int, int]) -> None:
    wide = row("ConvTranspose2d", (1, 2, 9, 8), 2, 3, 3, stride=2, padding=1)
    ours, theirs = both(wide)
    values = np.random.default_rng(0).standard_normal(wide.shape)
    given = ours.forward(minidl.tensor(values), output_size=size)
    wanted = theirs(torch.tensor(values), output_size=size)
    np.testing.assert_allclose(given.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12)


class OurNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.scale = nn.Parameter(minidl.ones(4, 1, 1))
        self.register_buffer("mean", minidl.zeros(1))
        self.register_buffer("scratch", minidl.zeros(2), persistent=False)
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3, bias=False)})
        self.free = nn.ParameterList([minidl.zeros(2), minidl.zeros(3)])


class TheirNet(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        t = torch.nn
        self.stem = t.Sequential(t.Conv2d(1, 4, 3, padding=1, bias=False), t.BatchNorm2d(4), t.ReLU())
        self.scale = t.Parameter(torch.ones(4, 1, 1))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.blocks = t.ModuleList([t.Linear(4, 4) for _ in range(3)])
        self.heads = t.ModuleDict({"a": t.Linear(4, 2), "b": t.Linear(4, 3, bias=False)})
        self.free = t.ParameterList([torch.zeros(2), torch.zeros(3)])


def test_a_whole_net_has_pytorchs_names_in_pytorchs_order() -> None:
    ours, theirs = OurNet(), TheirNet()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert list(ours.state_dict(prefix="net.")) == list(theirs.state_dict(prefix="net."))
    del ours.free, theirs.free  # PyTorch's line for a weight names its class
    assert repr(ours) == repr(theirs).replace("TheirNet", "OurNet")
