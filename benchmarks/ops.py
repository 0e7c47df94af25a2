"""The ops that are timed alone: forward, and forward with backward, on shapes as they occur in the networks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class OpCase:
    """One row: a call against the names that both libraries share, and the shapes of its arguments."""

    name: str
    title: str
    call: Callable[..., Any]  # (lib, functional, *tensors)
    shapes: tuple[Shape, ...]
    images: int = 1  # how many arguments are images; those behind them are weights
    contiguous: bool = False  # whether ours, too, gets images plane by plane, as a user's own array lies

    def draw(self) -> list[Any]:
        rng = np.random.default_rng(0)
        return [rng.standard_normal(s, np.float32) for s in self.shapes]


def _conv(title: str, x: Shape, w: Shape, **options: Any) -> OpCase:
    return OpCase("conv2d", f"conv2d {title}", lambda lib, F, x, w: F.conv2d(x, w, **options), (x, w))


@functools.cache
def _whole(lib: Any, shape: Shape, below: int) -> Any:
    """Indices or classes."""
    return lib.tensor(np.random.default_rng(0).integers(0, below, shape))


@functools.cache
def _parts(lib: Any, shape: Shape) -> Any:
    """Targets between 0 and 1."""
    return lib.tensor(np.random.default_rng(0).random(shape, np.float32))


@functools.cache
def _grid(lib: Any, images: int, size: int) -> Any:
    """Places of a small rotation."""
    turn = np.array([[0.98, -0.17, 0.05], [0.17, 0.98, -0.05]], np.float32)
    return lib.nn.functional.affine_grid(
        lib.tensor(np.stack([turn] * images)), (images, 1, size, size), align_corners=False
    )


OPS = [
    _conv("1→16, 3×3, 128×28²", (128, 1, 28, 28), (16, 1, 3, 3), padding=1),
    _conv("16→16, 3×3, 8×128²", (8, 16, 128, 128), (16, 16, 3, 3), padding=1),
    _conv("32→32, 3×3, 8×64²", (8, 32, 64, 64), (32, 32, 3, 3), padding=1),
    _conv("64→64, 3×3, 32×28²", (32, 64, 28, 28), (64, 64, 3, 3), padding=1),
    _conv("64→128, 3×3 stride 2, 32×28²", (32, 64, 28, 28), (128, 64, 3, 3), padding=1, stride=2),
    _conv("64→64, 1×1, 32×28²", (32, 64, 28, 28), (64, 64, 1, 1)),
    _conv("64, depthwise 3×3, 32×28²", (32, 64, 28, 28), (64, 1, 3, 3), padding=1, groups=64),
    OpCase("conv_transpose2d", "conv_transpose2d 64→32, 2×2 stride 2, 8×32²",
           lambda lib, F, x, w: F.conv_transpose2d(x, w, stride=2), ((8, 64, 32, 32), (64, 32, 2, 2))),
    OpCase("matmul", "matmul 512³", lambda lib, F, x, y: lib.matmul(x, y), ((512, 512), (512, 512))),
    OpCase("linear", "linear 256×784→512", lambda lib, F, x, w, b: F.linear(x, w, b), ((256, 784), (512, 784), (512,))),
    OpCase("max_pool2d", "max_pool2d 2, 8×32×128²", lambda lib, F, x: F.max_pool2d(x, 2), ((8, 32, 128, 128),)),
    OpCase("avg_pool2d", "avg_pool2d 2, 8×32×128²", lambda lib, F, x: F.avg_pool2d(x, 2), ((8, 32, 128, 128),)),
    OpCase("batch_norm", "batch_norm, 8×32×128²",
           lambda lib, F, x, w, b: F.batch_norm(x, None, None, w, b, training=True), ((8, 32, 128, 128), (32,), (32,))),
    OpCase("layer_norm", "layer_norm 256, 64×256", lambda lib, F, x: F.layer_norm(x, (256,)), ((64, 256, 256),)),
    OpCase("group_norm", "group_norm 8, 8×32×64²",
           lambda lib, F, x, w, b: F.group_norm(x, 8, w, b), ((8, 32, 64, 64), (32,), (32,))),
    OpCase("max_pool2d", "max_pool2d 3, stride 2, 4×64×112²",
           lambda lib, F, x: F.max_pool2d(x, 3, 2, 1), ((4, 64, 112, 112),)),
    OpCase("adaptive_avg_pool2d", "adaptive_avg_pool2d 1, 32×512×7²",
           lambda lib, F, x: F.adaptive_avg_pool2d(x, 1), ((32, 512, 7, 7),)),
    OpCase("relu", "relu, 8×32×128²", lambda lib, F, x: F.relu(x), ((8, 32, 128, 128),)),
    OpCase("gelu", "gelu, 8×32×128²", lambda lib, F, x: F.gelu(x), ((8, 32, 128, 128),)),
    OpCase("silu", "silu, 8×32×128²", lambda lib, F, x: F.silu(x), ((8, 32, 128, 128),)),
    OpCase("tanh", "tanh, 8×32×128²", lambda lib, F, x: lib.tanh(x), ((8, 32, 128, 128),)),
    OpCase("exp", "exp, 8×32×128²", lambda lib, F, x: lib.exp(x), ((8, 32, 128, 128),)),
    OpCase("log_softmax", "log_softmax of 4 classes, 8×4×128²",
           lambda lib, F, x: F.log_softmax(x, 1), ((8, 4, 128, 128),)),
    OpCase("hardswish", "hardswish, 8×32×128²", lambda lib, F, x: F.hardswish(x), ((8, 32, 128, 128),)),
    OpCase("dropout", "dropout, 1024×4096", lambda lib, F, x: F.dropout(x, 0.5, True), ((1024, 4096),)),
    OpCase("softmax", "softmax over 256, 4096×256", lambda lib, F, x: F.softmax(x, 1), ((4096, 256),)),
    OpCase("interpolate", "bilinear ×2, 8×32×64²",
           lambda lib, F, x: F.interpolate(x, scale_factor=2, mode="bilinear"), ((8, 32, 64, 64),)),
    OpCase("interpolate", "nearest ×2, 8×32×64²",
           lambda lib, F, x: F.interpolate(x, scale_factor=2), ((8, 32, 64, 64),)),
    OpCase("cat", "cat of 2×16 channels, 8×128²",
           lambda lib, F, x, y: lib.cat([x, y], 1), ((8, 16, 128, 128), (8, 16, 128, 128)), images=2),
    OpCase("mul", "mul by a channel, 8×32×128²",
           lambda lib, F, x, y: x * y, ((8, 32, 128, 128), (8, 32, 1, 1)), images=2),
    OpCase("mul", "mul by a map, 8×32×128²",
           lambda lib, F, x, y: x * y, ((8, 32, 128, 128), (8, 1, 128, 128)), images=2),
    OpCase("relu", "relu of (N, H, W, C) seen as images, 8×32×128²",
           lambda lib, F, x: F.relu(x.permute(0, 3, 1, 2)), ((8, 128, 128, 32),)),
    OpCase("amax", "amax of each channel, 8×32×128²", lambda lib, F, x: x.amax((0, 2, 3)), ((8, 32, 128, 128),)),
    OpCase("sum", "sum of each channel, 8×32×128²", lambda lib, F, x: x.sum((0, 2, 3)), ((8, 32, 128, 128),)),
    OpCase("add", "add, 8×32×128²", lambda lib, F, x, y: x + y, ((8, 32, 128, 128), (8, 32, 128, 128)), images=2),
    OpCase("attention", "attention, 8×8 heads of 64, 256 tokens",
           lambda lib, F, q, k, v: F.scaled_dot_product_attention(q, k, v), ((8, 8, 256, 64),) * 3, contiguous=True),
    OpCase("group_norm", "group_norm 32, 8×320×16², planes",
           lambda lib, F, x, w, b: F.group_norm(x, 32, w, b), ((8, 320, 16, 16), (320,), (320,)), contiguous=True),
    OpCase("instance_norm", "instance_norm, 8×32×64²", lambda lib, F, x: F.instance_norm(x), ((8, 32, 64, 64),)),
    OpCase("instance_norm", "instance_norm, 2×16×32³, planes",
           lambda lib, F, x: F.instance_norm(x), ((2, 16, 32, 32, 32),), contiguous=True),
    OpCase("rms_norm", "rms_norm 256, 64×256",
           lambda lib, F, x, w: F.rms_norm(x, (256,), w), ((64, 256, 256), (256,))),
    OpCase("interpolate", "bicubic ×2, 8×3×64², planes",
           lambda lib, F, x: F.interpolate(x, scale_factor=2, mode="bicubic"), ((8, 3, 64, 64),), contiguous=True),
    OpCase("interpolate", "bilinear 224² of 256², 8×3, planes",
           lambda lib, F, x: F.interpolate(x, size=(224, 224), mode="bilinear"), ((8, 3, 256, 256),), contiguous=True),
    OpCase("interpolate", "trilinear ×2, 2×16×16³",
           lambda lib, F, x: F.interpolate(x, scale_factor=2, mode="trilinear"), ((2, 16, 16, 16, 16),)),
    OpCase("grid_sample", "grid_sample, 8×16×64²",
           lambda lib, F, x: F.grid_sample(x, _grid(lib, 8, 64), align_corners=False), ((8, 16, 64, 64),)),
    OpCase("grid_sample", "grid_sample, 8×3×64², planes",
           lambda lib, F, x: F.grid_sample(x, _grid(lib, 8, 64), align_corners=False), ((8, 3, 64, 64),),
           contiguous=True),
    OpCase("embedding", "embedding, 4096 of 10000×128",
           lambda lib, F, w: F.embedding(_whole(lib, (32, 128), 10000), w), ((10000, 128),)),
    OpCase("cross_entropy", "cross_entropy, 32×10",
           lambda lib, F, x: F.cross_entropy(x, _whole(lib, (32,), 10)), ((32, 10),)),
    OpCase("cross_entropy", "cross_entropy, 8×4×128²",
           lambda lib, F, x: F.cross_entropy(x, _whole(lib, (8, 128, 128), 4)), ((8, 4, 128, 128),)),
    OpCase("nll_loss", "nll_loss, 256×1000",
           lambda lib, F, x: F.nll_loss(x, _whole(lib, (256,), 1000)), ((256, 1000),)),
    OpCase("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits, 8×128²",
           lambda lib, F, x: F.binary_cross_entropy_with_logits(x, _parts(lib, (8, 128, 128))), ((8, 128, 128),)),
    OpCase("pad", "pad by 1, 8×3×128², planes",
           lambda lib, F, x: F.pad(x, (1, 1, 1, 1)), ((8, 3, 128, 128),), contiguous=True),
    OpCase("add", "add of 16 numbers", lambda lib, F, x, y: x + y, ((16,), (16,))),
    OpCase("sum", "sum, 8×32×128²", lambda lib, F, x: x.sum(), ((8, 32, 128, 128),)),
]  # fmt: skip
