"""The op `attention`: the formula in float64, PyTorch's gradients, and the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.device import get_num_threads, numba_status, set_num_threads
from minidl.nn.functional import scaled_dot_product_attention
from minidl.ops.attention import attention_of_heads

# (batch, L, S, E, Ev): of one block, of several, with ragged ends, of a single number.
SHAPES = [
    ((2, 3), 5, 7, 4, 6),
    ((2,), 144, 144, 24, 24),
    ((2,), 100, 600, 40, 33),
    ((), 97, 31, 8, 16),
    ((1,), 1, 1, 1, 1),
]


def draw(batch, queries, keys, features, values, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = (*batch, queries, features), (*batch, keys, features), (*batch, keys, values)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def formula(q, k, v, mask=None):
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores if mask is None else scores + mask)
    return weights / weights.sum(-1, keepdims=True) @ v


def some_mask(kind, queries, keys):
    """What is given to the function, and what it adds to the scores."""
    rng = np.random.default_rng(1)
    if kind == "causal":
        return {"is_causal": True}, np.where(np.tri(queries, keys, dtype=bool), 0, -np.inf)
    if kind == "floating":
        added = rng.standard_normal((queries, keys))
        return {"attn_mask": minidl.tensor(added)}, added
    counts = rng.random((queries, keys)) < 0.6
    counts[:, 0] = True
    return {"attn_mask": minidl.tensor(counts)}, np.where(counts, 0, -np.inf)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["none", "causal", "floating", "boolean"])
@pytest.mark.parametrize("compiled", [True, False])
def test_equals_the_formula(shape, kind, compiled) -> None:
    q, k, v = draw(*shape)
    given, added = ({}, None) if kind == "none" else some_mask(kind, shape[1], shape[2])
    minidl.use_numba(compiled)
    try:
        found = scaled_dot_product_attention(*map(minidl.tensor, (q, k, v)), **given).numpy()
    finally:
        minidl.use_numba(True)
    np.testing.assert_allclose(found, formula(q, k, v, added), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["none", "causal", "floating", "boolean"])
def test_gradients_are_pytorchs(shape, kind) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arrays = draw(*shape)
    given, added = ({}, None) if kind == "none" else some_mask(kind, shape[1], shape[2])
    ours = [minidl.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    g = np.random.default_rng(2).standard_normal((*shape[0], shape[1], shape[4]))
    scaled_dot_product_attention(*ours, **given).backward(minidl.tensor(g))
    mask = None if added is None else torch.tensor(added)
    torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=mask).backward(torch.tensor(g))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_second_derivatives_are_those_of_plain_ops() -> None:
    arrays, found = draw((2,), 3, 4, 2, 3), []
    for drop in (None, lambda weights: weights):
        tensors = [minidl.tensor(a, requires_grad=True) for a in arrays]
        result = minidl.ops.scaled_dot_product_attention_by(drop, *tensors, is_causal=True)
        grads = minidl.autograd.grad(result.square().sum(), tensors, create_graph=True)
        sum((g.square().sum() for g in grads), minidl.tensor(0.0)).backward()
        found.append([t.grad.numpy() for t in tensors])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_large_scores_of_a_later_chunk_take_over() -> None:
    q, k, v = draw((), 3, 600, 4, 2)
    k[500] = 40 * q[1]
    tensors = map(minidl.tensor, (q, k, v))
    np.testing.assert_allclose(scaled_dot_product_attention(*tensors).numpy(), formula(q, k, v), rtol=1e-9)


def test_a_query_for_which_no_key_counts_gets_zeros() -> None:
    q, k, v = (minidl.tensor(a, requires_grad=True) for a in draw((), 2, 3, 4, 5))
    found = scaled_dot_product_attention(q, k, v, minidl.tensor([[True, False, True], [False, False, False]]))
    assert not found[1].detach().numpy().any()
    found.sum().backward()
    assert np.isfinite(q.grad.numpy()).all()
    assert not q.grad[1].numpy().any()


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    arrays = draw((4, 5), 130, 300, 16, 24, np.float32)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            tensors = [minidl.tensor(a, requires_grad=True) for a in arrays]
            result = scaled_dot_product_attention(*tensors)
            result.sum().backward()
            found.append([result.detach().numpy(), *[t.grad.numpy() for t in tensors]])
    finally:
        set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_heads_are_read_where_they_lie() -> None:
    packed = np.random.default_rng(3).standard_normal((2, 40, 3, 4, 8))
    heads = minidl.tensor(packed).permute(2, 0, 3, 1, 4)
    found = scaled_dot_product_attention(heads[0], heads[1], heads[2]).numpy()
    np.testing.assert_allclose(found, formula(*packed.transpose(2, 0, 3, 1, 4)), rtol=1e-12)


class Written(minidl.nn.Module):
    """Attention in plain ops; `way` says what happens to the weights."""

    def __init__(self, way):
        self.way = way

    def forward(self, q, k, v):
        scores = q @ k.transpose(-2, -1)
        scores = scores / 3.0 if self.way == "divided" else scores * 0.5
        weights = scores.softmax(-1)
        if self.way == "shown":
            return weights @ v + weights.sum()
        return weights.relu() @ v if self.way == "changed" else weights @ v


@pytest.mark.skipif(not numba_status(), reason="Numba is not installed")
@pytest.mark.parametrize(("way", "fused"), [("plain", True), ("divided", True), ("shown", True), ("changed", False)])
def test_attention_written_in_plain_ops_is_one_op(way, fused) -> None:
    names = []

    def note(call):
        names.append(call.op.name)
        call.run()

    arrays = draw((2, 3), 20, 30, 8, 8)
    ours, plain = ([minidl.tensor(a, requires_grad=True) for a in arrays] for _ in range(2))
    with launching(note):
        found = Written(way)(*ours)
    assert ("attention" in names) == fused
    expected = Written(way).forward(*plain)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-15)
    found.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("turned", [False, True])
def test_heads_side_by_side_are_those_taken_apart(along, masked, compiled, turned) -> None:
    """Results, gradients and second derivatives; also of rows that do not lie in one piece."""
    sizes = [(3, n) if along else (n, 3) for n in (20, 30, 30)]
    arrays = [np.random.default_rng(i).standard_normal((*n, 8)) for i, n in enumerate(sizes)]
    if turned:
        arrays = [np.asfortranarray(a) for a in arrays]
    mask = minidl.tensor(np.random.default_rng(3).standard_normal((3, 1, 1, 30))) if masked else None
    apart, joined = ((0, 2, 1, 3), (0, 2, 1, 3)) if along else ((1, 2, 0, 3), (2, 0, 1, 3))

    def by_parts(q, k, v):
        heads = [t.reshape(*t.shape[:2], 2, 4).permute(*apart) for t in (q, k, v)]
        return scaled_dot_product_attention(*heads, attn_mask=mask).permute(*joined).reshape(*q.shape)

    found = []
    minidl.use_numba(compiled)
    try:
        for attend in (lambda q, k, v: attention_of_heads(q, k, v, mask, 2, along), by_parts):
            tensors = [minidl.Tensor.of(a).requires_grad_() for a in arrays]
            result = attend(*tensors)
            first = minidl.autograd.grad(result.square().sum(), tensors)
            again = attend(*tensors)
            grads = minidl.autograd.grad(again.square().sum(), tensors, create_graph=True)
            second = minidl.autograd.grad(sum((g.square().sum() for g in grads), minidl.tensor(0.0)), tensors)
            found.append([t.detach().numpy() for t in (result, *first, *grads, *second)])
    finally:
        minidl.use_numba(True)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("along", [0, 1])
def test_many_heads_are_one_op(along) -> None:
    names = []

    def note(call):
        names.append(call.op.name)
        call.run()

    module, x = minidl.nn.MultiheadAttention(8, 2, batch_first=bool(along)).eval(), minidl.ones(3, 5, 8)
    with minidl.no_grad(), launching(note):
        module(x, x, x, need_weights=False)
    assert names == ["linear", "attention", "linear"]
