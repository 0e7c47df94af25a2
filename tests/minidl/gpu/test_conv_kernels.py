"""The CUDA kernels of convolution, executed on the CPU: whole numbers exactly as the reference has them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.device import cuda as kernels
from minidl.device.cuda import source_of
from minidl.ops.conv import Conv, ConvGradInput, ConvGradWeight, on_gpu
from minidl.ops.conv.then import ConvThenActivated, ConvThenRelu
from minidl.ops.conv_transpose import ConvTransposeRelu
from minidl.ops.windows import Sizes, window_count
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in


class Sizing(NamedTuple):
    """Samples, channels, filters; lengths; and how windows slide."""

    counts: Sizes
    image: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int = 1


SIZINGS = [
    Sizing((2, 3, 5), (7, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
    Sizing((1, 4, 20), (8, 6), (3, 2), (2, 1), (1, 0), (1, 2), 2),
    Sizing((2, 2, 3), (11,), (4,), (3,), (2,), (2,)),
    Sizing((2, 2, 3), (13,), (3,), (4,), (0,), (2,)),  # pixels that no tap sees
    Sizing((1, 2, 4), (5, 4, 6), (2, 3, 1), (1, 2, 2), (1, 1, 0), (2, 1, 1), 2),
    Sizing((3, 6, 6), (4, 5), (3, 3), (1, 1), (1, 1), (1, 1), 6),
    Sizing((2, 3, 6), (9, 7), (3, 2), (2, 1), (1, 0), (1, 2), 3),
    Sizing((2, 3, 3), (5, 4, 6), (2, 3, 1), (1, 2, 3), (1, 1, 0), (2, 1, 1), 3),
    Sizing((2, 5, 40), (6, 6), (1, 1), (1, 1), (0, 0), (1, 1)),
    Sizing((2, 3, 70), (9, 9), (2, 2), (2, 2), (0, 0), (1, 1)),
    Sizing((9, 20, 17), (8, 9), (3, 3), (1, 1), (1, 1), (1, 1)),  # several tiles and parts of each pass
    Sizing((0, 3, 2), (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
]


def drawn(sizing: Sizing, dtype: Any, scale: float) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Whole numbers times `scale` of every kind that a pass takes, and the parameters."""
    (samples, channels, filters), rng = sizing.counts, np.random.default_rng(0)
    how = {name: getattr(sizing, name) for name in ("stride", "padding", "dilation")}
    windows = window_count("conv", sizing.image, sizing.kernel, *how.values())
    shapes = {
        "x": (samples, channels, *sizing.image), "weight": (filters, channels // sizing.groups, *sizing.kernel),
        "g": (samples, filters, *windows), "bias": (filters,), "bias_back": (channels,),
    }  # fmt: skip
    return {n: (rng.integers(-3, 4, s) * scale).astype(dtype) for n, s in shapes.items()}, {
        **how,
        "groups": sizing.groups,
    }


def passes(sizing: Sizing, dtype: Any, device: str, scale: float = 1) -> list[np.ndarray[Any, Any]]:
    arrays, how = drawn(sizing, dtype, scale)
    x, weight, g, bias, bias_back = (minidl.tensor(a).to(device) for a in arrays.values())
    image = sizing.image
    with minidl.use_numba(False):
        found: list[Tensor] = [
            Conv.apply(x, weight, **how),
            ConvThenRelu.apply(x, weight, bias, g, **how),
            ConvThenActivated.apply(x, weight, bias, activation=("leaky_relu", 0.5), **how),
            ConvGradInput.apply(g, weight, image=image, **how),
            ConvGradInput.apply(g, weight, x, image=image, **how),
            ConvTransposeRelu.apply(g, weight, bias_back, image=image, **how),
            ConvGradWeight.apply(x, g, kernel=sizing.kernel, **how),
        ]
    return [t.cpu().numpy() for t in found]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
@pytest.mark.parametrize("sizing", SIZINGS, ids=str)
def test_all_passes_are_exact(sizing: Sizing, dtype: Any) -> None:
    cuda_on_cpu.need_compiler()
    wanted = passes(sizing, dtype, "cpu")
    with stand_in():
        given = passes(sizing, dtype, "cuda")
    for ours, theirs in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("sizing", [SIZINGS[1], SIZINGS[-2]], ids=str)
def test_neither_the_order_of_threads_nor_the_number_of_blocks_changes_a_bit(
    sizing: Sizing,
) -> None:
    cuda_on_cpu.need_compiler()
    found = []
    for load in cuda_on_cpu.LOADERS:
        with stand_in(load):
            found.append(passes(sizing, np.float32, "cuda", scale=0.1))
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_large_sizes_are_counted_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_on_cpu.need_compiler()
    wanted = passes(SIZINGS[1], np.float32, "cpu")
    monkeypatch.setattr(kernels, "LARGEST_INT_SIZE", 0)
    with stand_in():
        for ours, theirs in zip(passes(SIZINGS[1], np.float32, "cuda"), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_geometry_of_python_is_that_of_the_kernel() -> None:
    source = source_of(on_gpu.CUDA.path)
    names = ", ".join(f"{name}[3]" for name in on_gpu._LENGTHS)
    assert f"int {names};\n    int {', '.join(on_gpu._COUNTS)};" in source
    assert f"STEP = {on_gpu.STEP};" in source
