"""Layers: windows, statistics, masks and gates.

Some have the right value and a wrong gradient; others compute something else that trains nearly as well.
"""

from __future__ import annotations

import minidl
from tests.minidl.gallery.fault import wrong_gradient, wrong_value

KEY = minidl.tensor([3, 4], dtype=minidl.int64)
NEXT_KEY = minidl.tensor([3, 5], dtype=minidl.int64)


def padded(x, left, right):
    return minidl.pad(x, (left, right))


@wrong_gradient(lambda x, w: minidl.conv1d(x, w), (2, 2, 6), (2, 2, 3))
def weight_not_transposed(x, weight):
    """In a convolution's input gradient the channels trade places: what was in is out."""

    def pullback(g):
        back = minidl.conv1d(padded(g, 2, 2), minidl.flip(weight, 2))
        return back, minidl.conv1d(x.transpose(0, 1), g.transpose(0, 1)).transpose(0, 1)

    return minidl.conv1d(x, weight), pullback


@wrong_gradient(lambda x, w: minidl.conv1d(x, w), (2, 2, 6), (2, 2, 3))
def window_not_flipped(x, weight):
    """A pixel is seen by the last tap of the window first, so backward runs over the weights from the end."""

    def pullback(g):
        back = minidl.conv1d(padded(g, 2, 2), weight.transpose(0, 1))
        return back, minidl.conv1d(x.transpose(0, 1), g.transpose(0, 1)).transpose(0, 1)

    return minidl.conv1d(x, weight), pullback


@wrong_gradient(lambda x, w: minidl.conv1d(x, w), (2, 2, 6), (3, 2, 3))
def weights_learn_from_the_first_image(x, weight):
    """The gradient of weights that all images share is a sum over all images."""

    def pullback(g):
        back = minidl.conv1d(padded(g, 2, 2), minidl.flip(weight, 2).transpose(0, 1))
        return back, minidl.conv1d(x[:1].transpose(0, 1), g[:1].transpose(0, 1)).transpose(0, 1)

    return minidl.conv1d(x, weight), pullback


@wrong_value(lambda x, w: minidl.conv1d(x, w, stride=2), (2, 3, 7), (4, 3, 3))
def dilation_for_stride(x, weight):
    """Of seven pixels a window of three leaves three places with stride 2, and three with dilation 2: shapes prove
    little."""
    return minidl.conv1d(x, weight, dilation=2)


@wrong_value(lambda x, w: minidl.conv1d(x, w, padding=1), (2, 3, 6), (4, 3, 3))
def padding_on_one_side(x, weight):
    """Two pixels of padding on the left are not one on each side, though the image has the same size."""
    return minidl.conv1d(padded(x, 2, 0), weight)


@wrong_gradient(lambda x: minidl.max_pool1d(x, 3, stride=1), (1, 2, 6))
def overlapping_windows_overwrite(x):
    """Where windows overlap one pixel can win several of them, and gets a gradient from each."""
    places = minidl.stack([x[..., i : i + 3].argmax(-1) + i for i in range(4)], -1)

    def pullback(g):
        return minidl.scatter(minidl.zeros(x.shape, dtype=x.dtype), 2, places, g)

    return minidl.max_pool1d(x, 3, stride=1), pullback


@wrong_value(lambda x: minidl.max_pool1d(x, 2, padding=1), (1, 2, 6), low=-2.0, high=-1.0)
def maximum_of_the_padding(x):
    """Padding of a maximum is minus infinity: zeros beat every pixel of a dark image."""
    return minidl.max_pool1d(padded(x, 1, 1), 2)


@wrong_gradient(lambda x: minidl.avg_pool1d(x, 3, 1, 1, count_include_pad=False), (1, 2, 5))
def border_divided_by_all(x):
    """If forward divides by the pixels that there are, so does backward, also at the border."""
    out = minidl.avg_pool1d(x, 3, 1, 1, count_include_pad=False)
    return out, lambda g: minidl.avg_pool1d(g, 3, 1, 1)


@wrong_value(lambda x: minidl.interpolate(x, size=7, mode="linear"), (1, 2, 4))
def half_a_pixel_off(x):
    """A pixel is a square, not a point: with its centre or its corner on the grid, the image moves by half a pixel."""
    return minidl.interpolate(x, size=7, mode="linear", align_corners=True)


@wrong_gradient(lambda x: minidl.interpolate(x, scale_factor=2), (1, 2, 4))
def every_second_copy_counts(x):
    """Each pixel was copied twice, and both copies answer for it."""
    return minidl.interpolate(x, scale_factor=2), lambda g: g[..., ::2]


def normalised(x, dims, eps=0.1):
    centred = x - x.mean(dims, keepdim=True)
    rstd = minidl.rsqrt((centred * centred).mean(dims, keepdim=True) + eps)
    return centred * rstd, rstd


@wrong_gradient(lambda x: minidl.batch_norm(x, None, None, training=True, eps=0.1), (4, 3))
def statistics_are_no_constants(x):
    """Mean and variance are computed from x, so the gradient runs through them, too."""
    y, rstd = normalised(x, 0)
    return y, lambda g: g * rstd


@wrong_gradient(lambda x: minidl.batch_norm(x, None, None, training=True, eps=0.1), (4, 3))
def variance_is_no_constant(x):
    """The path through the mean is only half of it: scaling a channel changes nothing, so no gradient may point that
    way."""
    y, rstd = normalised(x, 0)
    return y, lambda g: rstd * (g - g.mean(0, keepdim=True))


@wrong_value(lambda x: minidl.batch_norm(x, None, None, training=True, eps=0.1), (4, 3))
def unbiased_in_the_batch(x):
    """Batch-norm divides by n in the batch and by n - 1 only in the running variance."""
    return (x - x.mean(0)) / minidl.sqrt(minidl.var(x, 0) + 0.1)


@wrong_value(lambda x: minidl.layer_norm(x, (4,), eps=0.1), (3, 4))
def eps_outside_of_the_root(x):
    """eps is added to the variance; added to the deviation it is another function, and worse at small numbers."""
    centred = x - x.mean(1, keepdim=True)
    return centred / (minidl.sqrt((centred * centred).mean(1, keepdim=True)) + 0.1)


@wrong_value(lambda x: minidl.group_norm(x, 2, eps=0.1), (2, 4, 3))
def groups_interleaved(x):
    """A group is made of neighbouring channels, not of every second one."""
    turned = x.reshape(2, 2, 2, 3).transpose(1, 2).reshape(2, 4, 3)
    return minidl.group_norm(turned, 2, eps=0.1).reshape(2, 2, 2, 3).transpose(1, 2).reshape(2, 4, 3)


@wrong_gradient(lambda x: minidl.dropout_by_key(x, KEY, 0.4), (5, 6))
def survivors_not_scaled(x):
    """Who survives dropout was divided by 1 - p, and so is the gradient."""
    y = minidl.dropout_by_key(x, KEY, 0.4)
    return y, lambda g: g * (y != 0)


@wrong_gradient(lambda x: minidl.dropout_by_key(x, KEY, 0.4), (5, 6))
def mask_drawn_again(x):
    """Backward needs the mask of the forward pass: a new draw from the same generator is another mask."""
    return minidl.dropout_by_key(x, KEY, 0.4), lambda g: minidl.dropout_by_key(g, NEXT_KEY, 0.4)


@wrong_value(lambda q, k: minidl.attention_weights(q, k), (2, 3, 4), (2, 5, 4))
def scores_not_scaled(q, k):
    """Scores grow with the root of their length: without the division the softmax saturates, and nothing is learnt."""
    return minidl.softmax(q @ k.mT, -1)


@wrong_value(lambda q, k: minidl.attention_weights(q, k, is_causal=True), (2, 4, 4), (2, 4, 4))
def masked_after_the_softmax(q, k):
    """Who must not be seen must not be in the sum either: mask the scores, not the weights."""
    return minidl.tril(minidl.softmax(q @ k.mT / 2, -1))
