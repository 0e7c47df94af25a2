"""Losses: what is counted, and what is divided by what.

A wrong loss still goes down. It only measures something else.
"""

from __future__ import annotations

import minidl
from tests.minidl.gallery.fault import wrong_gradient, wrong_value

CLASSES = minidl.tensor([2, -100, 0, 1, -100])  # -100: not to be counted
LABELS = minidl.tensor([2, 0, 0, 1, 2])
WEIGHTS = minidl.tensor([0.5, 1.0, 4.0], dtype=minidl.float64)


@wrong_value(lambda x: minidl.cross_entropy(x, CLASSES), (5, 3))
def ignored_pixels_count(x):
    """Pixels that are ignored are not in the sum, and must not be in the count: else the loss falls with every one of
    them."""
    return minidl.cross_entropy(x, CLASSES, reduction="sum") / len(CLASSES)


@wrong_value(lambda x: minidl.cross_entropy(x, LABELS, WEIGHTS.to(x.dtype)), (5, 3))
def weights_not_in_the_mean(x):
    """A weighted mean divides by the sum of the weights, not by the number of samples."""
    return minidl.cross_entropy(x, LABELS, WEIGHTS.to(x.dtype), reduction="sum") / len(LABELS)


@wrong_value(lambda x: minidl.cross_entropy(x, LABELS, label_smoothing=0.3), (5, 3))
def smoothed_over_the_others(x):
    """Smoothing spreads its share over all classes, the right one included."""
    logp = minidl.log_softmax(x, 1)
    right = minidl.gather(logp, 1, LABELS[:, None])[:, 0]
    others = (logp.sum(1) - right) / 2
    return -(0.7 * right + 0.3 * others).mean()


@wrong_value(lambda x: minidl.cross_entropy(x, LABELS), (5, 3))
def softmax_applied_twice(x):
    """The loss takes scores: given probabilities it still falls, but never to zero."""
    return minidl.cross_entropy(minidl.softmax(x, 1), LABELS)


@wrong_value(lambda x: minidl.cross_entropy(x, LABELS), (5, 3), low=-2000.0, high=2000.0)
def logarithm_of_a_softmax(x):
    """Probabilities below 1e-308 are 0, and their logarithm is minus infinity: subtract the logarithm of the sum
    instead."""
    return minidl.nll_loss(minidl.log(minidl.softmax(x, 1)), LABELS)


@wrong_gradient(lambda x: minidl.cross_entropy(x, LABELS), (5, 3))
def batch_not_divided(x):
    """Forward is a mean over the batch, so the gradient of each sample is a part of it."""
    softmax, one_hot = minidl.softmax(x, 1), minidl.eye(3, dtype=x.dtype)[LABELS]
    return minidl.cross_entropy(x, LABELS), lambda g: g * (softmax - one_hot)


@wrong_gradient(minidl.mse_loss, (3, 4), (3, 4))
def target_gets_the_same_sign(x, target):
    """The target has a gradient as well, in a student and teacher for example, and it is the opposite one."""
    return minidl.mse_loss(x, target), lambda g: (g * 2 * (x - target) / 12, g * 2 * (x - target) / 12)


@wrong_gradient(lambda x: minidl.huber_loss(x, minidl.zeros(3, 4, dtype=x.dtype), delta=0.7), (3, 4))
def outlier_not_limited(x):
    """Beyond delta the Huber loss is a straight line: that is all it is for."""
    return minidl.huber_loss(x, minidl.zeros(3, 4, dtype=x.dtype), delta=0.7), lambda g: g * x / 12


@wrong_value(minidl.binary_cross_entropy_with_logits, (3, 4), (3, 4), low=-800.0, high=800.0)
def sigmoid_before_the_logarithm(x, target):
    """1 - sigmoid(800) is 0 in float64: the loss of logits must be written with logits."""
    p = minidl.sigmoid(x)
    return -(target * minidl.log(p) + (1 - target) * minidl.log(1 - p)).mean()


@wrong_value(minidl.kl_div, (3, 4), (3, 4), low=0.2)
def divergence_the_other_way(x, target):
    """A divergence is no distance: it has a direction, and the first argument is a logarithm."""
    return (minidl.exp(x) * (x - minidl.log(target))).mean()


@wrong_value(minidl.soft_dice_loss, (2, 3, 4), (2, 3, 4), low=0.05, high=0.95)
def mean_of_the_images(p, target):
    """Dice over the whole batch is not the mean of the Dice of its images: the small organ in one slice decides which
    you want."""
    both, each = (p * target).sum(2), p.sum(2) + target.sum(2)
    return (1 - (2 * both + 1) / (each + 1)).mean()
