"""The networks that are timed, each written once against the names that minidl and PyTorch share.

`lib` is either library. A network gives its module, and draws its input and target as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = Any


@dataclass(frozen=True)
class Network:
    """One row: how to build it, what goes in, and how many classes come out."""

    name: str
    title: str
    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    classes: int
    dense: bool = False  # a class for every pixel
    sequence: bool = False  # shape is (steps, batch, features), a class for each sequence

    def smaller(self) -> Network:
        """The same network on at most eight images of side 64, or eight steps: as good a proof in less time."""
        if len(self.shape) == 2:
            return self
        return replace(self, shape=(min(self.shape[0], 8), self.shape[1], *[min(side, 64) for side in self.shape[2:]]))

    def draw(self, seed: int = 0) -> tuple[Array, Array]:
        """Input and target."""
        rng = np.random.default_rng(seed)
        positions = (self.shape[0], *self.shape[2:]) if self.dense else self.shape[self.sequence :][:1]
        return rng.standard_normal(self.shape, np.float32), rng.integers(0, self.classes, positions)


def small_cnn(lib: Any) -> Any:
    """Three convolutions with pooling, two dense layers."""
    nn = lib.nn
    layers = []
    for before, after in [(1, 16), (16, 32), (32, 64)]:
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if after < 64 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10))


def mlp(lib: Any) -> Any:
    """784-512-256-10."""
    nn = lib.nn
    return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))


def resnet18(lib: Any) -> Any:
    """ResNet-18 with a 3x3 stem and without its pooling, as used for small images (He et al., CVPR 2016)."""
    nn = lib.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.shortcut = nn.Identity()
            if stride != 1 or before != after:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x: Any) -> Any:
            y = self.bn1(self.conv1(x)).relu()
            return (self.bn2(self.conv2(y)) + self.shortcut(x)).relu()

    stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [Block(a, b, s) if first else Block(b, b, 1) for a, b, s in stages for first in (True, False)]
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def unet(base: int, dims: int = 2, depth: int = 4) -> Callable[[Any], Any]:
    """A U-Net (Ronneberger et al., MICCAI 2015) with batch-norm, `base` channels at the top and `depth` levels."""

    def build(lib: Any) -> Any:
        nn = lib.nn
        conv, up, pool = (getattr(nn, f"{name}{dims}d") for name in ("Conv", "ConvTranspose", "MaxPool"))
        norm = getattr(nn, f"BatchNorm{dims}d")

        def double(before: int, after: int) -> Any:
            return nn.Sequential(
                conv(before, after, 3, padding=1, bias=False), norm(after), nn.ReLU(),
                conv(after, after, 3, padding=1, bias=False), norm(after), nn.ReLU(),
            )  # fmt: skip

        class UNet(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                widths = [base << level for level in range(depth)]
                self.down = nn.ModuleList([double(a, b) for a, b in zip([1, *widths], widths, strict=False)])
                self.pool = pool(2)
                self.up = nn.ModuleList([up(2 * w, w, 2, stride=2) for w in reversed(widths[:-1])])
                self.merge = nn.ModuleList([double(2 * w, w) for w in reversed(widths[:-1])])
                self.head = conv(base, 2, 1)

            def forward(self, x: Any) -> Any:
                skips = []
                for level, block in enumerate(self.down):
                    x = block(self.pool(x) if level else x)
                    skips.append(x)
                for up, merge, skip in zip(self.up, self.merge, reversed(skips[:-1]), strict=True):
                    x = merge(lib.cat([skip, up(x)], 1))
                return self.head(x)

        return UNet()

    return build


def recurrent(layer: str, hidden: int, **options: Any) -> Callable[[Any], Any]:
    """An LSTM or GRU over 64 features, and classes from the mean of its states."""

    def build(lib: Any) -> Any:
        nn = lib.nn

        class Classifier(nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.sweep = getattr(nn, layer)(64, hidden, **options)
                self.head = nn.Linear(hidden * (1 + options.get("bidirectional", False)), 10)

            def forward(self, x: Any) -> Any:
                return self.head(self.sweep(x)[0].mean(0))

        return Classifier()

    return build


NETWORKS = [
    Network("unet16", "U-Net 16, 8×1×128²", unet(16), (8, 1, 128, 128), 2, dense=True),
    Network("unet32", "U-Net 32, 2×1×256²", unet(32), (2, 1, 256, 256), 2, dense=True),
    Network("resnet18", "ResNet-18, 32×1×28²", resnet18, (32, 1, 28, 28), 10),
    Network("small_cnn", "small CNN 16-32-64, 128×1×28²", small_cnn, (128, 1, 28, 28), 10),
    Network("mlp", "MLP 784-512-256-10, 256×784", mlp, (256, 784), 10),
    Network("unet3d", "3-d U-Net 8, 2×1×32×48×32", unet(8, dims=3, depth=3), (2, 1, 32, 48, 32), 2, dense=True),
    Network("lstm", "LSTM, T 256, N 64, 64→128", recurrent("LSTM", 128), (256, 64, 64), 10, sequence=True),
    Network("gru", "GRU, T 256, N 64, 64→128", recurrent("GRU", 128), (256, 64, 64), 10, sequence=True),
    Network(
        "bilstm", "LSTM, 2 layers of 2×64, T 256, N 64", recurrent("LSTM", 64, num_layers=2, bidirectional=True),
        (256, 64, 64), 10, sequence=True,
    ),
]  # fmt: skip
