"""UNet: down to see far, up to see where, and a way across at each size."""

from __future__ import annotations

from collections.abc import Sequence

import minidl
from medapps.models.padding import pad_to_multiple
from minidl import Tensor, nn
from minidl.nn import functional as F

__all__ = ["UNet"]


class UNet(nn.Module):
    """Maps (N, in_channels, H, W) to logits (N, classes, H, W); any H and W.

    Each level has two 3 x 3 convolutions with batch norm; the way down halves the picture by max pooling, the way up
    doubles it by transposed convolutions and joins what the same level saw on the way down.

    Args:
        in_channels: channels of the picture.
        classes: background included.
        widths: channels of the levels, from the full size down; as many halvings as widths but one.
        dropout: share of channels dropped at the smallest size while training.

    Source: Ronneberger et al., "U-Net", MICCAI 2015, with padded convolutions and batch norm.
    """

    def __init__(
        self, in_channels: int, classes: int, widths: Sequence[int] = (16, 32, 64, 128), dropout: float = 0.0
    ) -> None:
        super().__init__()
        before = [in_channels, *widths[:-1]]
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]  # from the smallest size up
        self.down = nn.ModuleList(_level(a, b) for a, b in zip(before, widths, strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(deep, flat, 2, stride=2) for deep, flat in pairs)
        self.up = nn.ModuleList(_level(2 * flat, flat) for _, flat in pairs)
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = pad_to_multiple(x, 2 ** len(self.up))
        seen: list[Tensor] = []
        for level in self.down:
            x = level(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        x = self.dropout(seen.pop())
        for grow, level in zip(self.grow, self.up, strict=True):
            x = level(minidl.cat([grow(x), seen.pop()], 1))
        return self.head(x)[:, :, :height, :width]


def _level(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
