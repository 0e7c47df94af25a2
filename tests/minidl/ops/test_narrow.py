"""Ops on float16 and bfloat16: computed in float32, rounded once, gradients in the type of their leaves."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import io
from minidl.core import Tensor, launching
from minidl.testing import Case
from minidl.testing.outcome import as_tuple
from tests.minidl.narrow import distance
from tests.minidl.ops.cases import CASES

TYPES = [minidl.float16, minidl.bfloat16]
each_type = pytest.mark.parametrize("dtype", TYPES, ids=str)
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def both(case: Case, dtype) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs of a row in a narrow type, and the same numbers in float64."""
    narrow = [t.to(dtype) if t.is_floating_point() else t for t in case.inputs()]
    wide = [t.to(np.float64) if t.dtype == dtype else t for t in narrow]
    for t in (*narrow, *wide):
        t.requires_grad_(bool(t.is_floating_point() and case.order))
    return narrow, wide


@each_type
@each_case
def test_values_are_one_rounding_from_float64(case: Case, dtype) -> None:
    if case.function is minidl.nextafter:  # the neighbour in its own type is another number
        return
    narrow, wide = both(case, dtype)
    for given, exact in zip(as_tuple(case.call(*narrow)), as_tuple(case.call(*wide)), strict=True):
        assert given.dtype == (dtype if exact.dtype == np.float64 else exact.dtype)
        if exact.dtype == np.float64:
            given, exact = given.detach().array.astype(float), exact.detach().array
            assert np.all(distance(given, exact, dtype) <= 0.5)


# Their gradients are computed from results that were saved, and so rounded: as in PyTorch, which saves the same.
FROM_ROUNDED = {
    "exp", "expm1", "rsqrt", "reciprocal", "pow", "sigmoid", "tanh", "softmax", "log_softmax", "erfinv", "tan", "exp2",
    "cumprod", "sqrt", "conv_lstm_sequence", "conv_gru_sequence", "rnn_sequence", "lstm_sequence", "gru_sequence",
}  # fmt: skip


@each_type
@each_case
def test_gradients_are_one_rounding_from_float64(case: Case, dtype) -> None:
    """One rounding of each number; where rounded results are used again, two of the largest number of the gradient.

    A sweep uses those of each of its steps, of which there are five.
    """
    narrow, wide = both(case, dtype)
    given, exact = as_tuple(case.call(*narrow))[0], as_tuple(case.call(*wide))[0]
    if not exact.requires_grad:
        return
    weights = Tensor.of(np.random.default_rng(3).uniform(-1, 1, exact.shape)).to(dtype)
    given.backward(weights)
    exact.backward(weights.to(np.float64))
    for mine, other in zip(narrow, wide, strict=True):
        if other.grad is None or not other.numel():
            assert mine.grad is None or not mine.numel()
            continue
        assert mine.grad.dtype == dtype
        mine, wanted = mine.grad.array.astype(float), other.grad.array
        if (name := case.function.__name__) in FROM_ROUNDED:
            roundings = 2 * (5 if name.endswith("_sequence") else 1)
            assert np.abs(mine - wanted).max() <= roundings * minidl.finfo(dtype).eps * np.abs(wanted).max()
        else:
            assert np.all(distance(mine, wanted, dtype) <= 0.5)


@each_type
def test_kernels_see_float32(dtype) -> None:
    """Also those of ops that wait for each other inside a module."""
    seen: set[str] = set()

    def note(call) -> None:
        if not call.op.moves:
            seen.update(str(a.dtype) for a in call.inputs if a.dtype.kind != "i")
        call.run()

    net = minidl.nn.Sequential(minidl.nn.Conv2d(3, 16, 3), minidl.nn.BatchNorm2d(16), minidl.nn.ReLU()).to(dtype)
    x = minidl.randn(2, 3, 12, 12, dtype=dtype)
    with launching(note):
        net(x).sum().backward()
        net.eval()(x)
    assert seen == {"float32"}


@each_type
def test_sums_and_statistics_do_not_stop_growing(dtype) -> None:
    """20 000 ones: in steps of the type itself the sum would stop at 256 or 2048."""
    x = minidl.ones(20_000, dtype=dtype)
    assert x.sum().item() == pytest.approx(20_000, rel=2**-9)
    assert x.mean().item() == 1
    assert (x @ x).item() == pytest.approx(20_000, rel=2**-9)


def test_casts_round_to_even_and_keep_nan() -> None:
    """Against PyTorch's, on all kinds of bits."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000  # exactly between two bfloat16
    x = np.concatenate([bits, ties]).view(np.float32)
    for ours, theirs in ((minidl.bfloat16, torch.bfloat16), (minidl.float16, torch.float16)):
        given = minidl.from_numpy(x).to(ours).float().numpy()
        np.testing.assert_array_equal(given, torch.from_numpy(x).to(theirs).float().numpy())


def test_the_next_number_is_that_of_the_type() -> None:
    one, two = minidl.ones(1, dtype=minidl.bfloat16), minidl.full((1,), 2.0, dtype=minidl.bfloat16)
    assert minidl.nextafter(one, two).item() == 1 + minidl.finfo(minidl.bfloat16).eps


def test_a_number_beside_a_narrow_tensor_is_not_rounded_first() -> None:
    x = minidl.full((3,), 3.0, dtype=minidl.bfloat16)
    assert (x * 0.1).dtype == (x + minidl.tensor(1.5)).dtype == minidl.bfloat16
    assert (x * 0.1)[0].item() == minidl.tensor(np.float32(0.1) * 3).bfloat16().item()
    assert (x * minidl.ones(3)).dtype == minidl.float32


@each_type
def test_in_place_changes_round_once_and_are_differentiated(dtype) -> None:
    x = minidl.tensor([1.0, 2.0, 3.0], dtype=dtype, requires_grad=True)
    y = x * 2
    y.mul_(minidl.tensor([0.1, 0.2, 0.3]))
    y[1:].add_(1.0)
    y.sum().backward()
    exact = minidl.tensor([0.2, 1.8, 2.8])
    np.testing.assert_allclose(y.detach().float().array, exact.array, rtol=minidl.finfo(dtype).eps)
    np.testing.assert_allclose(x.grad.float().array, [0.2, 0.4, 0.6], rtol=minidl.finfo(dtype).eps)


@each_type
def test_second_derivatives(dtype) -> None:
    x = minidl.tensor([1.5, 2.0], dtype=dtype, requires_grad=True)
    (g,) = minidl.autograd.grad((x * x * x).sum(), x, create_graph=True)
    g.sum().backward()
    assert g.tolist() == [6.75, 12.0]
    assert x.grad.tolist() == [9.0, 12.0]


@each_type
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam"])
def test_optimisers_round_each_number_once_a_step(name: str, dtype) -> None:
    """The first step, from the same numbers in float32: the weight that is stored is that weight, rounded."""
    start, slope = minidl.randn(50).to(dtype), minidl.randn(50).to(dtype)
    narrow, wide = minidl.nn.Parameter(start), minidl.nn.Parameter(start.float())
    for weight, grad in ((narrow, slope), (wide, slope.float())):
        weight.grad = grad.clone()
        getattr(minidl.optim, name)([weight], lr=0.05).step()
    np.testing.assert_array_equal(narrow.detach().array, wide.detach().to(dtype).array)


@each_type
def test_a_network_trains_and_travels_in_a_narrow_type(dtype, tmp_path) -> None:
    net = minidl.nn.Sequential(minidl.nn.Linear(4, 8), minidl.nn.Tanh(), minidl.nn.Linear(8, 1)).to(dtype)
    assert {p.dtype for p in net.parameters()} == {dtype}
    x = minidl.randn(64, 4, dtype=dtype)
    optimizer, losses = minidl.optim.Adam(net.parameters(), lr=0.02), []
    for _ in range(40):
        loss = minidl.nn.functional.mse_loss(net(x), x[:, :1] * x[:, 1:2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    io.save_checkpoint(tmp_path / "net.ckpt", net=net, optimizer=optimizer)
    other = minidl.nn.Sequential(minidl.nn.Linear(4, 8), minidl.nn.Tanh(), minidl.nn.Linear(8, 1)).to(dtype)
    io.read_checkpoint(tmp_path / "net.ckpt").restore(net=other)
    np.testing.assert_array_equal(other(x).detach().array, net(x).detach().array)


def test_the_same_bits_on_the_reference_path() -> None:
    """Where float32 agrees to the last bit, so do 16 bits; here sums are exact, and rounded once."""
    x = minidl.from_numpy(np.arange(-64, 64).reshape(8, 16)).bfloat16()
    fast = x @ x.T
    with minidl.use_numba(False):
        assert (x @ x.T).tolist() == fast.tolist()


def test_printing_shows_as_many_digits_as_there_are() -> None:
    x = minidl.tensor([0.1, 2.0], dtype=minidl.bfloat16)
    assert repr(x) == "tensor([0.1001, 2.    ], dtype=bfloat16)"
    assert repr(minidl.tensor([0.1], dtype=minidl.float16)) == "tensor([0.1], dtype=float16)"


@each_type
def test_batches_of_other_processes_keep_the_type(dtype) -> None:
    import mmap

    from minidl.utils.data.packing import Packed, unpacked

    packed, batch = Packed(), {"x": minidl.tensor([[1.5, 2.0]], dtype=dtype), "y": minidl.ones(2).array}
    structure = packed.add(batch)
    memory = mmap.mmap(-1, max(packed.size, 1))
    packed.write(memory)
    back = unpacked(structure, memory)
    assert back["x"].dtype == dtype
    assert back["x"].tolist() == [[1.5, 2.0]]
