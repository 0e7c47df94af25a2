"""Images read between their pixels, and rows of tables: values and gradients are PyTorch's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.device import get_num_threads, set_num_threads

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

WAYS = list(itertools.product(["bilinear", "nearest"], ["zeros", "border", "reflection"], [False, True]))
CUBIC_WAYS = list(itertools.product(["bicubic"], ["zeros", "border", "reflection"], [False, True]))


def draw(dims, channels, dtype=np.float64):
    """Image, places (some far outside), and the gradient of what is read there."""
    rng = np.random.default_rng(0)
    space, places = ((5, 7), (6, 3)) if dims == 2 else ((4, 5, 6), (3, 4, 2))
    x, g = (rng.standard_normal((2, channels, *s)).astype(dtype) for s in (space, places))
    return x, rng.uniform(-2.5, 2.5, (2, *places, dims)).astype(dtype), g


def results(lib, x, grid, g, *way):
    x, grid = lib.tensor(x, requires_grad=True), lib.tensor(grid, requires_grad=True)
    found = lib.nn.functional.grid_sample(x, grid, *way)
    found.backward(lib.tensor(g))
    return found.detach().numpy(), x.grad.numpy(), grid.grad.numpy()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_sampling_is_pytorchs(way, dims, channels) -> None:
    arrays = draw(dims, channels)
    for ours, theirs in zip(results(minidl, *arrays, *way), results(torch, *arrays, *way), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", CUBIC_WAYS)
@pytest.mark.parametrize("channels", [1, 3, 17])
def test_cubic_sampling_is_pytorchs(way, channels) -> None:
    arrays = draw(2, channels)
    for ours, theirs in zip(results(minidl, *arrays, *way), results(torch, *arrays, *way), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("way", [*WAYS, *CUBIC_WAYS])
def test_images_that_lie_channels_last_give_the_same(way) -> None:
    x, grid, g = draw(2, 5)
    last = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g)]
    for first, other in zip(
        results(minidl, x, grid, g, *way), results(minidl, last[0], grid, last[1], *way), strict=True
    ):
        np.testing.assert_allclose(first, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("way", [*WAYS, *CUBIC_WAYS])
def test_the_definition_gives_the_same(way) -> None:
    arrays = draw(2, 5)
    compiled = results(minidl, *arrays, *way)
    minidl.use_numba(False)
    try:
        defined = results(minidl, *arrays, *way)
    finally:
        minidl.use_numba(True)
    for a, b in zip(compiled, defined, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("way", [*WAYS, *CUBIC_WAYS])
def test_a_short_chunk_of_places_leaves_the_next_image_alone(way, is_last) -> None:
    """Two images of 272 places, 16 more than a chunk, and sums that are exact: one thread takes all chunks in turn."""
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 8, (2, 3, 9, 9)).astype(np.float32)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if is_last else x
    grid, g = rng.integers(-9, 9, (2, 17, 16, 2)).astype(np.float32) / 8, np.ones((2, 3, 17, 16), np.float32)
    before = get_num_threads()
    set_num_threads(1)
    try:
        found = results(minidl, x, grid, g, *way)
    finally:
        set_num_threads(before)
    for ours, theirs in zip(found, results(torch, x, grid, g, *way), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_places_that_are_no_numbers_read_no_pixel() -> None:
    grid = minidl.tensor(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]).repeat(2).reshape(1, 1, 6, 2))
    found = minidl.nn.functional.grid_sample(minidl.ones(1, 4, 3, 3).double(), grid).numpy()
    np.testing.assert_array_equal(found[0, :, 0], [[0, 0, 0, 0, 0, 1]] * 4)


def test_bits_of_sampling_and_picking_do_not_depend_on_the_number_of_threads() -> None:
    x, grid, g = draw(2, 16, np.float32)
    grid, g = np.tile(grid, (1, 30, 20, 1)), np.tile(g, (1, 1, 30, 20))
    index = np.random.default_rng(1).integers(0, 300, 5000)
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            weight = minidl.tensor(np.random.default_rng(2).standard_normal((300, 64), np.float32), requires_grad=True)
            picked = minidl.nn.functional.embedding(minidl.tensor(index), weight)
            (picked * picked).sum().backward()
            found.append([*results(minidl, x, grid, g), weight.grad.numpy()])
    finally:
        set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"padding_idx": -1}, {"scale_grad_by_freq": True}])
@pytest.mark.parametrize("compiled", [True, False])
def test_embedding_is_pytorchs(options, compiled) -> None:
    rng = np.random.default_rng(0)
    index, table, g = rng.integers(0, 9, (4, 30)), rng.standard_normal((9, 70)), rng.standard_normal((4, 30, 70))
    names, found = [], []

    def note(call):
        names.append(call.op.name)
        call.run()

    minidl.use_numba(compiled)
    try:
        for lib in (minidl, torch):
            weight = lib.tensor(table, requires_grad=True)
            with launching(note):
                result = lib.nn.functional.embedding(lib.tensor(index), weight, **options)
                result.backward(lib.tensor(g))
            found.append((result.detach().numpy(), weight.grad.numpy()))
    finally:
        minidl.use_numba(True)
    assert {"embedding", "embedding_grad"} <= set(names)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_bits_do_not_depend_on_threads(mode, is_last) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5, 23, 31)).astype(np.float32)
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if is_last else x
    grid = minidl.tensor(rng.uniform(-1.3, 1.3, (3, 65, 67, 2)).astype(np.float32))
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            set_num_threads(threads)
            found.append(minidl.nn.functional.grid_sample(minidl.Tensor.of(x), grid, mode, "reflection").numpy())
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
