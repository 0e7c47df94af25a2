"""More networks that are timed: gates, branches, attention over patches, wide states, resizing. As in `models.py`."""

from __future__ import annotations

from typing import Any


def _conv(
    nn: Any, before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: str = "ReLU"
) -> Any:
    """Convolution, batch-norm, activation."""
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), getattr(nn, act)())


def gated(lib: Any) -> Any:
    """Inverted bottlenecks whose channels are gated by their means (EfficientNet: Tan and Le, ICML 2019)."""
    nn = lib.nn

    class Gate(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.gate = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 4, 1), nn.SiLU(),
                nn.Conv2d(width // 4, width, 1), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x * self.gate(x)

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, after: int, stride: int, kernel: int) -> None:
            super().__init__()
            wide = 4 * before
            self.has_shortcut = stride == 1 and before == after
            self.body = nn.Sequential(
                _conv(nn, before, wide, 1, act="SiLU"), _conv(nn, wide, wide, kernel, stride, wide, "SiLU"), Gate(wide),
                nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x + self.body(x) if self.has_shortcut else self.body(x)

    return nn.Sequential(
        _conv(nn, 3, 16, 3, 2, act="SiLU"),
        Block(16, 24, 2, 3), Block(24, 24, 1, 3), Block(24, 40, 2, 5), Block(40, 40, 1, 5),
        _conv(nn, 40, 128, 1, act="SiLU"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def inception(lib: Any) -> Any:
    """Four branches side by side: 1x1, 3x3, 5x5 and a pool (Szegedy et al., CVPR 2015)."""
    nn = lib.nn

    class Branches(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, before: int, one: int, three: int, five: int, pool: int) -> None:
            super().__init__()
            self.branches = nn.ModuleList([
                _conv(nn, before, one, 1),
                nn.Sequential(_conv(nn, before, three // 2, 1), _conv(nn, three // 2, three)),
                nn.Sequential(_conv(nn, before, five // 2, 1), _conv(nn, five // 2, five, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(nn, before, pool, 1)),
            ])  # fmt: skip

        def forward(self, x: Any) -> Any:
            return lib.cat([branch(x) for branch in self.branches], 1)

    return nn.Sequential(
        _conv(nn, 3, 32, 3, 2), nn.MaxPool2d(2), Branches(32, 32, 48, 16, 16), Branches(112, 48, 64, 24, 24),
        nn.MaxPool2d(2), Branches(160, 64, 96, 32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(224, 10),
    )  # fmt: skip


def vit(lib: Any) -> Any:
    """Patches of 8x8 pixels through two encoder layers with norms first (ViT: Dosovitskiy et al., ICLR 2021)."""
    nn = lib.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(128, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True)
            self.patches, self.places = nn.Conv2d(3, 128, 8, 8), nn.Parameter(lib.zeros(1, 64, 128))
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2) + self.places).mean(1))

    return Net()


def wide_lstm(lib: Any) -> Any:
    """An LSTM whose weights are larger than a second-level cache, and classes from its last state."""
    nn = lib.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.start, self.sweep, self.head = nn.Linear(16, 48), nn.LSTM(48, 256), nn.Linear(256, 20)

        def forward(self, x: Any) -> Any:
            return self.head(self.sweep(self.start(x))[0][-1])

    return Net()


def resizing_unet(lib: Any) -> Any:
    """A U-Net with group norm and SiLU that averages on the way down and resizes on the way up."""
    nn = lib.nn

    def double(before: int, after: int) -> Any:
        layers = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        return nn.Sequential(*layers)

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([double(1, 16), double(16, 32), double(32, 64)])
            self.joined = nn.ModuleList([double(96, 32), double(48, 16)])
            self.pool, self.up = nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")
            self.head = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            seen = []
            for level, block in enumerate(self.down):
                x = block(self.pool(x) if level else x)
                seen.append(x)
            for block, skip in zip(self.joined, seen[1::-1], strict=True):
                x = block(lib.cat([self.up(x), skip], 1))
            return self.head(x)

    return Net()
