"""ResidualCNN: a small residual network for small pictures.

A ResNet with one block a stage and no pooling before the first: at 28 x 28 pixels the full-resolution stage is what
separates fine texture, and 0.1 million weights are enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl import Tensor, nn
from minidl.nn import functional as F

__all__ = ["ResidualBlock", "ResidualCNN"]


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and the way around them: relu(shortcut(x) + conv(relu(conv(x)))).

    Maps (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)). The shortcut is the input
    itself where shapes allow, else a 1 x 1 convolution.

    Source: He et al., "Deep residual learning for image recognition", CVPR 2016, section 3 (option B).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResidualCNN(nn.Module):
    """A stem, one residual block a width (each after the first halves the picture), means over regions, one layer.

    Maps (N, in_channels, H, W) to logits (N, classes); any H and W.

    Args:
        in_channels: 1 for grey, 3 for colour.
        classes: number of classes, at least 2.
        widths: channels of the stages.
        regions: the picture is cut into regions x regions, with a mean each; 1 forgets where things are.
        dropout: share of the features dropped before the last layer while training.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: Sequence[int] = (16, 32, 64),
        regions: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        before = [widths[0], *widths[:-1]]
        self.stages = nn.Sequential(
            *(ResidualBlock(a, b, 2 if i else 1) for i, (a, b) in enumerate(zip(before, widths, strict=True)))
        )
        self.pool = nn.AdaptiveAvgPool2d(regions)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] * regions * regions, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last map of features, (N, widths[-1], h, w), from pictures (N, in_channels, H, W)."""
        return self.stages(self.stem(x))

    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, classes) from what `features` gives."""
        return self.head(self.dropout(self.pool(features).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))
