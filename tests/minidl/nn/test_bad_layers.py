"""Layers that cannot be meant, and inputs that a layer does not take: one sentence each."""

from __future__ import annotations

import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, MinidlError, ShapeError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 8, 3, groups=2), "Conv2d: groups must divide in_channels 3 and out_channels 8, got 2"),
        (lambda: nn.Conv2d(3, 8, 3, padding="full"), "Conv2d: padding must be whole numbers, 'same' or 'valid'"),
        (lambda: nn.Conv2d(3, 8, 3, stride=2, padding="same"), "padding 'same' needs stride 1"),
        (lambda: nn.Conv2d(3, 8, 3, padding_mode="mirror"), "padding_mode must be one of"),
        (lambda: nn.ConvTranspose2d(3, 8, 3, padding_mode="reflect"), "padding_mode can only be 'zeros'"),
        (lambda: nn.Conv2d(3, 8, 0), "kernel_size must be a whole number from 1 up"),
        (lambda: nn.GroupNorm(3, 8), "GroupNorm: num_groups must divide num_channels 8, got 3"),
        (lambda: nn.Upsample(), "give either size or scale_factor"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises((ArgumentError, ShapeError), match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Linear(3, 2), (4, 5), "5 features"),
        (nn.Conv2d(3, 8, 3), (1, 1, 8, 8), "1 channel"),
        (nn.Conv2d(3, 8, 3), (8, 8), "input must be"),
        (nn.BatchNorm2d(3), (4, 3), r"BatchNorm2d: input must be \(N, C, H, W\), got \(4, 3\)"),
        (nn.BatchNorm2d(3), (4, 2, 5, 5), "2 channels"),
        (nn.BatchNorm1d(3), (1, 3), "more than one value per channel"),
        (nn.MaxPool2d(4), (1, 1, 3, 3), "does not fit"),
        (nn.LayerNorm(4), (2, 5), "must end in normalized_shape"),
    ],
)
def test_an_input_that_does_not_fit_is_named(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(MinidlError, match=message):
        layer(minidl.zeros(*shape))


def test_a_size_that_a_transposed_convolution_cannot_give_is_named() -> None:
    with pytest.raises(ShapeError, match=r"output_size must lie from \[5, 5\] to \[6, 6\], got \(9, 9\)"):
        nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1).forward(minidl.zeros(1, 1, 3, 3), output_size=(9, 9))
