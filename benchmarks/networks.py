"""The table of networks that are timed: how each is built, what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import mixed_models, models

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

    def one(self) -> Network:
        """The same network on a single image or sequence."""
        return replace(self, shape=(self.shape[0], 1, *self.shape[2:]) if self.sequence else (1, *self.shape[1:]))

    def draw(self, seed: int = 0) -> tuple[Array, Array]:
        """Input and target."""
        rng = np.random.default_rng(seed)
        positions = (self.shape[0], *self.shape[2:]) if self.dense else self.shape[self.sequence :][:1]
        return rng.standard_normal(self.shape, np.float32), rng.integers(0, self.classes, positions)


NETWORKS = [
    Network("unet16", "U-Net 16, 8×1×128²", models.unet(16), (8, 1, 128, 128), 2, dense=True),
    Network("unet32", "U-Net 32, 2×1×256²", models.unet(32), (2, 1, 256, 256), 2, dense=True),
    Network("resnet18", "ResNet-18, 32×1×28²", models.resnet18, (32, 1, 28, 28), 10),
    Network("small_cnn", "small CNN 16-32-64, 128×1×28²", models.small_cnn, (128, 1, 28, 28), 10),
    Network("mlp", "MLP 784-512-256-10, 256×784", models.mlp, (256, 784), 10),
    Network("unet3d", "3-d U-Net 8, 2×1×32×48×32", models.unet(8, dims=3, depth=3), (2, 1, 32, 48, 32), 2, dense=True),
    Network("lstm", "LSTM, T 256, N 64, 64→128", models.recurrent("LSTM", 128), (256, 64, 64), 10, sequence=True),
    Network("gru", "GRU, T 256, N 64, 64→128", models.recurrent("GRU", 128), (256, 64, 64), 10, sequence=True),
    Network(
        "bilstm", "LSTM, 2 layers of 2×64, T 256, N 64", models.recurrent("LSTM", 64, num_layers=2, bidirectional=True),
        (256, 64, 64), 10, sequence=True,
    ),
    Network("vgg", "VGG 32-64-128, 16×3×64²", models.vgg, (16, 3, 64, 64), 10),
    Network("separable", "depthwise-separable net, 16×3×96²", models.separable, (16, 3, 96, 96), 10),
    Network("bottlenecks", "bottleneck ResNet, 8×3×96²", models.bottlenecks, (8, 3, 96, 96), 10),
    Network("unet_odd", "U-Net 24, 2×1×152×104", models.unet(24, depth=3), (2, 1, 152, 104), 2, dense=True),
    Network("autoencoder", "autoencoder 5×5 and 4×4, 8×1×128²", models.autoencoder, (8, 1, 128, 128), 2, dense=True),
    Network("dilated", "dilated net 20-40, 4×1×112²", models.dilated, (4, 1, 112, 112), 3, dense=True),
    Network("signals", "1-d net, 32×12×1000", models.signals, (32, 12, 1000), 5),
    Network("volumes", "3-d net 16-32-64, 2×1×32³", models.volumes, (2, 1, 32, 32, 32), 2),
    Network("transformer", "transformer, 32×1×48²", models.transformer, (32, 1, 48, 48), 10),
    Network("sweeps", "row and column GRU, 8×1×64²", models.sweeps, (8, 1, 64, 64), 2, dense=True),
    Network("mobile", "inverted bottlenecks, 16×3×96²", models.mobile, (16, 3, 96, 96), 10),
    Network("convnext", "ConvNeXt 48-96, 8×3×96²", models.convnext, (8, 3, 96, 96), 10),
    Network("dense", "DenseNet, 8×3×48²", models.dense, (8, 3, 48, 48), 9),
    Network("nnunet", "nnU-Net 16, 1×1×48×40×32", models.nnunet, (1, 1, 48, 40, 32), 2, dense=True),
    Network("encoder", "transformer encoder, 16×50×32", models.encoder, (16, 50, 32), 7),
    Network("gated", "gated inverted bottlenecks, 8×3×96²", mixed_models.gated, (8, 3, 96, 96), 10),
    Network("inception", "Inception, 8×3×96²", mixed_models.inception, (8, 3, 96, 96), 10),
    Network("vit", "ViT 128, 16×3×64²", mixed_models.vit, (16, 3, 64, 64), 10),
    Network("wide_lstm", "LSTM 256, T 64, N 32", mixed_models.wide_lstm, (64, 32, 16), 20, sequence=True),
    Network("unet_gn", "U-Net 16, group norm, resized, 4×1×96²", mixed_models.resizing_unet, (4, 1, 96, 96), 2,
            dense=True),
]  # fmt: skip
