"""ConvLSTM and ConvGRU beside loops over PyTorch's convolutions, and their compiled gates beside the reference."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.core import launching
from minidl.device import numba_status
from minidl.errors import MinidlError
from minidl.testing import check_gradient, draw

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

T, N, C, K = 4, 3, 2, 5
IMAGES = {1: (7,), 2: (5, 4), 3: (3, 4, 2)}
KERNELS = {1: (3,), 2: (3, 5), 3: (3, 1, 3)}
NEEDS_NUMBA = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")


def lstm_step(sums: Any, of_h: Any, state: tuple[Any, ...], peepholes: Any) -> tuple[Any, ...]:
    """Shi et al., eq. 3, written for PyTorch."""
    i, f, g, o = (sums + of_h).chunk(4, 1)
    _, c = state
    to_i, to_f, to_o = (0, 0, 0) if peepholes is None else (p.reshape(-1, *[1] * (c.ndim - 2)) for p in peepholes)
    new = torch.sigmoid(f + to_f * c) * c + torch.sigmoid(i + to_i * c) * torch.tanh(g)
    return torch.sigmoid(o + to_o * new) * torch.tanh(new), new


def gru_step(sums: Any, of_h: Any, state: tuple[Any, ...], peepholes: Any) -> tuple[Any, ...]:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = sums.chunk(3, 1), of_h.chunk(3, 1)
    z, n = torch.sigmoid(x_z + h_z), torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n)
    return ((1 - z) * n + z * state[0],)


def pytorchs(net: Any, weights: dict[str, Any], x: Any, states: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
    """What `net` should give: rows one by one, each as long as it is, so that no mask is needed."""
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[net.dims]
    step = lstm_step if "LSTM" in type(net).__name__ else gru_step
    last: list[Any] = []
    for layer in range(net.num_layers):
        outputs = []
        for direction in ("", "_reverse")[: 1 + net.bidirectional]:
            of = {kind: weights.get(f"{kind}_l{layer}{direction}") for kind in
                  ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ch")}  # fmt: skip
            rows, ends = [], []
            for n in range(x.shape[1]):
                state = tuple(s[len(last)][n : n + 1] for s in states)
                steps = list(range(lengths[n]))
                out = [torch.zeros_like(state[0])] * x.shape[0]
                for t in reversed(steps) if direction else steps:
                    sums, of_h = (
                        convolve(value, of[f"weight_{name}"], of[f"bias_{name}"],
                                 padding=tuple(k // 2 for k in of[f"weight_{name}"].shape[2:]))
                        for name, value in (("ih", x[t, n : n + 1]), ("hh", state[0]))
                    )  # fmt: skip
                    state = step(sums, of_h, state, of["weight_ch"])
                    out[t] = state[0]
                rows.append(torch.stack(out))
                ends.append(state)
            outputs.append(torch.cat(rows, 1))
            last.append([torch.cat(of_kind) for of_kind in zip(*ends, strict=True)])
        x = torch.cat(outputs, 2)
    return x, [torch.stack(of_kind) for of_kind in zip(*last, strict=True)]


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True},
    {"batch_first": True, "bidirectional": True},
]


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=NEEDS_NUMBA), False])
@pytest.mark.parametrize("lengths", [None, (2, 4, 1)], ids=str)
@pytest.mark.parametrize(
    ("kind", "options"),
    [*itertools.product(["ConvLSTM", "ConvGRU"], OPTIONS), ("ConvLSTM", {"peephole": True, "bidirectional": True})],
    ids=str,
)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layers_are_a_loop_over_pytorchs_convolutions(
    kind: str, dims: int, options: dict[str, Any], lengths: Any, compiled: bool
) -> None:
    """Values and all gradients; float64, the same terms in another order, so 1e-10 of the largest value is ample."""
    minidl.manual_seed(0)
    net = getattr(nn, f"{kind}{dims}d")(C, K, KERNELS[dims], **options).double()
    rng = np.random.default_rng(0)
    places = net.num_layers * (1 + net.bidirectional)
    shape = (N, T, C, *IMAGES[dims]) if net.batch_first else (T, N, C, *IMAGES[dims])
    shapes = [shape] + [(places, N, K, *IMAGES[dims])] * (2 if kind == "ConvLSTM" else 1)
    arrays = [rng.standard_normal(s) for s in shapes]
    mine = [minidl.tensor(a).requires_grad_() for a in arrays]
    with minidl.use_numba(compiled):
        output, last = net(mine[0], tuple(mine[1:]) if kind == "ConvLSTM" else mine[1], lengths)
        results = [output, *(last if kind == "ConvLSTM" else [last])]
        pull = [rng.standard_normal(r.shape) for r in results]
        sum((r * minidl.tensor(w)).sum() for r, w in zip(results, pull, strict=True)).backward()
    other = [torch.tensor(a).requires_grad_() for a in arrays]
    weights = {name: torch.tensor(p.detach().numpy()).requires_grad_() for name, p in net.named_parameters()}
    x = other[0].transpose(0, 1) if net.batch_first else other[0]
    wanted, ends = pytorchs(net, weights, x, other[1:], lengths or [T] * N)
    expected = [wanted.transpose(0, 1) if net.batch_first else wanted, *ends]
    sum((r * torch.tensor(w)).sum() for r, w in zip(expected, pull, strict=True)).backward()
    pairs = [(a.detach(), b.detach()) for a, b in zip(results, expected, strict=True)]
    pairs += [(a.grad, b.grad) for a, b in zip(mine, other, strict=True)]
    pairs += [(p.grad, weights[name].grad) for name, p in net.named_parameters()]
    for place, (a, b) in enumerate(pairs):
        bound = 1e-10 * max(1.0, float(b.abs().max()))
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=bound, err_msg=str(place))


@pytest.mark.parametrize("kind", ["ConvLSTM", "ConvGRU"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_cell_is_one_step_of_its_layer(kind: str, dims: int) -> None:
    layer, cell = (
        getattr(nn, f"{kind}{dims}d")(C, K, KERNELS[dims]),
        getattr(nn, f"{kind}Cell{dims}d")(C, K, KERNELS[dims]),
    )
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    x = minidl.randn(T, N, C, *IMAGES[dims])
    state = None
    for t in range(T):
        state = cell(x[t], state)
    _, last = layer(x)
    for a, b in zip(state, last, strict=True) if kind == "ConvLSTM" else [(state, last)]:
        np.testing.assert_allclose(a.detach(), b.detach()[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ConvLSTM", "ConvGRU"])
def test_padding_whatever_it_holds_changes_nothing(kind: str) -> None:
    net = getattr(nn, f"{kind}1d")(C, K, bidirectional=True)
    x = minidl.randn(T, N, C, 6)
    for t, n in itertools.product(range(T), range(N)):
        if t >= (2, 4, 1)[n]:
            x[t, n] = float("nan")
    leaf = x.requires_grad_()
    net(leaf, None, (2, 4, 1))[0].sum().backward()
    assert np.isfinite(leaf.grad.numpy()).all()
    assert all(np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    assert not leaf.grad.numpy()[2:, 0].any()


def test_peepholes_have_second_derivatives() -> None:
    net = nn.ConvLSTMCell1d(1, 2, peephole=True).double()
    check_gradient(lambda x, h, c: net(x, (h, c)), *draw([(1, 1, 3), (1, 2, 3), (1, 2, 3)]), order=2)


def calls_of(kind: str, image: tuple[int, ...], hidden: int, reverse: bool, dtype: Any) -> list[Any]:
    """The forward and the backward sweep of one call, as they were launched."""
    calls: list[Any] = []

    def keep(call: Any) -> None:
        call.run()
        calls.append(call)

    gates, states = (4, 2) if kind == "lstm" else (3, 1)
    kernel = (3,) * len(image)
    shapes = [(3, 2, 2, *image), *[(2, hidden, *image)] * states, (gates * hidden, 2, *kernel),
              (gates * hidden, hidden, *kernel), (gates * hidden,), (gates * hidden,)]  # fmt: skip
    leaves = [x.requires_grad_() for x in draw(shapes, low=-0.5, high=0.5, dtype=dtype)]
    with launching(keep):
        results = getattr(minidl, f"conv_{kind}_sequence")(*leaves, (2, 3), reverse=reverse)
        sum((r * r).sum() for r in results).backward()
    return [call for call in calls if call.op.name.startswith("conv_" + kind)]


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [1, 8, 19])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_kernels_are_the_reference(kind: str, hidden: int, dtype: Any) -> None:
    """`check_kernel`'s own bounds; states fill a part of a vector, whole ones, and some beyond."""
    for image, reverse in (((7,), False), ((5, 3), True), ((3, 2, 4), False)):
        calls = calls_of(kind, image, hidden, reverse, dtype)
        assert [call.op.name for call in calls] == [f"conv_{kind}_sequence", f"conv_{kind}_sequence_grad"]
        for call in calls:
            with minidl.use_numba(False):
                wanted = [np.empty(a.shape, a.dtype) for a in call.out]
                call.op.reference(np, tuple(wanted), *call.inputs, **call.params)
            bound = 1e-5 if dtype == np.float32 else 1e-12
            for a, b in zip(call.out, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=bound * max(1.0, np.abs(b).max(initial=0)))


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_bits_do_not_depend_on_the_number_of_threads(kind: str) -> None:
    before, found = minidl.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 16):
            minidl.set_num_threads(threads)
            calls = calls_of(kind, (29, 31), 9, False, np.float32)
            found.append([hashlib.sha256(a.tobytes()).hexdigest() for call in calls for a in call.out])
    finally:
        minidl.set_num_threads(before)
    assert all(other == found[0] for other in found[1:])


@pytest.mark.parametrize("kind", ["ConvLSTM", "ConvGRU"])
def test_an_empty_batch_passes(kind: str) -> None:
    net = getattr(nn, f"{kind}2d")(C, K)
    x = minidl.zeros(T, 0, C, 4, 4, requires_grad=True)
    output, _ = net(x)
    output.sum().backward()
    assert output.shape == (T, 0, K, 4, 4)


def test_without_a_tape_nothing_is_saved_and_nothing_differs() -> None:
    for kind in ("ConvLSTM", "ConvGRU"):
        net, x, sizes = getattr(nn, f"{kind}2d")(C, K), minidl.randn(T, N, C, 5, 5), []

        def note(call: Any, sizes: list[int] = sizes) -> None:
            call.run()
            if call.op.name.endswith("sequence"):
                sizes.append(len(call.out[-1]))

        with launching(note):
            taped = net(x)[0]
            with minidl.no_grad():
                free = net(x)[0]
        assert sizes == [T * N, 0]
        np.testing.assert_array_equal(taped.detach(), free)


REFUSED = [
    (lambda: nn.ConvLSTM2d(0, K), "in_channels and hidden_channels must be at least 1, got 0 and 5"),
    (lambda: nn.ConvGRU2d(C, K, 4), r"kernel_size must be odd, .* got \(4, 4\)"),
    (lambda: nn.ConvLSTM1d(C, K, num_layers=0), "num_layers must be at least 1 and dropout from 0 to 1, got 0 and 0.0"),
    (
        lambda: nn.ConvLSTM2d(C, K)(minidl.zeros(T, N, 7, 4, 4)),
        r"ConvLSTM2d: input must be \(steps, batch, 2, H, W\), got \(4, 3, 7, 4, 4\)",
    ),
    (
        lambda: nn.ConvLSTM2d(C, K)(minidl.zeros(T, N, C, 4, 4), minidl.zeros(1, N, K, 4, 4)),
        r"hx must be the pair \(h, c\), got Tensor",
    ),
    (
        lambda: nn.ConvGRU2d(C, K)(minidl.zeros(T, N, C, 4, 4), minidl.zeros(1, N, K, 4, 3)),
        r"h_0 must be .* = \(1, 3, 5, 4, 4\), got \(1, 3, 5, 4, 3\)",
    ),
    (
        lambda: nn.ConvGRUCell3d(C, K)(minidl.zeros(T, N, C, 4, 4, 4)),
        r"input must be \(batch, 2, D, H, W\), got \(4, 3, 2, 4, 4, 4\); for a sequence use the layer",
    ),
    (
        lambda: nn.ConvLSTMCell1d(C, K)(minidl.zeros(N, C, 4), (minidl.zeros(N, K, 4), minidl.zeros(N, K, 3))),
        r"c must be \(batch, hidden_channels, L\) = \(3, 5, 4\), got \(3, 5, 3\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(MinidlError, match=message) as raised:
        call()
    assert len(raised.value.args) == 1


def test_a_layer_shows_what_it_is() -> None:
    shown = repr(nn.ConvLSTM2d(1, 8, 5, bidirectional=True, peephole=True))
    assert shown == "ConvLSTM2d(1, 8, kernel_size=(5, 5), bidirectional=True, peephole=True)"
