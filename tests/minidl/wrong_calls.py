"""The table of wrong calls: for every error that a public docstring names, calls that provoke it, and what it says.

`test_wrong_calls.py` looks through the docstrings and fails where one names an error that has no row here. A message is
one sentence: the op, the argument by name, what is needed, what was given, and the way out where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl import Generator, Tensor, autograd, io, linalg, nn, ones, optim, tensor, testing, zeros
from minidl.amp import GradScaler
from minidl.autograd import forward_ad, functional
from minidl.device import kernel, parallel
from minidl.errors import (
    AnomalyError,
    ArgumentError,
    DeviceError,
    DTypeError,
    FileFormatError,
    GradError,
    KernelError,
    MinidlError,
    ShapeError,
    StateDictError,
)
from minidl.nn import functional as F
from minidl.optim import lr_scheduler
from minidl.utils import data
from minidl.utils.checkpoint import checkpoint
from tests.minidl.gallery import FAULTS


class WrongCall(NamedTuple):
    """A call and its error. `of` is the public name whose docstring documents it; the message starts so."""

    of: str
    error: type[Exception]
    call: Callable[[], Any]
    message: str


def scaled(*steps: str, dtype: Any = minidl.float32, **arguments: Any) -> None:
    """Call these methods of a GradScaler, one after the other, with an optimizer whose weight has a gradient."""
    weight = ones(2, dtype=dtype, requires_grad=True)
    weight.sum().backward()
    scaler, optimizer = GradScaler("cpu"), optim.SGD([weight], lr=0.1)
    for step in steps:
        getattr(scaler, step)(optimizer, **arguments)


class HidesLayers(nn.Module):
    def __init__(self) -> None:
        self.parts = [nn.Linear(2, 2)]


class Sleeps(data.Dataset[int]):
    def __getitem__(self, index: int) -> int:
        time.sleep(1)
        return index

    def __len__(self) -> int:
        return 1


class Fails(data.Dataset[int]):
    def __getitem__(self, index: int) -> int:
        raise LookupError("no such file")

    def __len__(self) -> int:
        return 2


class DrawsForSeveral(Fails):
    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [data.sample_generator() for _ in indices]


def written(name: str, content: bytes) -> Path:
    """A file in the folder that the test works in."""
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def with_gradient(value: float) -> Tensor:
    weight = ones(2, requires_grad=True)
    weight.grad = ones(2) * value
    return weight


def sgd() -> optim.SGD:
    return optim.SGD([ones(2, requires_grad=True)], lr=0.1)


def sequential() -> lr_scheduler.SequentialLR:
    optimizer = sgd()
    parts = [lr_scheduler.StepLR(optimizer, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.SequentialLR(optimizer, parts, [3])


def saved() -> io.Checkpoint:
    return io.read_checkpoint(io.save_checkpoint("run.safetensors", model=nn.Linear(3, 2)))


def in_anomaly_mode() -> None:
    with autograd.detect_anomaly():
        minidl.log(tensor([-1.0], requires_grad=True)).sum().backward()


def with_other_steps() -> None:
    runs = iter((1, 2))
    x = ones(2, requires_grad=True)
    checkpoint(lambda x: x.exp() if next(runs) == 1 else x.exp().exp(), x).sum().backward()


def with_a_changed_input() -> None:
    x = ones(2, requires_grad=True) * 1
    y = checkpoint(minidl.exp, x).sum()
    x.add_(1.0)
    y.backward()


def dual_without_recording() -> None:
    with forward_ad.dual_level(), minidl.no_grad():
        forward_ad.make_dual(ones(2), ones(2))


def dual_of_another_shape() -> None:
    with forward_ad.dual_level():
        forward_ad.make_dual(ones(2), ones(3))


def with_fault(name: str, check: Callable[[testing.Case], object]) -> Callable[[], object]:
    """`check` on the row of a fault of the gallery, while that fault is at work."""
    fault = next(f for f in FAULTS if f.name == name)

    def call() -> object:
        with fault.installed(), np.errstate(all="ignore"):
            return check(fault.case)

    return call


def on_row(check: Callable[..., object]) -> Callable[[testing.Case], object]:
    return lambda row: check(row.call, *row.inputs(dtype=np.float32 if check is testing.check_threads else np.float64))


def with_wrong_gradient(x: Tensor) -> Tensor:
    return x * x + (x * 0.1).detach()


def with_wrong_numbers(out: Any, x: Any) -> None:
    out[...] = np.exp(x) * 1.01


def with_gaps(out: Any, x: Any) -> None:
    out[1:] = np.exp(x[1:])


def walked_twice() -> None:
    y = (ones(2, requires_grad=True) ** 2).sum()
    y.backward()
    y.backward()


def changed_after_it_was_saved() -> None:
    x = ones(2, requires_grad=True) * 1
    y = (x * x).sum()
    x.add_(1.0)
    y.backward()


@kernel("T[::1]", T=("float32", "float64"))
def doubled(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        out[i] = 2 * out[i]


@kernel("T[::1]", T=("float32", "float64"))
def not_for_numba(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        out[i] = str.casefold(out[i])


@kernel("T[::1]", T=("float32", "float64"))
def divided(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        if out[i] == 0:
            raise ZeroDivisionError("a number is zero")


def fails(begin: int, end: int) -> None:
    raise ZeroDivisionError("block 0")


WRONG_CALLS = [
    WrongCall("minidl.Generator.set_state", FileFormatError, lambda: Generator(0).set_state({"seed": 1}),
              "set_state: the random state must be what get_state gave; this one fails with KeyError('counter')"),
    WrongCall("minidl.Tensor.item", ShapeError, lambda: zeros(2, 3).item(),
              "item: needs a tensor of one element, got shape (2, 3); index it or reduce it first"),
    WrongCall("minidl.Tensor.numpy", GradError, lambda: ones(2, requires_grad=True).numpy(),
              "numpy: the tensor requires a gradient; use x.detach().numpy()"),
    WrongCall("minidl.arange", ArgumentError, lambda: minidl.arange(0, 3, 0),
              "arange: step 0 does not lead from 0 to 3"),
    WrongCall("minidl.arange", ArgumentError, lambda: minidl.arange(0, 3, -1),
              "arange: step -1 does not lead from 0 to 3"),
    WrongCall("minidl.device", DeviceError, lambda: minidl.device("tpu"),
              "device: there is no device 'tpu'; known: 'cpu' and 'cuda'"),
    WrongCall("minidl.linspace", ArgumentError, lambda: minidl.linspace(0, 1, -2),
              "linspace: steps must be 0 or more, got -2"),
    WrongCall("minidl.load", FileFormatError, lambda: minidl.load(written("weights.pth", b"PK\x03\x04 and so on")),
              "weights.pth: is not a safetensors file but a zip archive, as PyTorch's .pth, Keras and .npz files "
              "are; if PyTorch wrote it, convert it once: safetensors.torch.save_file(torch.load(path, "
              "weights_only=True), new_path)"),
    WrongCall("minidl.load", FileFormatError, lambda: minidl.load(written("cut.safetensors", b"\x08")),
              "cut.safetensors: is not a safetensors file, or its beginning is damaged"),
    WrongCall("minidl.load", OSError, lambda: minidl.load("nothing.safetensors"),
              "No such file or directory: 'nothing.safetensors'"),
    WrongCall("minidl.save", ArgumentError, lambda: minidl.save({3: ones(2)}, "out.safetensors"),
              "save: names and metadata must be texts, and no tensor may be named '__metadata__'; got 3"),
    WrongCall("minidl.save", DTypeError, lambda: minidl.save({"c": np.ones(2, np.complex128)}, "out.safetensors"),
              "save: 'c' has element type complex128, which safetensors files do not have; convert it first"),
    WrongCall("minidl.save", FileFormatError,
              lambda: minidl.save({str(i): np.ones(0) for i in range(65537)}, "out.safetensors"),
              "out.safetensors: its header holds more than the 65536 tensors allowed"),
    WrongCall("minidl.save", FileFormatError,
              lambda: minidl.save({"w": ones(2)}, "out.safetensors", {"note": "x" * (1 << 24)}),
              "out.safetensors: has a header"),
    WrongCall("minidl.save", OSError, lambda: minidl.save({"w": ones(2)}, "no folder/out.safetensors"),
              "No such file or directory: 'no folder'"),
    WrongCall("minidl.set_compile", ArgumentError, lambda: minidl.set_compile("later"),
              "set_compile: mode must be 'wait', 'alone' or 'background', got 'later'"),
    WrongCall("minidl.set_num_threads", ValueError, lambda: minidl.set_num_threads(0),
              "set_num_threads: num must be at least 1, got 0"),
    WrongCall("minidl.use_deterministic", ArgumentError, lambda: minidl.use_deterministic("always"),
              "use_deterministic: mode must be 'threads' or 'batch', got 'always'"),
    WrongCall("minidl.use_kernel", KernelError, lambda: minidl.use_kernel("conv2d_fast", print).__enter__(),
              "there is no op named 'conv2d_fast'; near it: "),
    WrongCall("minidl.celu", ArgumentError, lambda: minidl.celu(ones(2), alpha=0),
              "celu: alpha must not be 0, for x is divided by it"),
    WrongCall("minidl.glu", ShapeError, lambda: minidl.glu(zeros(2, 3)),
              "glu: dimension -1 must have an even length, got 3"),
    WrongCall("minidl.prelu", ShapeError, lambda: minidl.prelu(zeros(2, 3), zeros(2)),
              "prelu: weight must have 1 or 3 elements beside input (2, 3), got (2,)"),
    WrongCall("minidl.softshrink", ArgumentError, lambda: minidl.softshrink(zeros(2), -1),
              "softshrink: lambd must be 0 or more, got -1"),
    WrongCall("minidl.rot90", ShapeError, lambda: minidl.rot90(zeros(2, 3), dims=(0, 0)),
              "rot90: dims must be two different dimensions of input (2, 3), got (0, 0)"),
    WrongCall("minidl.sum_to_size", ShapeError, lambda: minidl.sum_to_size(zeros(2, 3), 2, 2),
              "sum_to_size: size must have lengths of input (2, 3) or 1, from the last on, got (2, 2)"),
    WrongCall("minidl.matmul", ShapeError, lambda: minidl.matmul(zeros(2, 3), zeros(2, 3)),
              "matmul: input (2, 3) times other (2, 3): inner lengths 3 and 2 differ"),
    WrongCall("minidl.matmul", ShapeError, lambda: minidl.matmul(tensor(1.0), zeros(3)),
              "matmul: both operands need at least one dimension, got () and (3,); multiply by a single number "
              "with *"),
    WrongCall("minidl.adaptive_avg_pool2d", ShapeError, lambda: minidl.adaptive_avg_pool2d(zeros(1, 2, 5, 5), (2, -1)),
              "adaptive_avg_pool2d: output_size must be a whole number from 1 up, or 2 of them, got (2, -1)"),
    WrongCall("minidl.adaptive_avg_pool2d", DTypeError,
              lambda: minidl.adaptive_avg_pool2d(zeros(1, 2, 5, 5).long(), 2),
              "adaptive_avg_pool2d: input must be floating, got int64; use input.float()"),
    WrongCall("minidl.avg_pool2d", ShapeError, lambda: minidl.avg_pool2d(zeros(1, 2, 5, 5), 7),
              "avg_pool2d: a kernel of 7 x 7 (dilation 1 x 1) does not fit into an image of 5 x 5 with padding 0"),
    WrongCall("minidl.avg_pool2d", ShapeError, lambda: minidl.avg_pool2d(zeros(1, 2, 5, 5), 2, padding=2),
              "avg_pool2d: padding (2, 2) must be at most half of kernel_size (2, 2)"),
    WrongCall("minidl.avg_pool2d", DTypeError, lambda: minidl.avg_pool2d(zeros(1, 2, 5, 5).long(), 2),
              "avg_pool2d: input must be floating, got int64; use input.float()"),
    WrongCall("minidl.batch_norm", ShapeError, lambda: minidl.batch_norm(zeros(4, 3), zeros(2), ones(2)),
              "batch_norm: input (4, 3) has 3 channels, but running_mean has shape (2,)"),
    WrongCall("minidl.batch_norm", ShapeError, lambda: minidl.batch_norm(zeros(1, 3), None, None, training=True),
              "batch_norm: needs more than one value per channel to train, got input (1, 3)"),
    WrongCall("minidl.bilinear", ShapeError, lambda: minidl.bilinear(zeros(2, 3), zeros(2, 4), zeros(5, 3, 3)),
              "bilinear: needs (..., I), (..., J), weight (K, I, J) and bias (K,); got (2, 3), (2, 4), (5, 3, 3) "
              "and None"),
    WrongCall("minidl.isclose", ArgumentError, lambda: minidl.isclose(ones(2), ones(2), rtol=-1),
              "isclose: rtol and atol must be 0 or more, got -1 and 1e-08"),
    WrongCall("minidl.cat", ShapeError, lambda: minidl.cat([zeros(2, 3), zeros(2, 4)]),
              "cat: tensor 1 has shape (2, 4); beside (2, 3) only dimension 0 may differ"),
    WrongCall("minidl.cat", ShapeError, lambda: minidl.cat([]),
              "cat: tensors must hold at least one tensor, got none"),
    WrongCall("minidl.pad", ShapeError, lambda: minidl.pad(zeros(2, 3), (1, 2, 3)),
              "pad: needs whole numbers (before, after) for up to 2 dimensions, last one first, got (1, 2, 3)"),
    WrongCall("minidl.pad", ShapeError, lambda: minidl.pad(zeros(3), (1, 1, 1, 1)),
              "pad: needs whole numbers (before, after) for up to 1 dimensions, last one first, got (1, 1, 1, 1)"),
    WrongCall("minidl.pad", ShapeError, lambda: minidl.pad(zeros(1, 1, 3), (3, 0), mode="reflect"),
              "pad: mode 'reflect' can add 0 to 2 elements on each side of dimension 2 of length 3, got (3, 0)"),
    WrongCall("minidl.pad", MinidlError, lambda: minidl.pad(zeros(3), (1, 1), mode="mirror"),
              "pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got 'mirror'"),
    WrongCall("minidl.conv2d", ShapeError, lambda: minidl.conv2d(zeros(1, 3, 8, 8), zeros(4, 5, 3, 3)),
              "conv2d: input has 3 channels but weight (4, 5, 3, 3) takes 5 per group (groups=1)"),
    WrongCall("minidl.conv2d", ShapeError, lambda: minidl.conv2d(zeros(1, 4, 8, 8), zeros(3, 2, 3, 3), groups=2),
              "conv2d: weight makes 3 channels, which 2 groups do not divide"),
    WrongCall("minidl.conv2d", ShapeError, lambda: minidl.conv2d(zeros(1, 3, 2, 2), zeros(4, 3, 5, 5)),
              "conv2d: a kernel of 5 x 5 (dilation 1 x 1) does not fit into an image of 2 x 2 with padding 0"),
    WrongCall("minidl.conv2d", ShapeError, lambda: minidl.conv2d(zeros(3, 8), zeros(4, 3, 3, 3)),
              "conv2d: input must be (N, C, H, W) and weight have 4 dimensions, got (3, 8) and (4, 3, 3, 3)"),
    WrongCall("minidl.conv_algorithms", ShapeError, lambda: minidl.conv_algorithms((1, 3, 2, 2), (4, 3, 5, 5)),
              "conv_algorithms: a kernel of 5 x 5 (dilation 1 x 1) does not fit into an image of 2 x 2 with "
              "padding 0"),
    WrongCall("minidl.set_conv_algorithm", KernelError, lambda: minidl.set_conv_algorithm("fft"),
              "set_conv_algorithm: algorithm must be one of auto, direct, implicit, im2col, winograd, got 'fft'"),
    WrongCall("minidl.set_conv_precision", KernelError, lambda: minidl.set_conv_precision("low"),
              "set_conv_precision: precision must be one of exact, fast, got 'low'"),
    WrongCall("minidl.conv_gru_sequence", ShapeError,
              lambda: minidl.conv_gru_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 5), zeros(12, 2, 2), zeros(12, 4, 3)),
              "conv_gru_sequence: weight_ih must have a kernel of odd lengths, which keeps the size of the image,"
              " got (12, 2, 2)"),
    WrongCall("minidl.conv_gru_sequence", ShapeError,
              lambda: minidl.conv_gru_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 4), zeros(12, 2, 3), zeros(12, 4, 3)),
              "conv_gru_sequence: h0 must be (batch, hidden, *image) = (1, 4, 5), got (1, 4, 4)"),
    WrongCall("minidl.conv_gru_sequence", ArgumentError,
              lambda: minidl.conv_gru_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 5), zeros(12, 2, 3), zeros(12, 4, 3),
                  lengths=[4]),
              "conv_gru_sequence: lengths must be from 1 to the 3 steps of input, got 4 to 4"),
    WrongCall("minidl.conv_lstm_sequence", ShapeError,
              lambda: minidl.conv_lstm_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 5), zeros(1, 4, 5), zeros(16, 3, 3),
                  zeros(16, 4, 3)),
              "conv_lstm_sequence: weight_ih must be (16, 2, *kernel) beside weight_hh (16, 4, 3) and an input of"
              " 2 channels, got (16, 3, 3)"),
    WrongCall("minidl.conv_lstm_sequence", ShapeError,
              lambda: minidl.conv_lstm_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 5), zeros(1, 4, 5), zeros(16, 2, 3),
                  zeros(16, 4, 4)),
              "conv_lstm_sequence: weight_hh must have a kernel of odd lengths, which keeps the size of the "
              "image, got (16, 4, 4)"),
    WrongCall("minidl.conv_lstm_sequence", ArgumentError,
              lambda: minidl.conv_lstm_sequence(zeros(3, 1, 2, 5), zeros(1, 4, 5), zeros(1, 4, 5), zeros(16, 2, 3),
                  zeros(16, 4, 3), lengths=[0]),
              "conv_lstm_sequence: lengths must be from 1 to the 3 steps of input, got 0 to 0"),
    WrongCall("minidl.conv_transpose2d", ShapeError,
              lambda: minidl.conv_transpose2d(zeros(1, 3, 8, 8), zeros(4, 3, 3, 3)),
              "conv_transpose2d: input has 3 channels but weight (4, 3, 3, 3) takes 4 (groups=1)"),
    WrongCall("minidl.conv_transpose2d", ShapeError,
              lambda: minidl.conv_transpose2d(zeros(1, 3, 8, 8), zeros(3, 4, 3, 3), output_padding=1),
              "conv_transpose2d: output_padding (1, 1) must be less than stride (1, 1) or dilation (1, 1)"),
    WrongCall("minidl.conv_transpose2d", ShapeError,
              lambda: minidl.conv_transpose2d(zeros(1, 3, 8, 8), zeros(3, 4, 3, 3), groups=2),
              "conv_transpose2d: input has 3 channels but weight (3, 4, 3, 3) takes 3 (groups=2)"),
    WrongCall("minidl.cross_entropy", ShapeError, lambda: minidl.cross_entropy(zeros(4, 3), zeros(5).long()),
              "cross_entropy: target must be (4,) beside input (4, 3), got (5,)"),
    WrongCall("minidl.cross_entropy", ShapeError, lambda: minidl.cross_entropy(zeros(1, 3), tensor([3])),
              "cross_entropy: target 3 is no class; input has 3, from 0 to 2"),
    WrongCall("minidl.reduce_loss", MinidlError, lambda: minidl.reduce_loss(zeros(3), "average"),
              "loss: reduction must be 'mean', 'sum' or 'none', got 'average'"),
    WrongCall("minidl.cholesky", ArgumentError, lambda: minidl.cholesky(tensor([[1.0, 2.0], [2.0, 1.0]])),
              "cholesky: matrix is not positive definite; the matrix allows no answer: add a little to its "
              "diagonal, or use pinv or lstsq"),
    WrongCall("minidl.inverse", ShapeError, lambda: minidl.inverse(zeros(2, 3)),
              "inverse: needs square matrices (..., N, N), got (2, 3)"),
    WrongCall("minidl.inverse", ArgumentError, lambda: minidl.inverse(ones(2, 2)),
              "inverse: singular matrix; the matrix allows no answer: add a little to its diagonal, or use pinv "
              "or lstsq"),
    WrongCall("minidl.diag", ShapeError, lambda: minidl.diag(zeros(2, 2, 2)),
              "diag: input must have one or two dimensions, got (2, 2, 2); use diagonal or diag_embed"),
    WrongCall("minidl.diagonal_scatter", ShapeError, lambda: minidl.diagonal_scatter(zeros(3, 3), zeros(2)),
              "diagonal_scatter: src must be (3,), as the diagonal is; got (2,)"),
    WrongCall("minidl.dropout_by_key", MinidlError, lambda: minidl.dropout_by_key(zeros(2), zeros(2).long(), p=1.0),
              "dropout: p must be from 0 up to, not including, 1; got 1.0"),
    WrongCall("minidl.fold", ShapeError, lambda: minidl.fold(zeros(1, 9, 5), (4, 4), 3),
              "fold: input must be (N, a multiple of 9, 4) for images of (4, 4), got (1, 9, 5)"),
    WrongCall("minidl.fold", ShapeError, lambda: minidl.fold(zeros(1, 8, 4), (4, 4), 3),
              "fold: input must be (N, a multiple of 9, 4) for images of (4, 4), got (1, 8, 4)"),
    WrongCall("minidl.unfold", ShapeError, lambda: minidl.unfold(zeros(1, 1, 2, 2), 3),
              "unfold: a kernel of 3 x 3 (dilation 1 x 1) does not fit into an image of 2 x 2 with padding 0"),
    WrongCall("minidl.getitem", ShapeError, lambda: zeros(3)[5],
              "index: 5 is out of range for dimension 0 of length 3"),
    WrongCall("minidl.getitem", ShapeError, lambda: zeros(3)[0, 0],
              "index: 2 indices for a tensor of 1 dimensions"),
    WrongCall("minidl.getitem", DTypeError, lambda: zeros(3)[tensor([0.5])],
              "index: index tensors must hold whole numbers or bools, got float32"),
    WrongCall("minidl.setitem", GradError, lambda: minidl.setitem(ones(3, requires_grad=True), 0, 1.0),
              "copy_: a view of a leaf that requires a gradient, of shape (), cannot be changed in place while "
              "steps are recorded; use the op without the underscore, or no_grad()"),
    WrongCall("minidl.setitem", ShapeError, lambda: minidl.setitem(zeros(3), 5, 1.0),
              "index: 5 is out of range for dimension 0 of length 3"),
    WrongCall("minidl.setitem", ShapeError, lambda: minidl.setitem(zeros(3), slice(0, 2), zeros(3)),
              "copy_: shapes (2,) and (3,) do not broadcast; aligned at the right, lengths must be equal or 1"),
    WrongCall("minidl.triplet_margin_with_distance_loss", ArgumentError,
              lambda: minidl.triplet_margin_with_distance_loss(zeros(2, 3), zeros(2, 3), zeros(2, 3), margin=0),
              "triplet_margin_loss: margin must be above 0, got 0"),
    WrongCall("minidl.linear", ShapeError, lambda: minidl.linear(zeros(2, 3), zeros(4, 5)),
              "linear: input has 3 features, but weight (4, 5) takes 5"),
    WrongCall("minidl.max_pool2d", ShapeError, lambda: minidl.max_pool2d(zeros(1, 1, 3, 3), 4),
              "max_pool2d: a kernel of 4 x 4 (dilation 1 x 1) does not fit into an image of 3 x 3 with padding 0"),
    WrongCall("minidl.max_pool2d", ShapeError, lambda: minidl.max_pool2d(zeros(1, 1, 3, 3), 2, padding=2),
              "max_pool2d: padding (2, 2) must be at most half of kernel_size (2, 2)"),
    WrongCall("minidl.max_pool2d", ShapeError, lambda: minidl.max_pool2d(zeros(1, 1, 3, 3), 2, padding=1, dilation=4),
              "max_pool2d: with padding (1, 1) and dilation (4, 4) a window sees no pixel of the image (3, 3)"),
    WrongCall("minidl.instance_norm", ShapeError, lambda: minidl.instance_norm(zeros(1, 3, 1)),
              "instance_norm: needs more than one pixel in each channel, got input (1, 3, 1)"),
    WrongCall("minidl.layer_norm", ShapeError, lambda: minidl.layer_norm(zeros(2, 5), (4,)),
              "layer_norm: input (2, 5) must end in normalized_shape (4,)"),
    WrongCall("minidl.topk", ShapeError, lambda: minidl.topk(zeros(3), 5),
              "topk: k must be from 0 to 3, the length of dimension -1; got 5"),
    WrongCall("minidl.masked_scatter", ShapeError,
              lambda: minidl.masked_scatter(zeros(3), tensor([True, True, True]), zeros(2)),
              "masked_scatter: mask takes 3 elements, but source has 2"),
    WrongCall("minidl.scatter", ShapeError, lambda: minidl.scatter(zeros(2, 3), 0, zeros(3, 4).long(), zeros(3, 4)),
              "scatter: index (3, 4) must fit into src (3, 4), and into input (2, 3) but along dim 0"),
    WrongCall("minidl.scatter", ShapeError, lambda: minidl.scatter(zeros(2, 3), 0, tensor([[5]]), zeros(1, 1)),
              "scatter: index goes from 5 to 5, but must lie from 0 to 1"),
    WrongCall("minidl.nn.functional.fractional_max_pool2d", ArgumentError,
              lambda: F.fractional_max_pool2d(zeros(1, 2, 5, 5), 2, output_ratio=1.5),
              "fractional_max_pool2d: needs output_size, or output_ratio between 0 and 1, got 1.5"),
    WrongCall("minidl.nn.functional.fractional_max_pool2d", ShapeError,
              lambda: F.fractional_max_pool2d(zeros(1, 2, 5, 5), 3, 4),
              "fractional_max_pool2d: (4, 4) windows of (3, 3) pixels need at least their sum less 1, got (5, 5)"),
    WrongCall("minidl.nn.functional.fractional_max_pool2d", ArgumentError,
              lambda: F.fractional_max_pool2d(zeros(1, 2, 5, 5), 2),
              "fractional_max_pool2d: needs output_size, or output_ratio between 0 and 1, got None"),
    WrongCall("minidl.nn.functional.fractional_max_pool2d", ShapeError,
              lambda: F.fractional_max_pool2d(zeros(2, 5), 2, 1),
              "fractional_max_pool2d: input must be (N, C, H, W), not empty; got (2, 5)"),
    WrongCall("minidl.nn.functional.fractional_max_pool2d", ShapeError,
              lambda: F.fractional_max_pool2d(zeros(1, 2, 5, 5), 2, 1, _random_samples=zeros(1, 2)),
              "fractional_max_pool2d: _random_samples must be (1, 2, 2), or for more images, got (1, 2)"),
    WrongCall("minidl.nn.FractionalMaxPool2d", ArgumentError, lambda: nn.FractionalMaxPool2d(2),
              "FractionalMaxPool2d: needs either output_size or output_ratio, got None and None"),
    WrongCall("minidl.nn.FractionalMaxPool2d", ArgumentError, lambda: nn.FractionalMaxPool2d(2, 3, 0.5),
              "FractionalMaxPool2d: needs either output_size or output_ratio, got 3 and 0.5"),
    WrongCall("minidl.nn.AdaptiveLogSoftmaxWithLoss", ArgumentError,
              lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 2]),
              "AdaptiveLogSoftmaxWithLoss: cutoffs must be increasing whole numbers from 1 to n_classes - 1 = 9, got "
              "[2, 2]"),
    WrongCall("minidl.nn.AdaptiveLogSoftmaxWithLoss.forward", ShapeError,
              lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2])(zeros(3, 8), zeros(2).long()),
              "AdaptiveLogSoftmaxWithLoss: input must be (N, D) or (D,), and target (N,) or (), got (3, 8) and (2,)"),
    WrongCall("minidl.nn.AdaptiveLogSoftmaxWithLoss.forward", ArgumentError,
              lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2])(zeros(1, 8), tensor([10])),
              "AdaptiveLogSoftmaxWithLoss: targets must lie from 0 to 9, got 10 to 10"),
    # draws
    WrongCall("minidl.bernoulli", ArgumentError, lambda: minidl.bernoulli(tensor([0.5, 1.5])),
              "bernoulli: probabilities must be from 0 to 1"),
    WrongCall("minidl.multinomial", ShapeError, lambda: minidl.multinomial(zeros(2, 0), 1),
              "multinomial: input must be (C,) or (N, C) with classes, got (2, 0)"),
    WrongCall("minidl.multinomial", DTypeError, lambda: minidl.multinomial(tensor([1, 2]), 1),
              "multinomial: input must be floating, got int64; use input.float()"),
    WrongCall("minidl.multinomial", ArgumentError, lambda: minidl.multinomial(tensor([1.0, -1.0]), 1),
              "multinomial: weights must be finite and 0 or more"),
    WrongCall("minidl.multinomial", ArgumentError, lambda: minidl.multinomial(tensor([1.0, 0.0]), 2),
              "multinomial: num_samples must be from 1 up to the classes that have a weight, got 2; or draw with "
              "replacement"),
    WrongCall("minidl.normal", ArgumentError, lambda: minidl.normal(0.0, -1.0, (2,)),
              "normal: std must be 0 or more"),
    WrongCall("minidl.normal", ArgumentError, lambda: minidl.normal(zeros(2), 1.0, (2,)),
              "normal: size is needed where mean and std are numbers, and there alone"),
    WrongCall("minidl.normal", ArgumentError, lambda: minidl.normal(0.0, 1.0),
              "normal: size is needed where mean and std are numbers, and there alone"),
    WrongCall("minidl.poisson", ArgumentError, lambda: minidl.poisson(tensor([-1.0])),
              "poisson: means must be 0 or more"),
    WrongCall("minidl.bernoulli_", ArgumentError, lambda: zeros(2).bernoulli_(-0.1),
              "bernoulli_: probabilities must be from 0 to 1"),
    WrongCall("minidl.geometric_", ArgumentError, lambda: zeros(2).geometric_(0),
              "geometric_: p must be between 0 and 1, got 0"),
    WrongCall("minidl.random_", ArgumentError, lambda: zeros(2).random_(3, 3),
              "random_: low must be below high, got 3 and 3"),
    WrongCall("minidl.uniform_", ArgumentError, lambda: zeros(2).uniform_(1, 0),
              "uniform_: low must be at most high, got 1 and 0"),
    WrongCall("minidl.normal_", ArgumentError, lambda: zeros(2).normal_(0, -1),
              "normal_: std must be 0 or more, got -1"),
    WrongCall("minidl.cauchy_", ArgumentError, lambda: zeros(2).cauchy_(0, 0),
              "cauchy_: sigma must be above 0, got 0"),
    WrongCall("minidl.exponential_", ArgumentError, lambda: zeros(2).exponential_(0),
              "exponential_: lambd must be above 0, got 0"),
    WrongCall("minidl.log_normal_", ArgumentError, lambda: zeros(2).log_normal_(0, 0),
              "log_normal_: std must be above 0, got 0"),
    *(
        WrongCall(f"minidl.{name}", DTypeError, lambda name=name: getattr(zeros(2).long(), name)(),
                  f"{name}: the tensor must be floating, got int64")
        for name in ("cauchy_", "exponential_", "log_normal_", "normal_", "uniform_")
    ),
    *(
        WrongCall(f"minidl.{name}", error, lambda name=name, arguments=arguments: getattr(minidl, name)(*arguments()),
                  f"{name}: {message}")
        for name, error, arguments, message in (
            ("scatter_reduce", ArgumentError, lambda: (zeros(3), 0, tensor([0]), zeros(1), "max"),
             "reduce must be 'sum', 'prod', 'mean', 'amax' or 'amin', got 'max'"),
            ("scatter_reduce", ShapeError, lambda: (zeros(2, 3), 0, zeros(3, 4).long(), zeros(3, 4), "sum"),
             "index (3, 4) must fit into source (3, 4), and into input (2, 3) but along dim 0"),
            ("scatter_reduce", ShapeError, lambda: (zeros(2), 0, tensor([2]), zeros(1), "sum"),
             "index goes from 2 to 2, but must lie from 0 to 1"),
            ("scatter_reduce", DTypeError, lambda: (zeros(2), 0, tensor([0]), zeros(1).double(), "sum"),
             "source must be float32 as input is, and index hold whole numbers, got float64 and int64"),
            ("scatter_reduce", DTypeError, lambda: (zeros(2), 0, zeros(1), zeros(1), "sum"),
             "source must be float32 as input is, and index hold whole numbers, got float32 and float32"),
            ("index_reduce", ArgumentError, lambda: (zeros(3), 0, tensor([0]), zeros(1), "sum"),
             "reduce must be 'prod', 'mean', 'amax' or 'amin', got 'sum'; use index_add"),
            ("index_reduce", ShapeError, lambda: (zeros(3, 2), 0, tensor([0]), zeros(2, 2), "prod"),
             "index must be (n,) and source have n slices along dim 0, got (1,) and (2, 2)"),
            ("index_reduce", ShapeError, lambda: (zeros(3), 0, tensor([3]), zeros(1), "prod"),
             "index goes from 3 to 3, but must lie from 0 to 2"),
            ("index_reduce", DTypeError, lambda: (zeros(3), 0, tensor([0]), zeros(1).double(), "prod"),
             "source must be float32 as input is, and index hold whole numbers, got float64 and int64"),
            ("index_reduce", DTypeError, lambda: (zeros(3), 0, zeros(1), zeros(1), "prod"),
             "source must be float32 as input is, and index hold whole numbers, got float32 and float32"),
        )
    ),
    WrongCall("minidl.max_pool_at", ShapeError, lambda: minidl.max_pool_at(zeros(1, 1, 4), kernel_size=2),
              "max_pool_at: input must be (N, C, *image) and starts (N, C, windows) for each of 0 dimensions, got "
              "(1, 1, 4) and []"),
    WrongCall("minidl.max_pool_at", ShapeError,
              lambda: minidl.max_pool_at(zeros(1, 1, 4), Tensor.of(np.array([[[3]]])), kernel_size=2),
              "max_pool_at: windows of 2 pixels must begin from 0 to 2 to lie in the image (4,), got 3 to 3"),
    WrongCall("minidl.adaptive_max_pool2d", ShapeError, lambda: minidl.adaptive_max_pool2d(zeros(1, 2, 5, 5), (2, -1)),
              "adaptive_max_pool2d: output_size must be a whole number from 0 up, or 2 of them, got (2, -1)"),
    WrongCall("minidl.max_unpool2d", ShapeError,
              lambda: minidl.max_unpool2d(zeros(1, 1, 2, 2), zeros(1, 1, 2, 3).long(), 2),
              "max_unpool2d: input must have 3 or 4 dimensions and indices (int64) its shape, got (1, 1, 2, 2) "
              "and int64 (1, 1, 2, 3)"),
    WrongCall("minidl.max_unpool2d", ShapeError, lambda: minidl.max_unpool2d(zeros(1, 1, 1, 1), tensor([[[[9]]]]), 2),
              "max_unpool2d: indices must lie from 0 to 3, the pixels of (2, 2), got 9 to 9"),
    WrongCall("minidl.einsum", ArgumentError, lambda: minidl.einsum("ij,jk", zeros(2, 3)),
              "einsum: 'ij,jk' names 2 operands, got 1"),
    WrongCall("minidl.channel_shuffle", ShapeError, lambda: minidl.channel_shuffle(zeros(1, 4, 2, 2), 3),
              "channel_shuffle: input must be (N, C, ...), C a multiple of 3; got (1, 4, 2, 2)"),
    WrongCall("minidl.pixel_shuffle", ShapeError, lambda: minidl.pixel_shuffle(zeros(1, 3, 2, 2), 2),
              "pixel_shuffle: input must be (..., C, H, W) with C a multiple of 4, got (1, 3, 2, 2)"),
    WrongCall("minidl.interpolate", ShapeError, lambda: minidl.interpolate(zeros(1, 1, 4, 4), size=(2, 2, 2)),
              "interpolate: size must be a whole number from 1 up, or 2 of them, got (2, 2, 2)"),
    WrongCall("minidl.interpolate", ShapeError, lambda: minidl.interpolate(zeros(1, 1, 4, 4)),
              "interpolate: give either size or scale_factor, got neither"),
    WrongCall("minidl.interpolate", DTypeError,
              lambda: minidl.interpolate(zeros(1, 1, 4, 4).long(), size=2, mode="bilinear"),
              "interpolate: mode 'bilinear' needs a floating input, got int64; use input.float()"),
    WrongCall("minidl.interpolate", MinidlError, lambda: minidl.interpolate(zeros(1, 1, 4, 4), size=2, mode="smooth"),
              "interpolate: mode for input (1, 1, 4, 4) must be one of ['nearest', 'nearest-exact', 'area', "
              "'bilinear', 'bicubic'], got 'smooth'"),
    WrongCall("minidl.gru_sequence", ShapeError,
              lambda: minidl.gru_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 6, 3), zeros(1, 6, 2), zeros(1,
                  6), zeros(1, 6)),
              "gru_sequence: input must be (steps, batch, 3) beside weight_ih (1, 6, 3), with at least one step, "
              "got (5, 3, 4)"),
    WrongCall("minidl.gru_sequence", ArgumentError,
              lambda: minidl.gru_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 6, 4), zeros(1, 6, 2), zeros(1,
                  6), zeros(1, 6), [1, 2, 6]),
              "gru_sequence: lengths must be from 1 to the 5 steps of input, got 1 to 6"),
    WrongCall("minidl.lstm_sequence", ShapeError,
              lambda: minidl.lstm_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 3, 3), zeros(1, 8, 4), zeros(1,
                  8, 2), zeros(1, 8)),
              "lstm_sequence: c0 must be (directions, batch, hidden_size) = (1, 3, 2), got (1, 3, 3)"),
    WrongCall("minidl.lstm_sequence", ArgumentError,
              lambda: minidl.lstm_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 3, 2), zeros(1, 8, 4), zeros(1,
                  8, 2), zeros(1, 8), [0, 1, 2]),
              "lstm_sequence: lengths must be from 1 to the 5 steps of input, got 0 to 2"),
    WrongCall("minidl.projected_lstm_sequence", ShapeError,
              lambda: minidl.projected_lstm_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 3, 6), zeros(1, 24, 4),
                  zeros(1, 24, 2), zeros(1, 24), zeros(1, 3, 6)),
              "projected_lstm_sequence: h0 must be (1, 3, 3) beside weight_hr (1, 3, 6), got (1, 3, 2)"),
    WrongCall("minidl.projected_lstm_sequence", ArgumentError,
              lambda: minidl.projected_lstm_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 3, 6), zeros(1, 24, 4),
                  zeros(1, 24, 2), zeros(1, 24), zeros(1, 2, 6), [9, 1, 1]),
              "projected_lstm_sequence: lengths must be from 1 to the 5 steps of input, got 1 to 9"),
    WrongCall("minidl.rnn_sequence", ShapeError,
              lambda: minidl.rnn_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 2, 4), zeros(1, 2, 3), zeros(1,
                  2)),
              "rnn_sequence: weight_hh must be (directions, 1 * hidden_size, hidden_size) with 1 or 2 directions,"
              " got (1, 2, 3)"),
    WrongCall("minidl.rnn_sequence", ArgumentError,
              lambda: minidl.rnn_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 2, 4), zeros(1, 2, 2), zeros(1,
                  2), [0, 1, 2]),
              "rnn_sequence: lengths must be from 1 to the 5 steps of input, got 0 to 2"),
    WrongCall("minidl.rnn_sequence", ArgumentError,
              lambda: minidl.rnn_sequence(zeros(5, 3, 4), zeros(1, 3, 2), zeros(1, 2, 4), zeros(1, 2, 2), zeros(1,
                  2), nonlinearity="elu"),
              "rnn_sequence: nonlinearity must be 'tanh' or 'relu', got 'elu'"),
    WrongCall("minidl.positive", DTypeError, lambda: minidl.positive(tensor([True])),
              "positive: bools have no sign; convert them first, as by input.int()"),
    WrongCall("minidl.soft_dice_loss", ShapeError, lambda: minidl.soft_dice_loss(zeros(2, 3, 4), zeros(2, 5).long()),
              "soft_dice_loss: input must be (N, C, d1, ...) and target (N, d1, ...) or of the same shape, got "
              "(2, 3, 4) and (2, 5)"),
    WrongCall("minidl.polygamma", ArgumentError, lambda: minidl.polygamma(-1, ones(2)),
              "polygamma: n must be 0 or more, got -1"),
    WrongCall("minidl.quantile", ArgumentError, lambda: minidl.quantile(ones(3), 1.5),
              "quantile: q must lie from 0 to 1, got 1.5"),
    WrongCall("minidl.quantile", ArgumentError, lambda: minidl.quantile(ones(3), 0.5, interpolation="spline"),
              "quantile: interpolation must be one of linear, lower, higher, nearest, midpoint; got 'spline'"),
    WrongCall("minidl.clamp", ArgumentError, lambda: minidl.clamp(ones(3)),
              "clamp: needs min, max or both; got neither"),
    WrongCall("minidl.expand", ShapeError, lambda: minidl.expand(zeros(2, 3), 2, 4),
              "expand: a tensor of shape (2, 3) cannot be expanded to (2, 4); only length 1 can grow"),
    WrongCall("minidl.movedim", ShapeError, lambda: minidl.movedim(zeros(2, 3), (0, 1), (0,)),
              "movedim: source (0, 1) and destination (0,) must name as many dimensions, each once"),
    WrongCall("minidl.movedim", ShapeError, lambda: minidl.movedim(zeros(2, 3), (0, 0), (0, 1)),
              "movedim: source (0, 0) and destination (0, 1) must name as many dimensions, each once"),
    WrongCall("minidl.permute", ShapeError, lambda: minidl.permute(zeros(2, 3), 0, 0),
              "permute: dims must name each of 2 dimensions once, got (0, 0)"),
    WrongCall("minidl.reshape", ShapeError, lambda: minidl.reshape(zeros(2, 3), 4, 2),
              "reshape: a tensor of shape (2, 3) (6 elements) cannot take shape (4, 2)"),
    WrongCall("minidl.autograd.backward", GradError, lambda: autograd.backward(ones(1)),
              "backward: the tensor does not require a gradient; set requires_grad=True on its inputs"),
    WrongCall("minidl.autograd.backward", GradError, lambda: autograd.backward(ones(2, requires_grad=True) * 2),
              "backward: a tensor of shape (2,) needs the argument gradient; or use .sum()"),
    WrongCall("minidl.autograd.backward", GradError,
              lambda: autograd.backward(ones(2, requires_grad=True) * 2, ones(3)),
              "backward: gradient must have shape (2,), got (3,)"),
    WrongCall("minidl.autograd.detect_anomaly", AnomalyError, lambda: in_anomaly_mode(),
              "log: its result is nan at (0,), the first place that is not finite; inputs: (1,) float32"),
    WrongCall("minidl.autograd.grad", GradError, lambda: autograd.grad(ones(1, requires_grad=True) * 2, ones(1)),
              "grad: inputs[0] does not require a gradient; set requires_grad=True on it before it is used"),
    WrongCall("minidl.autograd.grad", GradError,
              lambda: autograd.grad(ones(1, requires_grad=True) * 2, ones(1, requires_grad=True)),
              "grad: inputs[0], of shape (1,), has no part in the outputs; allow_unused=True gives None for it, "
              "materialize_grads=True zeros"),
    WrongCall("minidl.autograd.grad", GradError,
              lambda: autograd.grad(ones(2, requires_grad=True) * 2, ones(2, requires_grad=True)),
              "grad: a tensor of shape (2,) needs the argument grad_outputs; or use .sum()"),
    WrongCall("minidl.autograd.functional.vjp", GradError,
              lambda: functional.vjp(lambda x: ones(2), ones(2), ones(2), strict=True),
              "vjp: an output does not depend on the inputs; strict=False takes its derivative as zero"),
    WrongCall("minidl.autograd.functional.vjp", ShapeError, lambda: functional.vjp(lambda x: x * 2, ones(2), ones(3)),
              "vjp: v must have the shapes of the outputs, [(2,)], got [(3,)]"),
    WrongCall("minidl.autograd.forward_ad.make_dual", GradError, lambda: forward_ad.make_dual(ones(2), ones(2)),
              "make_dual: needs a level; put it into `with minidl.autograd.forward_ad.dual_level():`"),
    WrongCall("minidl.autograd.forward_ad.make_dual", GradError, lambda: dual_without_recording(),
              "make_dual: steps must be recorded; leave the no_grad block"),
    WrongCall("minidl.autograd.forward_ad.make_dual", GradError, lambda: dual_of_another_shape(),
              "make_dual: tangent must be as tensor, (2,) float32, got (3,) float32"),
    WrongCall("minidl.nn.Module.named_parameters", ArgumentError, lambda: list(HidesLayers().named_parameters()),
              "HidesLayers.parts is a plain list that holds a Linear, whose weights would be neither trained nor "
              "saved; make it an nn.ModuleList, or a tuple if that is on purpose"),
    WrongCall("minidl.nn.Module.load_state_dict", StateDictError,
              lambda: nn.Linear(3, 2).load_state_dict({"weight": zeros(2, 4), "scale": ones(1)}),
              "load_state_dict: the state does not fit Linear, nothing was changed; missing: bias; unexpected: "
              "scale; of another shape: weight is (2, 4) but must be (2, 3)"),
    WrongCall("minidl.nn.utils.clip_grad_norm_", GradError,
              lambda: nn.utils.clip_grad_norm_(with_gradient(float("nan")), 1.0, error_if_nonfinite=True),
              "clip_grad_norm_: a gradient is NaN or infinite; lower the learning rate or find the cause"),
    WrongCall("minidl.nn.utils.clip_grad_value_", ArgumentError,
              lambda: nn.utils.clip_grad_value_(with_gradient(1.0), -1.0),
              "clip_grad_value_: clip_value must be 0 or more, got -1.0"),
    WrongCall("minidl.nn.utils.clip_grads_with_norm_", ArgumentError,
              lambda: nn.utils.clip_grads_with_norm_(with_gradient(1.0), -1.0, ones(1)),
              "clip_grads_with_norm_: max_norm must be 0 or more, got -1.0"),
    WrongCall("minidl.nn.utils.get_total_norm", GradError,
              lambda: nn.utils.get_total_norm(tensor([float("inf")]), error_if_nonfinite=True),
              "get_total_norm: a gradient is NaN or infinite; lower the learning rate or find the cause"),
    WrongCall("minidl.nn.utils.remove_spectral_norm", ArgumentError,
              lambda: nn.utils.remove_spectral_norm(nn.Linear(2, 2)),
              "remove_spectral_norm: Linear.weight is not made by spectral_norm"),
    WrongCall("minidl.nn.utils.remove_weight_norm", ArgumentError,
              lambda: nn.utils.remove_weight_norm(nn.Linear(2, 2)),
              "remove_weight_norm: Linear.weight is not made by weight_norm"),
    WrongCall("minidl.nn.utils.spectral_norm", ArgumentError, lambda: nn.utils.spectral_norm(nn.ReLU()),
              "spectral_norm: ReLU has no parameter 'weight'; it has none"),
    WrongCall("minidl.nn.utils.spectral_norm", ArgumentError,
              lambda: nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0),
              "spectral_norm: n_power_iterations must be at least 1, got 0"),
    WrongCall("minidl.nn.utils.vector_to_parameters", ShapeError,
              lambda: nn.utils.vector_to_parameters(zeros(3), nn.Linear(2, 2).parameters()),
              "vector_to_parameters: vec must be (6,), as many as the parameters have, got (3,)"),
    WrongCall("minidl.nn.utils.weight_norm", ArgumentError, lambda: nn.utils.weight_norm(nn.Linear(2, 2), "kernel"),
              "weight_norm: Linear has no parameter 'kernel'; it has weight, bias"),
    WrongCall("minidl.nn.utils.rnn.pack_padded_sequence", ShapeError,
              lambda: nn.utils.rnn.pack_padded_sequence(zeros(5, 3, 2), [5, 4]),
              "pack_padded_sequence: lengths must be one whole number for each of 3 rows, got int64 of shape (2,)"),
    WrongCall("minidl.nn.utils.rnn.pack_padded_sequence", ArgumentError,
              lambda: nn.utils.rnn.pack_padded_sequence(zeros(5, 3, 2), [6, 4, 1]),
              "pack_padded_sequence: lengths must be from 1 to the 5 steps of input, got 1 to 6"),
    WrongCall("minidl.nn.utils.rnn.pack_padded_sequence", ArgumentError,
              lambda: nn.utils.rnn.pack_padded_sequence(zeros(5, 3, 2), [1, 4, 5]),
              "pack_padded_sequence: lengths must fall, got [1, 4, 5]; pass enforce_sorted=False to sort rows"),
    WrongCall("minidl.nn.utils.rnn.pad_packed_sequence", ArgumentError,
              lambda: nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.pack_padded_sequence(zeros(5, 1, 2), [5]),
                  total_length=4),
              "pad_packed_sequence: total_length must be at least 5, got 4"),
    WrongCall("minidl.optim.Optimizer", ArgumentError, lambda: optim.SGD([], lr=0.1),
              "SGD: got no parameters; either the model has none, or model.parameters() was used up before"),
    WrongCall("minidl.optim.Optimizer", ArgumentError, lambda: optim.SGD(2 * [ones(2, requires_grad=True)], lr=0.1),
              "SGD: parameter 1 (2,) was given twice; give each once"),
    WrongCall("minidl.optim.Optimizer", ArgumentError, lambda: optim.Adam([ones(2, requires_grad=True)], lr=-0.1),
              "Adam: lr must be 0 or more, got -0.1"),
    WrongCall("minidl.optim.Optimizer.load_state_dict", StateDictError,
              lambda: sgd().load_state_dict({"state": {}, "param_groups": []}),
              "SGD: the state is for groups of [] weights, this optimizer has [1]"),
    WrongCall("minidl.optim.Optimizer.load_state_dict", StateDictError, lambda: sgd().load_state_dict({"lr": 0.1}),
              "SGD: a state needs the keys 'state' and 'param_groups', as state_dict() gives them"),
    WrongCall("minidl.optim.lr_scheduler.ChainedScheduler.load_state_dict", StateDictError,
              lambda: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(sgd(),
                  2)]).load_state_dict({"step_size": 2}),
              "ChainedScheduler: the state has 0 parts, this one 1"),
    WrongCall("minidl.optim.lr_scheduler.LRScheduler.load_state_dict", StateDictError,
              lambda: lr_scheduler.StepLR(sgd(), 2).load_state_dict({"T_max": 3}),
              "StepLR: the state must have the keys base_lrs, gamma, last_epoch, step_size; got T_max"),
    WrongCall("minidl.optim.lr_scheduler.ReduceLROnPlateau.load_state_dict", StateDictError,
              lambda: lr_scheduler.ReduceLROnPlateau(sgd()).load_state_dict({"T_max": 3}),
              "ReduceLROnPlateau: the state must have the keys best, cooldown, cooldown_counter, eps, factor, "
              "last_epoch, min_lrs, mode, num_bad_epochs, patience, threshold, threshold_mode; got T_max"),
    WrongCall("minidl.optim.lr_scheduler.SequentialLR.load_state_dict", StateDictError,
              lambda: sequential().load_state_dict({"T_max": 3}),
              "SequentialLR: the state has 0 parts, this one 2"),
    WrongCall("minidl.utils.data.ChainDataset", ArgumentError,
              lambda: data.ChainDataset([data.TensorDataset(zeros(3))]),
              "ChainDataset: data set 0 is a TensorDataset, not an IterableDataset; use ConcatDataset for data "
              "sets that are indexed"),
    WrongCall("minidl.utils.data.DataLoader", ArgumentError,
              lambda: data.DataLoader([1, 2], shuffle=True, sampler=[0, 1]),
              "DataLoader: give either sampler or shuffle, got both; a sampler has an order of its own"),
    WrongCall("minidl.utils.data.DataLoader", MinidlError,
              lambda: list(data.DataLoader(Sleeps(), num_workers=1, timeout=0.1)),
              "DataLoader: no batch came within 0.1 s while fetching samples 0 of epoch 0; the data set hangs, or"
              " is slow"),
    WrongCall("minidl.utils.data.DataLoader", Exception, lambda: list(data.DataLoader(Fails(), batch_size=2)),
              "no such file"),
    WrongCall("minidl.utils.data.DataLoader.load_state_dict", StateDictError,
              lambda: data.DataLoader([1, 2]).load_state_dict(data.DataLoader([1, 2, 3]).state_dict()),
              "DataLoader: samples was 3 in the state, and is 2 here"),
    WrongCall("minidl.utils.data.StackDataset", ShapeError,
              lambda: data.StackDataset(data.TensorDataset(zeros(3)), data.TensorDataset(zeros(4))),
              "StackDataset: data sets must be equally long, and at least one, got lengths [3, 4]"),
    WrongCall("minidl.utils.data.StackDataset", ShapeError, lambda: data.StackDataset(),
              "StackDataset: data sets must be equally long, and at least one, got lengths []"),
    WrongCall("minidl.utils.data.TensorDataset", ShapeError, lambda: data.TensorDataset(zeros(3), zeros(4)),
              "TensorDataset: tensors must be equally long, got lengths [3, 4]"),
    WrongCall("minidl.utils.data.default_collate", ShapeError, lambda: data.default_collate([zeros(2), zeros(3)]),
              "collate: samples must have one shape, got [(2,), (3,)]; pass collate_fn"),
    WrongCall("minidl.utils.data.default_collate", ShapeError, lambda: data.default_collate([(1, 2), (1,)]),
              "collate: samples must have as many parts as each other, got [1, 2]; pass collate_fn"),
    WrongCall("minidl.utils.data.default_collate", DTypeError, lambda: data.default_collate([object(), object()]),
              "collate: cannot batch samples of type object; pass collate_fn"),
    WrongCall("minidl.utils.data.random_split", ShapeError,
              lambda: data.random_split(data.TensorDataset(zeros(5)), [3, 3]),
              "random_split: lengths [3, 3] must add up to 1 or to the 5 samples"),
    WrongCall("minidl.utils.data.sample_generator", MinidlError, lambda: data.sample_generator(),
              "sample_generator: there is one only while a DataLoader fetches a sample; elsewhere make a "
              "Generator(seed)"),
    WrongCall("minidl.utils.data.sample_generator", MinidlError,
              lambda: list(data.DataLoader(DrawsForSeveral(), batch_size=2)),
              "sample_generator: several samples are fetched at once; give the index of one"),
    WrongCall("minidl.utils.checkpoint.checkpoint", GradError, lambda: with_a_changed_input(),
              "checkpoint: its input of shape (2,) must be as it was in the forward pass to run again, but add_ "
              "has changed it in place since; change a clone() of it, or use the op without the underscore"),
    WrongCall("minidl.utils.checkpoint.checkpoint", GradError, lambda: with_other_steps(),
              "checkpoint: the function took 1 steps in the forward pass, but 2, or others, when it ran again; it"
              " must do the same each time, so keep out what changes from call to call"),
    WrongCall("minidl.io.Checkpoint.restore", FileFormatError, lambda: saved().restore(optimizer=sgd()),
              "checkpoint: holds no state for 'optimizer'; it has model"),
    WrongCall("minidl.io.Checkpoint.restore", FileFormatError,
              lambda: io.Checkpoint({}, position={}, arrays={}, random={}).restore(),
              "set_state: the random state must be what get_state gave; this one fails with KeyError('counter')"),
    WrongCall("minidl.io.Checkpoint.restore", Exception, lambda: saved().restore(model=nn.Linear(5, 5)),
              "load_state_dict: the state does not fit Linear, nothing was changed; of another shape: weight is "
              "(2, 3) but must be (5, 5), bias is (2,) but must be (5,)"),
    WrongCall("minidl.io.CheckpointFolder.save", OSError, lambda: io.CheckpointFolder(written("a file", b"")).save(),
              "File exists: 'a file'"),
    WrongCall("minidl.io.CheckpointFolder.newest", FileFormatError,
              lambda: io.CheckpointFolder(written("run/checkpoint-000001.safetensors", b"?").parent).newest(),
              "run: all its checkpoints are damaged; start a new run"),
    WrongCall("minidl.io.CheckpointFolder.best", FileFormatError,
              lambda: io.CheckpointFolder(written("run/best.safetensors", b"?").parent).best(),
              "run/best.safetensors: is not a safetensors file, or its beginning is damaged"),
    WrongCall("minidl.io.read_checkpoint", FileFormatError,
              lambda: io.read_checkpoint(minidl.save({"w": ones(2)}, "w.safetensors")),
              "w.safetensors: holds weights, but is not a checkpoint; read it with minidl.load"),
    WrongCall("minidl.io.read_checkpoint", FileFormatError, lambda: io.read_checkpoint(written("x.safetensors", b"?")),
              "x.safetensors: is not a safetensors file, or its beginning is damaged"),
    WrongCall("minidl.io.read_checkpoint", OSError, lambda: io.read_checkpoint("nothing.safetensors"),
              "No such file or directory: 'nothing.safetensors'"),
    WrongCall("minidl.io.save_checkpoint", FileFormatError,
              lambda: io.save_checkpoint("c.safetensors", position={"when": object()}),
              "checkpoint: position.when is of type object, which is neither a number, text, list, dict nor array"),
    WrongCall("minidl.io.save_checkpoint", FileFormatError,
              lambda: io.save_checkpoint("c.safetensors", position={"note": "x" * (1 << 24)}),
              "c.safetensors: has a header"),
    WrongCall("minidl.io.save_checkpoint", DTypeError,
              lambda: io.save_checkpoint("c.safetensors", arrays={"c": np.ones(2, np.complex64)}),
              "save: 'arrays.c' has element type complex64, which safetensors files do not have; convert it first"),
    WrongCall("minidl.io.save_checkpoint", OSError, lambda: io.save_checkpoint("no folder/c.safetensors"),
              "No such file or directory: 'no folder'"),
    WrongCall("minidl.io.write_bytes", OSError, lambda: io.write_bytes("no folder/c.bin", b""),
              "No such file or directory: 'no folder'"),
    WrongCall("minidl.testing.check_case", GradError, with_fault("sign_lost", testing.check_case),
              "check_gradient: along direction 0 backward gives "),
    WrongCall("minidl.testing.check_case", KernelError, with_fault("half_a_pixel_off", testing.check_case),
              "at (0, 0, 1) it gives "),
    *(WrongCall(f"minidl.testing.{check.__name__}", error, with_fault(fault, on_row(check)), message)
      for check, error, fault, message in (
        (testing.check_empty, KernelError, "at_least_one_row", "with dimension 0 of size 0 it raises IndexError: "),
        (testing.check_forward_mode, GradError, "gradient_clipped_inside", "forward mode gives "),
        (testing.check_jacobian, GradError, "sign_lost", "the derivative of element 0 of the results by element 0 of "),
        (testing.check_layouts, KernelError, "memory_order_for_index_order", "is another for inputs with transposed "),
        (testing.check_memory, KernelError, "remainder_forgotten", "the result depends on what its memory held before"),
        (testing.check_purity, KernelError, "input_as_scratch", "the call changed input 0; it may only write to its "),
        (testing.check_saved, GradError, "change_of_the_input_unseen", "input 0 was changed in place after the call"),
        (testing.check_threads, KernelError, "a_part_for_each_thread", "the result differs between 1 and "))),
    WrongCall("minidl.testing.check_exact", KernelError,
              with_fault("last_tile_forgotten", lambda row: testing.check_exact(row.call, *row.whole_inputs())),
              "matmul: whole numbers leave nothing to round, but at (0, 0) the kernel gives "),
    WrongCall("minidl.testing.check_special_values", KernelError,
              with_fault("nan_is_not_positive", lambda row: testing.check_special_values(row.call, row.special)),
              "for (nan) in float32 it gives 0.0, expected nan"),
    WrongCall("minidl.testing.check_gradient", GradError,
              lambda: testing.check_gradient(with_wrong_gradient, tensor([1.0, 2.0], dtype=np.float64)),
              "check_gradient: along direction 0 backward gives "),
    WrongCall("minidl.testing.check_kernel", KernelError,
              lambda: testing.check_kernel("exp", with_wrong_numbers, [(8,)]),
              "exp: at (0,) the kernel"),
    WrongCall("minidl.testing.check_kernel", KernelError, lambda: testing.check_kernel("exp", with_gaps, [(8,)]),
              "exp: the kernel and the reference differ in NaN at (0,)"),
    WrongCall("minidl.linalg.solve", ShapeError, lambda: linalg.solve(zeros(2, 2), zeros(3, 1)),
              "solve: A (2, 2) needs B of 2 rows, got (3, 1)"),
    WrongCall("minidl.linalg.solve", ArgumentError, lambda: linalg.solve(zeros(2, 2), zeros(2, 1)),
              "solve: singular matrix; the matrix allows no answer: add a little to its diagonal, or use pinv or "
              "lstsq"),
    WrongCall("minidl.core.Node.saved", GradError, lambda: walked_twice(),
              "backward: the values saved by pow were freed by an earlier backward; call that one with "
              "retain_graph=True, or run the forward pass again"),
    WrongCall("minidl.core.Node.saved", GradError, lambda: changed_after_it_was_saved(),
              "backward: mul still needs its input x, of shape (2,), as it was in the forward pass, but add_ has "
              "changed it in place since (it is at version 1); change a clone() of it, or use the op without the "
              "underscore"),
    WrongCall("minidl.core.dim_index", ShapeError, lambda: minidl.sum(zeros(2, 3), 4),
              "sum: dim 4 does not exist; the tensor has 2 dimensions"),
    WrongCall("minidl.core.update", GradError, lambda: minidl.add_(ones(2, requires_grad=True), 1.0),
              "add_: a leaf that requires a gradient, of shape (2,), cannot be changed in place while steps are "
              "recorded; use the op without the underscore, or no_grad()"),
    WrongCall("minidl.core.update", GradError, lambda: minidl.add_(ones(2, requires_grad=True)[0], 1.0),
              "add_: a view of a leaf that requires a gradient, of shape (), cannot be changed in place while "
              "steps are recorded; use the op without the underscore, or no_grad()"),
    WrongCall("minidl.amp.GradScaler", ArgumentError, lambda: GradScaler("cpu", growth_factor=1.0),
              "GradScaler: growth_factor must be above 1 and backoff_factor below, got 1.0 and 0.5"),
    WrongCall("minidl.amp.GradScaler", ArgumentError, lambda: GradScaler("cpu", backoff_factor=1.0),
              "GradScaler: growth_factor must be above 1 and backoff_factor below, got 2.0 and 1.0"),
    WrongCall("minidl.amp.GradScaler.unscale_", GradError, lambda: scaled("unscale_", "unscale_"),
              "GradScaler: unscale_ was called twice since the last update(); once is enough"),
    WrongCall("minidl.amp.GradScaler.unscale_", GradError, lambda: scaled("step", "unscale_"),
              "GradScaler: unscale_ was called after step; call it before, and update() after"),
    WrongCall("minidl.amp.GradScaler.unscale_", DTypeError, lambda: scaled("unscale_", dtype=minidl.float16),
              "GradScaler: gradients are float16, so unscaled they would round to zero; keep weights float32"),
    WrongCall("minidl.amp.GradScaler.step", GradError, lambda: scaled("step", "step"),
              "GradScaler: step was called twice since the last update(); call update() after each round"),
    WrongCall("minidl.amp.GradScaler.step", ArgumentError, lambda: scaled("step", closure=lambda: 0),
              "GradScaler: step takes no closure; compute the loss before, and scale it"),
    WrongCall("minidl.amp.GradScaler.update", GradError, lambda: GradScaler("cpu").update(),
              "GradScaler: update needs a step or an unscale_ before it"),
    WrongCall("minidl.amp.GradScaler.load_state_dict", StateDictError, lambda: GradScaler("cpu").load_state_dict({}),
              "GradScaler: the state is empty; it comes from a scaler that was not enabled"),
    WrongCall("minidl.device.Kernel.prepare", KernelError, lambda: not_for_numba.prepare(("float64",)),
              "kernel not_for_numba: "),
    WrongCall("minidl.device.Kernel.run", KernelError, lambda: doubled.run(0, 0, 0, 3, 0, 0, 3, np.zeros((3, 1))),
              "kernel doubled: out must be float64[::1], got float64 of shape (3, 1)"),
    WrongCall("minidl.device.Kernel.run", Exception, lambda: divided.run(0, 0, 0, 3, 0, 0, 3, np.zeros(3)),
              "a number is zero"),
    WrongCall("minidl.device.kernel", KernelError, lambda: kernel("T[::1], U[::1]", T=("float32",))(fails),
              "kernel fails: 'U[::1]' is not a type; write for example 'T[:, ::1]' or 'intp'"),
    WrongCall("minidl.device.kernel", KernelError, lambda: kernel("T[::1]", T=("float32",))(fails),
              "kernel fails: it takes 2 arguments, but (begin, end) and 'T[::1]' are 3"),
    WrongCall("minidl.device.parallel", KernelError, lambda: parallel(doubled, 3, np.zeros(3, np.int64)),
              "kernel doubled: T must be float32 or float64, got int64"),
    WrongCall("minidl.device.parallel", Exception, lambda: parallel(fails, 3),
              "block 0"),
]  # fmt: skip

# Of these errors one cause needs another machine, or a process of its own: where it is tested.
ELSEWHERE = {
    ("minidl.device", "DeviceError"): "gpu/test_status.py",
    ("minidl.utils.data.DataLoader", "MinidlError"): "utils/data/test_processes.py",
    ("minidl.device.Kernel.prepare", "KernelError"): "device/test_compile.py",
    ("minidl.Tensor.to", "GradError"): "gpu/test_layers.py",
    ("minidl.cuda.get_device_name", "DeviceError"): "gpu/test_status.py",
    ("minidl.cuda.synchronize", "DeviceError"): "gpu/test_status.py",
    ("minidl.device.CudaKernels.launch", "KernelError"): "gpu/test_cuda_kernels.py",
}
