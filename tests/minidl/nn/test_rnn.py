"""Recurrent layers and cells beside PyTorch's, in every combination of options, and packed sequences."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import MinidlError
from minidl.testing import check_gradient, draw

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
rnn = torch.nn.utils.rnn

T, N, I, H = 5, 4, 3, 6  # noqa: E741
KINDS = ["RNN-tanh", "RNN-relu", "LSTM", "GRU"]
# Both sides add the same terms in another order: 1e-10 of the largest value is ample for float64 and still finds a
# wrong term; 1e-5 for float32 is PyTorch's own bound.
BOUND = {"float64": 1e-10, "float32": 1e-5}


def both(kind: str, dtype: str = "float64", **options: Any) -> tuple[Any, Any]:
    """Our layer and PyTorch's, with PyTorch's weights, loaded through the state_dict."""
    name, _, nonlinearity = kind.partition("-")
    options |= {"nonlinearity": nonlinearity} if nonlinearity else {}
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(I, H, **options, dtype=getattr(torch, dtype))
    ours = getattr(nn, name)(I, H, **options, dtype=np.dtype(dtype))
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def draws(*shapes: tuple[int, ...], dtype: str = "float64", seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def leaves(lib: Any, arrays: list[np.ndarray]) -> list[Any]:
    return [lib.tensor(a).requires_grad_() for a in arrays]


def paired(states: list[Any]) -> Any:
    return None if not states else states[0] if len(states) == 1 else tuple(states)


def flat(results: Any) -> list[Any]:
    """All tensors of a result, however nested."""
    return [t for r in results for t in flat(r)] if isinstance(results, tuple) else [results]


def agree(ours: Any, theirs: Any, bound: float, what: str) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    apart = float(np.abs(ours - theirs).max(initial=0))
    assert apart <= bound * max(1.0, float(np.abs(theirs).max(initial=0))), f"{what}: {apart}"


def compare(ours: Any, theirs: Any, mine: list[Any], other: list[Any], results: Any, wanted: Any, bound: float) -> None:
    """Results, and the gradients of `mine` and of all weights, for random weights of the results."""
    results, wanted = flat(results), flat(wanted)
    assert len(results) == len(wanted)
    for lib, tensors in ((minidl, results), (torch, wanted)):
        rng = np.random.default_rng(7)
        weights = [lib.tensor(rng.standard_normal(tuple(t.shape)).astype(str(t.dtype)[-7:])) for t in tensors]
        sum((t * w).sum() for t, w in zip(tensors, weights, strict=True)).backward()
    for place, (a, b) in enumerate(zip(results, wanted, strict=True)):
        agree(a.detach().numpy(), b.detach().numpy(), bound, f"result {place}")
    for place, (a, b) in enumerate(zip(mine, other, strict=True)):
        agree(a.grad.numpy(), b.grad.numpy(), bound, f"gradient of input {place}")
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        agree(a.grad.numpy(), b.grad.numpy(), bound, f"gradient of {name}")


def state_shapes(kind: str, *shape: int) -> list[tuple[int, ...]]:
    return [shape] * (2 if kind == "LSTM" else 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_agree_with_pytorch(kind: str, dtype: str, bias: bool, layers: int, bidirectional: bool) -> None:
    """Batch first or not, with and without the first state, for a batch and for one sequence."""
    places = layers * (1 + bidirectional)
    for batch_first, with_state, batched in itertools.product([False, True], repeat=3):
        ours, theirs = both(
            kind, dtype, num_layers=layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first
        )
        x = ((N, T, I) if batch_first else (T, N, I)) if batched else (T, I)
        states = state_shapes(kind, places, *([N] if batched else []), H) if with_state else []
        arrays = draws(x, *states, dtype=dtype)
        mine, other = leaves(minidl, arrays), leaves(torch, arrays)
        results, wanted = ours(mine[0], paired(mine[1:])), theirs(other[0], paired(other[1:]))
        compare(ours, theirs, mine, other, results, wanted, BOUND[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lengths", [(5, 5, 3, 1), (2, 5, 1, 4)], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_agree_with_pytorch(
    kind: str, dtype: str, lengths: tuple[int, ...], layers: int, bidirectional: bool
) -> None:
    places = layers * (1 + bidirectional)
    is_sorted = list(lengths) == sorted(lengths, reverse=True)
    for batch_first, with_state, bias in itertools.product([False, True], repeat=3):
        ours, theirs = both(
            kind, dtype, num_layers=layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first
        )
        arrays = draws(
            (N, T, I) if batch_first else (T, N, I), *(state_shapes(kind, places, N, H) if with_state else []),
            dtype=dtype,
        )  # fmt: skip
        mine, other = leaves(minidl, arrays), leaves(torch, arrays)
        found = []
        for utils, net, tensors in ((nn.utils.rnn, ours, mine), (rnn, theirs, other)):
            packed = utils.pack_padded_sequence(tensors[0], list(lengths), batch_first, is_sorted)
            output, last = net(packed, paired(tensors[1:]))
            padded, counts = utils.pad_packed_sequence(output, batch_first)
            assert counts.tolist() == list(lengths)
            found.append((padded, last))
        compare(ours, theirs, mine, other, *found, BOUND[dtype])


@pytest.mark.parametrize("kind", ["RNNCell-tanh", "RNNCell-relu", "LSTMCell", "GRUCell"])
def test_cells_agree_with_pytorch(kind: str) -> None:
    choices = itertools.product(BOUND, [True, False], [True, False], [True, False])
    for dtype, bias, with_state, batched in choices:
        ours, theirs = both(kind, dtype, bias=bias)
        batch = [N] if batched else []
        states = state_shapes(kind.removesuffix("Cell"), *batch, H) if with_state else []
        arrays = draws((*batch, I), *states, dtype=dtype)
        mine, other = leaves(minidl, arrays), leaves(torch, arrays)
        results, wanted = ours(mine[0], paired(mine[1:])), theirs(other[0], paired(other[1:]))
        compare(ours, theirs, mine, other, results, wanted, BOUND[dtype])


OPTIONS = [
    {},
    {"bias": False},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "batch_first": True, "dropout": 0.25},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_states_load_both_ways_and_the_text_is_pytorchs(kind: str, options: dict[str, Any]) -> None:
    ours, theirs = both(kind, **options)
    given, wanted = ours.state_dict(), theirs.state_dict()
    assert [(k, v.shape) for k, v in given.items()] == [(k, tuple(v.shape)) for k, v in wanted.items()]
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in given.items()})
    assert repr(ours) == repr(theirs)
    assert [[w.shape for w in weights] for weights in ours.all_weights] == [
        [tuple(w.shape) for w in weights] for weights in theirs.all_weights
    ]


@pytest.mark.parametrize("kind", ["RNNCell-tanh", "RNNCell-relu", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_states_and_text_of_cells_are_pytorchs(kind: str, bias: bool) -> None:
    ours, theirs = both(kind, bias=bias)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
    ]
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
def test_weights_start_uniform_within_one_by_the_root_of_the_hidden_size(name: str) -> None:
    weights = np.concatenate([p.numpy().ravel() for p in getattr(nn, name)(50, 64).state_dict().values()])
    assert -1 / 8 <= weights.min() < -0.124
    assert 0.124 < weights.max() <= 1 / 8
    # variance (1/4)²/12 of at least 7000 numbers: its standard error is 1.1 % of it
    assert weights.var() == pytest.approx(1 / 192, rel=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_adam_steps_follow_pytorch(kind: str) -> None:
    """Float32: Adam divides by the root of a small square, which magnifies rounding; 1e-3 is what it may come to."""
    ours, theirs = both(kind, "float32", num_layers=2, bidirectional=True)
    x, y = draws((12, 8, I), (12, 8, 2 * H), dtype="float32")
    losses = []
    for lib, net in ((minidl, ours), (torch, theirs)):
        optimizer = lib.optim.Adam(net.parameters(), lr=1e-2)
        losses.append([])
        for _ in range(50):
            optimizer.zero_grad()
            loss = lib.nn.functional.mse_loss(net(lib.tensor(x))[0], lib.tensor(np.tanh(y)))
            loss.backward()
            optimizer.step()
            losses[-1].append(float(loss.detach()))
    assert losses[0][-1] < 0.9 * losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_step_by_step_are_the_layer(kind: str) -> None:
    """A formula of our own beside PyTorch's: the layer is its cell, again and again."""
    name, _, nonlinearity = kind.partition("-")
    options = {"nonlinearity": nonlinearity} if nonlinearity else {}
    layer = getattr(nn, name)(I, H, **options).double()
    cell = getattr(nn, name + "Cell")(I, H, **options).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = minidl.tensor(draws((T, N, I))[0])
    state, states = None, []
    for t in range(T):
        state = cell(x[t], state)
        states.append(state[0] if isinstance(state, tuple) else state)
    np.testing.assert_allclose(layer(x)[0].detach(), minidl.stack(states).detach(), rtol=1e-12, atol=1e-14)


def test_dropout_acts_between_layers_and_in_training_alone() -> None:
    """An identity layer under relu shows its input: of each number a share p is zero, the others are doubled."""
    net = nn.RNN(1000, 1000, 2, nonlinearity="relu", bias=False, dropout=0.5)
    with minidl.no_grad():
        for name, weight in net.named_parameters():
            weight.copy_(minidl.eye(1000) if "ih" in name else minidl.zeros(1000, 1000))
    x = minidl.ones(3, 10, 1000)
    output, last = net(x)
    values, counts = np.unique(output.detach().numpy(), return_counts=True)
    assert values.tolist() == [0.0, 2.0]
    # 30 000 draws: 0.5 with a standard error of 0.003, of which 5 are allowed
    assert counts[0] / counts.sum() == pytest.approx(0.5, abs=0.015)
    np.testing.assert_array_equal(last[0].detach(), x[0])  # the first layer's own state is not dropped
    np.testing.assert_array_equal(net.eval()(x)[0].detach(), x)


def test_dropout_with_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="does nothing with one layer"):
        nn.LSTM(I, H, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(I, H, 2, dropout=0.5)


def test_the_last_state_alone_can_be_differentiated() -> None:
    for kind in KINDS:
        ours, theirs = both(kind)
        (x,) = draws((T, N, I))
        flat(ours(minidl.tensor(x))[1])[-1].sum().backward()
        flat(theirs(torch.tensor(x))[1])[-1].sum().backward()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            agree(a.grad.numpy(), b.grad.numpy(), 1e-10, kind)


def test_cells_have_second_derivatives() -> None:
    check_gradient(nn.GRUCell(I, H).double(), *draw([(N, I), (N, H)]), order=2)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [*KINDS, "LSTM-projected"])
def test_second_derivatives_of_sequences_are_pytorchs(kind: str, packed: bool) -> None:
    """The gradients of the squared gradients: of the input and of all weights, through two layers and directions."""
    options = {"proj_size": 2} if kind == "LSTM-projected" else {}
    ours, theirs = both(kind.removesuffix("-projected"), num_layers=2, bidirectional=True, **options)
    (x,) = draws((T, N, I))
    found = []
    for lib, net, utils in ((minidl, ours, nn.utils.rnn), (torch, theirs, rnn)):
        leaf = lib.tensor(x).requires_grad_()
        given = utils.pack_padded_sequence(leaf, [3, 5, 1, 4], enforce_sorted=False) if packed else leaf
        output, last = net(given)
        total = ((output.data if packed else output) ** 2).sum() + sum((s**3).sum() for s in flat(last))
        asked = [leaf, *net.parameters()]
        first = lib.autograd.grad(total, asked, create_graph=True)
        second = lib.autograd.grad(sum((g * g).sum() for g in first), asked)
        found.append([g.detach().numpy() for g in (*first, *second)])
    for place, (a, b) in enumerate(zip(*found, strict=True)):
        agree(a, b, 1e-9, f"gradient {place}")


@pytest.mark.parametrize(
    ("layers", "bidirectional", "bias", "batch_first", "has_state", "packed"),
    [(1, False, True, False, False, False), (1, True, True, True, True, False), (2, True, False, False, True, True)],
)
def test_projections_are_pytorchs(
    layers: int, bidirectional: bool, bias: bool, batch_first: bool, has_state: bool, packed: bool
) -> None:
    options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias, "batch_first": batch_first}
    ours, theirs = both("LSTM", **options, proj_size=2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == "LSTM(3, 6, proj_size=2" + repr(theirs).removeprefix("LSTM(3, 6, proj_size=2")
    places = layers * (1 + bidirectional)
    arrays = draws((N, T, I) if batch_first else (T, N, I), *[(places, N, 2), (places, N, H)] * has_state)
    mine, other = leaves(minidl, arrays), leaves(torch, arrays)
    results = []
    for net, (x, *states), utils in ((ours, mine, nn.utils.rnn), (theirs, other, rnn)):
        if packed:
            x = utils.pack_padded_sequence(x, [3, 5, 1, 4], batch_first, enforce_sorted=False)
        output, last = net(x, paired(states))
        results.append((output.data if packed else output, last))
    compare(ours, theirs, mine, other, *results, BOUND["float64"])


def test_a_first_state_of_zero_that_is_learned_gets_a_gradient() -> None:
    ours, theirs = both("LSTM", proj_size=2)
    arrays = [draws((T, N, I))[0], np.zeros((1, N, 2)), np.zeros((1, N, H))]
    mine, other = leaves(minidl, arrays), leaves(torch, arrays)
    compare(ours, theirs, mine, other, ours(mine[0], paired(mine[1:])), theirs(other[0], paired(other[1:])), 1e-10)


REFUSED = [
    (lambda: nn.LSTM(I, H, proj_size=H), "proj_size must be from 0 .* to less than hidden_size 6, got 6"),
    (
        lambda: nn.LSTM(I, H, proj_size=2)(minidl.zeros(T, N, I), (minidl.zeros(1, N, H), minidl.zeros(1, N, H))),
        r"h_0 must be \(num_layers \* directions, batch, proj_size\) = \(1, 4, 2\), got \(1, 4, 6\)",
    ),
    (lambda: nn.RNN(I, H, nonlinearity="gelu"), "nonlinearity must be 'tanh' or 'relu', got 'gelu'"),
    (lambda: nn.RNNCell(I, H, nonlinearity="gelu"), "nonlinearity must be 'tanh' or 'relu', got 'gelu'"),
    (lambda: nn.GRU(0, H), "input_size and hidden_size must be at least 1, got 0, 6"),
    (lambda: nn.GRU(I, H, 0), "num_layers must be at least 1 and dropout from 0 to 1, got 0 and 0.0"),
    (lambda: nn.GRU(I, H)(minidl.zeros(T, N, 2)), r"input must be \(steps, batch, 3\) .* got \(5, 4, 2\)"),
    (lambda: nn.GRU(I, H, batch_first=True)(minidl.zeros(3)), r"input must be \(batch, steps, 3\)"),
    (lambda: nn.GRU(I, H)(minidl.zeros(0, N, I)), "with at least one step"),
    (lambda: nn.GRU(I, H)(minidl.zeros(T, N, I), minidl.zeros(N, H)), "beside a batch, h_0 must have 3 dimensions"),
    (lambda: nn.GRU(I, H)(minidl.zeros(T, I), minidl.zeros(1, N, H)), "beside one sequence, h_0 must have 2"),
    (lambda: nn.GRU(I, H)(minidl.zeros(T, N, I), minidl.zeros(1, 2, H)), r"= \(1, 4, 6\), got \(1, 2, 6\)"),
    (lambda: nn.LSTM(I, H)(minidl.zeros(T, N, I), minidl.zeros(1, N, H)), r"hx must be the pair \(h_0, c_0\)"),
    (lambda: nn.LSTM(I, H)(minidl.zeros(T, N, I), (minidl.zeros(1, N, H), minidl.zeros(1, N, 2))), "c_0 must be"),
    (lambda: nn.GRUCell(I, H)(minidl.zeros(N, 2)), r"input must be \(batch, 3\) or one row of it, got \(4, 2\)"),
    (lambda: nn.LSTMCell(I, H)(minidl.zeros(N, I), (minidl.zeros(N, 2), None)), r"the state must be \(4, 6\)"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(MinidlError, match=message) as raised:
        call()
    assert len(raised.value.args) == 1
