"""The networks that are timed, each written once against the names that minidl and PyTorch share: `lib` is either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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


def vgg(lib: Any) -> Any:
    """Plain 3x3 convolutions without norms, and a dense end (after Simonyan and Zisserman, ICLR 2015)."""
    nn = lib.nn
    layers, before = [], 3
    for widths in [(32, 32), (64, 64), (128, 128, 128)]:
        for after in widths:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            before = after
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, 10))


def separable(lib: Any) -> Any:
    """Depthwise and pointwise convolutions in turn with ReLU6 (MobileNet: Howard et al., arXiv:1704.04861)."""
    nn = lib.nn
    layers = [nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for before, after, stride in [(16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]:
        layers += [
            nn.Conv2d(before, before, 3, stride=stride, padding=1, groups=before, bias=False),
            nn.BatchNorm2d(before), nn.ReLU6(),
            nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU6(),
        ]  # fmt: skip
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def bottlenecks(lib: Any) -> Any:
    """Bottleneck blocks of 1x1, 3x3 and 1x1 with shortcuts, as in ResNet-50 (He et al., CVPR 2016)."""
    nn = lib.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
            self.relu, self.shortcut = nn.ReLU(), None
            if stride != 1 or before != 4 * width:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
                )

        def forward(self, x: Any) -> Any:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
            return self.relu(y + (x if self.shortcut is None else self.shortcut(x)))

    return nn.Sequential(
        nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Block(32, 32, 1), Block(128, 32, 1), Block(128, 64, 2), Block(256, 64, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def autoencoder(lib: Any) -> Any:
    """5x5 strided convolutions down, 4x4 transposed ones up, a class for every pixel."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, stride=2, padding=2), nn.LeakyReLU(0.1),
        nn.Conv2d(24, 48, 5, stride=2, padding=2), nn.LeakyReLU(0.1),
        nn.Conv2d(48, 96, 3, stride=2, padding=1), nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(96, 48, 4, stride=2, padding=1), nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(48, 24, 4, stride=2, padding=1), nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(24, 2, 4, stride=2, padding=1),
    )  # fmt: skip


def dilated(lib: Any) -> Any:
    """3x3 convolutions whose steps grow, side by side at the end (DeepLab: Chen et al., arXiv:1706.05587)."""
    nn = lib.nn

    def block(before: int, after: int, step: int) -> Any:
        conv = nn.Conv2d(before, after, 3, padding=step, dilation=step, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(block(1, 20, 1), nn.MaxPool2d(2), block(20, 40, 1), block(40, 40, 2))
            self.branches = nn.ModuleList([block(40, 20, step) for step in (1, 2, 4, 8)])
            self.head = nn.Conv2d(80, 3, 1)

        def forward(self, x: Any) -> Any:
            seen = self.stem(x)
            joined = lib.cat([branch(seen) for branch in self.branches], 1)
            return lib.nn.functional.interpolate(
                self.head(joined), size=tuple(x.shape[2:]), mode="bilinear", align_corners=False
            )

    return Net()


def signals(lib: Any) -> Any:
    """Convolutions along one dimension, as for an ECG of 12 leads."""
    nn = lib.nn
    layers, before = [], 12
    for after, stride in [(32, 2), (64, 2), (64, 1), (128, 2)]:
        layers += [nn.Conv1d(before, after, 7, stride=stride, padding=3), nn.BatchNorm1d(after), nn.ReLU()]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, 5))


def volumes(lib: Any) -> Any:
    """Convolutions over volumes, pooled twice."""
    nn = lib.nn
    layers, before = [], 1
    for after in (16, 32, 64):
        layers += [nn.Conv3d(before, after, 3, padding=1), nn.BatchNorm3d(after), nn.ReLU(), nn.MaxPool3d(2)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, 2))


def transformer(lib: Any) -> Any:
    """Two blocks of self-attention over patches (ViT: Dosovitskiy et al., ICLR 2021), written in plain ops."""
    nn = lib.nn
    width, heads = 96, 4

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            n, length = x.shape[:2]
            parts = self.qkv(self.norm1(x)).reshape(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            q, k, v = parts[0], parts[1], parts[2]
            weights = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
            x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, width))
            return x + self.dense(self.norm2(x))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(1, width, 4, stride=4)
            self.blocks = nn.Sequential(Block(), Block())
            self.head = nn.Linear(width, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    return Net()


def sweeps(lib: Any) -> Any:
    """A recurrent sweep along the rows and one along the columns of an image (ReNet: Visin et al., 2015)."""
    nn = lib.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 16, 3, padding=1)
            self.rows = nn.GRU(64, 32, bidirectional=True)
            self.columns = nn.GRU(64, 32, bidirectional=True)
            self.grow = nn.ConvTranspose2d(64, 16, 2, stride=2)
            self.head = nn.Conv2d(16, 2, 3, padding=1)

        def forward(self, x: Any) -> Any:
            n, _, height, width = x.shape
            h, w = height // 2, width // 2
            patches = self.stem(x).reshape(n, 16, h, 2, w, 2).permute(4, 0, 2, 1, 3, 5)  # (w, n, h, 16, 2, 2)
            across = self.rows(patches.reshape(w, n * h, 64))[0]
            turned = across.reshape(w, n, h, 64).permute(2, 1, 0, 3)
            down = self.columns(turned.reshape(h, n * w, 64))[0]
            return self.head(self.grow(down.reshape(h, n, w, 64).permute(1, 3, 0, 2)))

    return Net()


def mobile(lib: Any) -> Any:
    """Inverted bottlenecks with SiLU: wide depthwise windows between 1x1 convolutions.

    After MobileNetV2 (Sandler et al., CVPR 2018), with the activation of EfficientNet (Tan and Le, ICML 2019).
    """
    nn = lib.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            wide = 4 * before
            self.has_shortcut = stride == 1 and before == after
            self.body = nn.Sequential(
                nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
                nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
                nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.has_shortcut else self.body(x)

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(),
        Block(16, 16, 1), Block(16, 24, 2), Block(24, 24, 1), Block(24, 40, 2), Block(40, 40, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10),
    )  # fmt: skip


def convnext(lib: Any) -> Any:
    """7x7 depthwise windows, layer norm, and dense layers with GELU for each pixel (Liu et al., CVPR 2022)."""
    nn = lib.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.windows = nn.Conv2d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width)
            self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            pixels = self.windows(x).permute(0, 2, 3, 1)
            return x + self.dense(self.norm(pixels)).permute(0, 3, 1, 2)

    return nn.Sequential(
        nn.Conv2d(3, 48, 4, 4), Block(48), Block(48), nn.Conv2d(48, 96, 2, 2), Block(96), Block(96),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10),
    )  # fmt: skip


def dense(lib: Any) -> Any:
    """Every layer sees the results of all before it (DenseNet: Huang et al., CVPR 2017)."""
    nn = lib.nn

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int) -> None:
            super().__init__()
            self.new = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, 12, 3, padding=1, bias=False))

        def forward(self, x: Any) -> Any:
            return lib.cat([x, self.new(x)], 1)

    def stage(before: int) -> list[Any]:
        return [*(Layer(before + 12 * i) for i in range(4)), nn.BatchNorm2d(before + 48), nn.ReLU()]

    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), *stage(24), nn.Conv2d(72, 36, 1), nn.AvgPool2d(2), *stage(36),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(84, 9),
    )  # fmt: skip


def nnunet(lib: Any) -> Any:
    """A 3-d U-Net with instance norm, leaky ReLU and strided convolutions (Isensee et al., Nature Methods 2021)."""
    nn = lib.nn

    def block(before: int, after: int, stride: int = 1) -> Any:
        layers = []
        for channels, step in ((before, stride), (after, 1)):
            norm = nn.InstanceNorm3d(after, affine=True)
            layers += [nn.Conv3d(channels, after, 3, step, 1), norm, nn.LeakyReLU(0.01)]
        return nn.Sequential(*layers)

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([block(1, 16), block(16, 32, 2), block(32, 64, 2)])
            self.up = nn.ModuleList([nn.ConvTranspose3d(64, 32, 2, 2), nn.ConvTranspose3d(32, 16, 2, 2)])
            self.joined = nn.ModuleList([block(64, 32), block(32, 16)])
            self.head = nn.Conv3d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            seen = []
            for block in self.down:
                x = block(x)
                seen.append(x)
            for up, block, skip in zip(self.up, self.joined, seen[1::-1], strict=True):
                x = block(lib.cat([up(x), skip], 1))
            return self.head(x)

    return Net()


def encoder(lib: Any) -> Any:
    """Two of PyTorch's own TransformerEncoderLayers over sequences (Vaswani et al., NeurIPS 2017)."""
    nn = lib.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
            self.start, self.encoder, self.head = nn.Linear(32, 128), nn.TransformerEncoder(layer, 2), nn.Linear(128, 7)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(self.start(x)).mean(1))

    return Net()
