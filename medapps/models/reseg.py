"""ReSeg: a picture read by recurrent nets, row by row and column by column, and written back at full size.

After a sweep along its row in both directions, a position knows its whole row; after one along its column, the whole
picture. So one layer has the reach that convolutions need depth for, at the price of walking step by step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import minidl
from medapps.models.padding import pad_to_multiple
from minidl import Tensor, nn

__all__ = ["ReSeg", "SweepLayer"]

_CELLS: dict[str, Any] = {"gru": nn.GRU, "lstm": nn.LSTM}


class SweepLayer(nn.Module):
    """Cut into patches, sweep along the rows, then along the columns, both ways each.

    Maps (N, in_channels, H, W) to (N, 2 hidden, H / patch, W / patch); `patch` divides H and W.

    Source: Visin et al., "ReNet", arXiv:1505.00393, section 2.
    """

    def __init__(self, in_channels: int, hidden: int, patch: int, cell: str) -> None:
        super().__init__()
        self.patch = patch
        self.along_rows = _CELLS[cell](in_channels * patch * patch, hidden, bidirectional=True)
        self.along_columns = _CELLS[cell](2 * hidden, hidden, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        p, rows, columns = self.patch, height // self.patch, width // self.patch
        patches = x.reshape(n, c, rows, p, columns, p).permute(4, 0, 2, 1, 3, 5)
        # A sequence net takes (steps, sequences, features): along the rows the steps are columns, and conversely.
        along, _ = self.along_rows(patches.reshape(columns, n * rows, c * p * p))
        turned = along.reshape(columns, n, rows, -1).permute(2, 1, 0, 3)
        down, _ = self.along_columns(turned.reshape(rows, n * columns, -1))
        grid: Tensor = down.reshape(rows, n, columns, -1)
        return grid.permute(1, 3, 0, 2)


class ReSeg(nn.Module):
    """Maps (N, in_channels, H, W) to logits (N, classes, H, W); any H and W.

    A short stem of convolutions sees edges at full size, sweep layers see the whole picture, transposed convolutions
    write their finding back at full size, and both are judged together.

    Args:
        in_channels: channels of the picture.
        classes: background included.
        widths: hidden units of each sweep layer, in each direction.
        patches: side of the patches that each sweep layer reads as one.
        stem: channels of the convolutions at full size; 0 leaves them out, and the network is recurrent alone.
        cell: "gru" or "lstm".
        dropout: share of channels dropped after the last sweep while training.

    Source: Visin et al., "ReSeg", CVPR workshops 2016; there VGG-16's first layers are the stem, here two small
    convolutions, and their output joins the last layer too.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: Sequence[int] = (32, 32),
        patches: Sequence[int] = (2, 2),
        stem: int = 16,
        cell: str = "gru",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in _CELLS:
            raise ValueError(f"cell must be one of {', '.join(_CELLS)}, got {cell!r}")
        if len(patches) != len(widths):
            raise ValueError(f"as many patches as widths are needed, got {len(patches)} and {len(widths)}")
        seen = [stem or in_channels, *(2 * hidden for hidden in widths)]  # channels, from the full size down
        written = [widths[0], *seen[1:-1]]
        self.multiple = math.prod(patches)
        self.stem = _stem(in_channels, stem)
        self.sweeps = nn.ModuleList(
            SweepLayer(before, hidden, patch, cell)
            for before, hidden, patch in zip(seen[:-1], widths, patches, strict=True)
        )
        self.grows = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(before, after, patch, patch, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            for before, after, patch in zip(seen[:0:-1], written[::-1], patches[::-1], strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0] + stem, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        edges = self.stem(pad_to_multiple(x, self.multiple))
        seen = edges
        for sweep in self.sweeps:
            seen = sweep(seen)
        seen = self.dropout(seen)
        for grow in self.grows:
            seen = grow(seen)
        joined = minidl.cat([seen, edges], 1) if len(self.stem) else seen
        return self.head(joined)[:, :, :height, :width]


def _stem(in_channels: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (in_channels, channels) if channels else ():
        layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)
