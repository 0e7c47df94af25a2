"""Sweeps over whole sequences: compiled kernels against the reference, bits and threads, gradients, lengths."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.core import Tensor, launching
from minidl.device import numba_status
from minidl.errors import ArgumentError, MinidlError
from minidl.ops.rnn import cpu_sweep_back, cpu_sweep_shared, cpu_sweep_within
from minidl.testing import check_gradient, check_kernel, draw

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
# Steps, rows, inputs, hidden units. Rows make every kind of tile: 1 to 6, 7 = 4 + 3, one block and several; states fill
# one vector, a part of it, and several panels; 300 is beyond one piece of a product's depth.
SIZES = [
    (6, 1, 1, 1), (6, 2, 3, 2), (4, 3, 1, 7), (3, 4, 2, 8), (3, 5, 9, 16), (5, 6, 17, 3), (4, 7, 5, 33), (5, 35, 4, 9),
    (70, 19, 2, 5), (3, 7, 300, 20), (2, 1, 20, 300),
]  # fmt: skip
NEEDS_NUMBA = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")


def operands(kind: str, t: int, n: int, i: int, h: int, directions: int = 1, dtype: Any = np.float64) -> list[Tensor]:
    """All inputs of the function but lengths, with values that keep gates away from their ends."""
    rows = GATES[kind] * h
    states = [(directions, n, h)] * (2 if kind == "lstm" else 1)
    biases = [(directions, rows)] * (2 if kind == "gru" else 1)
    shapes = [(t, n, i), *states, (directions, rows, i), (directions, rows, h), *biases]
    inputs = draw(shapes, low=-1, high=1, dtype=dtype)
    for place, depth in ((-len(biases) - 2, i), (-len(biases) - 1, h)):
        inputs[place].array[...] /= np.sqrt(depth)
    return inputs


def swept(kind: str, inputs: list[Tensor], lengths: Any, **options: Any) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = getattr(minidl, f"{kind}_sequence")(*inputs, lengths, **options)
    return found


def states_of(kind: str) -> range:
    """The places of the states among the inputs."""
    return range(1, 3 if kind == "lstm" else 2)


def some_lengths(t: int, n: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(n).integers(1, t + 1, n).tolist())


def calls_of(kind: str, size: tuple[int, ...], directions: int, lengths: Any, dtype: Any, **options: Any) -> list[Any]:
    """The forward and the backward sweep of one call, as they were launched."""
    calls: list[Any] = []

    def keep(call: Any) -> None:
        call.run()
        calls.append(call)

    inputs = [x.requires_grad_() for x in operands(kind, *size, directions, dtype)]
    with launching(keep):
        sum((r * r).sum() for r in swept(kind, inputs, lengths, **options)).backward()
    return [call for call in calls if call.op.name.startswith(kind)]


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", GATES)
def test_kernels_are_the_reference(kind: str, size: tuple[int, int, int, int], dtype: Any) -> None:
    """`check_kernel`'s own bounds: 1e-5 and 1e-12 of the largest value; they also find gaps and changed inputs."""
    functions = ["tanh", "relu"] if kind == "rnn" else [None]
    for directions, has_lengths, nonlinearity in itertools.product([1, 2], [False, True], functions):
        lengths = some_lengths(*size[:2]) if has_lengths else None
        options = {"nonlinearity": nonlinearity} if nonlinearity else {}
        calls = calls_of(kind, size, directions, lengths, dtype, **options)
        assert [call.op.name for call in calls] == [f"{kind}_sequence", f"{kind}_sequence_grad"]
        for call in calls:
            check_kernel(call.op.name, call.op.cpu, call.inputs, repeats=1, **call.params)


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_steps_of_few_rows_are_shared(kind: str, directions: int, dtype: Any, monkeypatch: Any) -> None:
    """Units of one panel, the last one ragged; all that is saved, rows that end early, more steps than a group."""
    monkeypatch.setattr(cpu_sweep_shared, "UNIT_BYTES", 1)
    for rows, lengths in ((1, None), (2, (37, 5)), (3, (1, 37, 20))):
        call = calls_of(kind, (37, rows, 5, 70), directions, lengths, dtype)[0]
        check_kernel(call.op.name, call.op.cpu, call.inputs, repeats=1, **call.params)


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_bits_of_shared_steps_are_those_of_any_number_of_threads_and_of_the_other_sweep(
    kind: str, directions: int, monkeypatch: Any
) -> None:
    inputs = [x.detach() for x in operands(kind, 50, 1, 40, 200, directions, np.float32)]
    found, before = [], minidl.get_num_threads()
    try:
        for threads, least in ((1, 1), (2, 1), (3, 1), (7, 1), (2, 1 << 30)):
            monkeypatch.setattr(cpu_sweep_shared, "UNIT_BYTES", least)
            minidl.set_num_threads(threads)
            found += [[r.numpy().tobytes() for r in swept(kind, inputs, None)] for _ in range(5)]
    finally:
        minidl.set_num_threads(before)
    assert all(other == found[0] for other in found[1:])


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_gradients_may_be_made_of_some_steps_at_a_time(kind: str, directions: int, monkeypatch: Any) -> None:
    size = (11, 5, 3, 9)
    monkeypatch.setattr(cpu_sweep_back, "HELD_BYTES", 4 * directions * 5 * GATES[kind] * 9 * 4)
    for lengths in (None, some_lengths(*size[:2]), (1, 11, 4, 8, 5)):
        call = calls_of(kind, size, directions, lengths, np.float32)[1]
        check_kernel(call.op.name, call.op.cpu, call.inputs, repeats=1, **call.params)


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("limit", [0, 1 << 30])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_gradients_of_many_rows_are_made_within_the_sweep_or_after_it(
    kind: str, directions: int, limit: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cpu_sweep_within, "SUMS_BYTES", limit)
    for rows in (16, 67):
        for lengths in (None, some_lengths(9, rows)):
            call = calls_of(kind, (9, rows, 6, 11), directions, lengths, np.float32)[1]
            check_kernel(call.op.name, call.op.cpu, call.inputs, repeats=1, **call.params)


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_bits_do_not_depend_on_the_number_of_threads(kind: str, directions: int) -> None:
    before = minidl.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 7, 16):
            minidl.set_num_threads(threads)
            calls = calls_of(kind, (7, 611, 5, 12), directions, some_lengths(7, 611), np.float32)
            found.append([hashlib.sha256(a.tobytes()).hexdigest() for call in calls for a in call.out])
    finally:
        minidl.set_num_threads(before)
    assert all(other == found[0] for other in found[1:])


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("kind", GATES)
def test_the_bits_of_a_row_do_not_depend_on_its_neighbours(kind: str) -> None:
    """A row alone goes through another tile than one of eleven."""
    inputs = operands(kind, 5, 11, 4, 9, dtype=np.float32)
    whole = swept(kind, inputs, None)[0].numpy()
    for rows in (slice(0, 1), slice(7, 9), slice(4, 7), slice(2, 9)):
        alone = [Tensor.of(x.array[:, rows].copy()) if p in (0, *states_of(kind)) else x for p, x in enumerate(inputs)]
        np.testing.assert_array_equal(swept(kind, alone, None)[0].numpy(), whole[:, rows])


@NEEDS_NUMBA
@pytest.mark.numba
@pytest.mark.parametrize("kind", GATES)
def test_no_gradient_of_the_input_is_made_that_nobody_wants(kind: str) -> None:
    inputs = operands(kind, 4, 3, 2, 5)
    found = []
    for wanted in (True, False):
        leaves = [x.clone().requires_grad_(wanted or place > 0) for place, x in enumerate(inputs)]
        sizes = []

        def note(call: Any, sizes: list[int] = sizes) -> None:
            call.run()
            sizes.append(len(call.out[0]) if call.op.name.endswith("_grad") else 4)

        with launching(note):
            swept(kind, leaves, None)[0].sum().backward()
        assert (0 in sizes) is not wanted
        found.append([x.grad.numpy() for x in leaves[1:]])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


@NEEDS_NUMBA
@pytest.mark.numba
def test_weights_that_were_packed_are_packed_again_when_they_change() -> None:
    layer, x = minidl.nn.LSTM(3, 4), Tensor.of(np.ones((2, 1, 3), np.float32))
    with minidl.no_grad():
        kept = [layer(x)[0].numpy() for _ in range(3)][-1]
        layer.weight_hh_l0.array[...] *= 2  # past all ops
        by_hand = layer(x)[0].numpy()
        layer.weight_ih_l0.mul_(2)
        by_op = layer(x)[0].numpy()
        with minidl.use_numba(False):
            expected = layer(x)[0].numpy()
    assert not np.array_equal(kept, by_hand)
    np.testing.assert_allclose(by_op, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=NEEDS_NUMBA), False])
@pytest.mark.parametrize("lengths", [None, (3, 5, 1)])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_gradients_match_richardson_differences(kind: str, directions: int, lengths: Any, compiled: bool) -> None:
    with minidl.use_numba(compiled):
        check_gradient(lambda *inputs: swept(kind, inputs, lengths), *operands(kind, 5, 3, 4, 2, directions))


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=NEEDS_NUMBA), False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("kind", GATES)
def test_a_short_row_is_the_row_alone(kind: str, directions: int, compiled: bool) -> None:
    """Padding, NaN included, changes nothing: values and gradients are those of the row without it."""
    lengths = (2, 4, 3)
    inputs = operands(kind, 4, 3, 3, 2, directions)
    for n, length in enumerate(lengths):
        inputs[0].array[length:, n] = np.nan
    with minidl.use_numba(compiled):
        leaves = [x.requires_grad_() for x in inputs]
        output, *last = swept(kind, leaves, lengths)
        (output.sum() + sum(s.sum() for s in last)).backward()
        shared = [np.zeros_like(x.array) for x in inputs]
        for n, length in enumerate(lengths):
            row = [Tensor.of(x.array[:, n : n + 1] if p in states_of(kind) else x.array) for p, x in enumerate(inputs)]
            row[0] = Tensor.of(inputs[0].array[:length, n : n + 1])
            row = [x.requires_grad_() for x in row]
            alone, *ends = swept(kind, row, None)
            (alone.sum() + sum(s.sum() for s in ends)).backward()
            shared = [
                total + x.grad.array if total.shape == x.grad.shape else total
                for total, x in zip(shared, row, strict=True)
            ]
            np.testing.assert_allclose(output.array[:length, n], alone.array[:, 0], rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(output.array[length:, n], 0)
            np.testing.assert_allclose(
                leaves[0].grad.array[:length, n], row[0].grad.array[:, 0], rtol=1e-10, atol=1e-14
            )
            np.testing.assert_array_equal(leaves[0].grad.array[length:, n], 0)
            for place in states_of(kind):
                np.testing.assert_allclose(
                    last[place - 1].array[:, n], ends[place - 1].array[:, 0], rtol=1e-12, atol=1e-14
                )
                np.testing.assert_allclose(
                    leaves[place].grad.array[:, n], row[place].grad.array[:, 0], rtol=1e-10, atol=1e-14
                )
        for place in range(states_of(kind).stop, len(inputs)):  # weights and biases: the sum over the rows
            np.testing.assert_allclose(leaves[place].grad.array, shared[place], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=NEEDS_NUMBA), False])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_without_a_tape_nothing_is_saved_and_nothing_differs(kind: str, compiled: bool) -> None:
    inputs = [x.requires_grad_() for x in operands(kind, 5, 3, 4, 2)]
    sizes = []

    def note(call: Any) -> None:
        call.run()
        sizes.append(call.out[-1].shape[0])

    with minidl.use_numba(compiled), launching(note):
        taped = swept(kind, inputs, (5, 2, 3))
        with minidl.no_grad():
            free = swept(kind, inputs, (5, 2, 3))
    assert sizes == [5, 0]
    for a, b in zip(taped, free, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.numpy())


@pytest.mark.parametrize("kind", GATES)
def test_types_mix_and_an_empty_batch_passes(kind: str) -> None:
    inputs = operands(kind, 5, 3, 4, 2)
    mixed = [Tensor.of(inputs[0].array.astype(np.float32)), *inputs[1:]]
    assert {r.dtype for r in swept(kind, mixed, None)} == {np.dtype(np.float64)}
    leaves = [x.requires_grad_() for x in operands(kind, 5, 0, 4, 2)]
    output = swept(kind, leaves, None)[0]
    output.sum().backward()
    assert output.shape == (5, 0, 2)
    assert all(x.grad is not None and not x.grad.numpy().any() for x in leaves)


def test_read_only_inputs_pass() -> None:
    for kind in GATES:
        inputs = operands(kind, 3, 2, 4, 2, dtype=np.float32)
        expected = swept(kind, inputs, None)[0].numpy()
        for x in inputs:
            x.array.flags.writeable = False
        leaves = [x.requires_grad_() for x in inputs]
        output = swept(kind, leaves, None)[0]
        output.sum().backward()
        np.testing.assert_array_equal(output.detach().numpy(), expected)


def test_saturated_gates_give_no_warning_and_no_nan() -> None:
    for kind in GATES:
        inputs = operands(kind, 3, 2, 4, 2, dtype=np.float32)
        inputs[0].array[...] *= 1e4
        for compiled in (False, bool(numba_status())):
            with minidl.use_numba(compiled):
                assert np.isfinite(swept(kind, inputs, None)[0].numpy()).all()


def test_bad_arguments_are_named() -> None:
    inputs = operands("rnn", 5, 3, 4, 2)
    with pytest.raises(ArgumentError, match="nonlinearity must be 'tanh' or 'relu', got 'elu'"):
        minidl.rnn_sequence(*inputs, nonlinearity="elu")
    with pytest.raises(MinidlError, match="lengths must be whole numbers, got float64"):
        minidl.rnn_sequence(*inputs, Tensor.of(np.ones(3)))
    with pytest.raises(ArgumentError, match="lengths must be from 1 to the 5 steps of input, got 0 to 5"):
        minidl.rnn_sequence(*inputs, [5, 0, 1])
