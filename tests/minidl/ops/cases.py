"""The table of op tests: a new op adds a row, and `test_ops.py` does the rest."""

from __future__ import annotations

import math
import statistics

import numpy as np

import minidl
from minidl.testing import Case
from tests.minidl.ops.cases_compared import COMPARED


def _huber(x, y, w):
    far = np.abs(x - y)
    return w * np.where(far < 1, far**2 / 2, far - 0.5)


CASES = [
    # unary
    Case(minidl.abs, [(3, 4)], expected=np.abs),
    Case(minidl.neg, [(3, 4)], expected=np.negative),
    Case(minidl.exp, [(3, 4)], expected=np.exp),
    Case(minidl.expm1, [(3, 4)], expected=np.expm1),
    Case(minidl.log, [(3, 4)], expected=np.log, low=0.1),
    Case(minidl.log1p, [(3, 4)], expected=np.log1p, low=-0.5),
    Case(minidl.sqrt, [(3, 4)], expected=np.sqrt, low=0.1),
    Case(minidl.rsqrt, [(3, 4)], expected=lambda x: x**-0.5, special=lambda x: 1 / np.sqrt(x), low=0.1),
    Case(minidl.square, [(3, 4)], expected=np.square),
    Case(minidl.reciprocal, [(3, 4)], expected=np.reciprocal, low=0.1),
    Case(minidl.sin, [(3, 4)], expected=np.sin),
    Case(minidl.cos, [(3, 4)], expected=np.cos),
    Case(minidl.sign, [(3, 4)], expected=np.sign),
    Case(minidl.floor, [(3, 4)], expected=np.floor),
    Case(minidl.ceil, [(3, 4)], expected=np.ceil),
    Case(minidl.round, [(3, 4)], expected=np.rint),
    Case(minidl.clone, [(3, 4)], expected=np.copy),
    Case(
        minidl.clamp,
        [(3, 4)],
        {"min": -1.0, "max": 0.5},
        expected=lambda x, min, max: np.clip(x, min, max),
        special=lambda x, min, max: np.clip(x, min, max),
    ),
    # binary, with broadcasting
    Case(
        minidl.add, [(3, 1, 4), (2, 1)], expected=np.add, rejects=[(((2, 3), (4,)), r"add: shapes \(2, 3\) and \(4,\)")]
    ),
    Case(minidl.sub, [(3, 4), (4,)], expected=np.subtract),
    Case(minidl.mul, [(3, 4), (3, 1)], expected=np.multiply),
    Case(minidl.div, [(3, 4), (1, 4)], expected=np.divide, low=0.5),
    Case(minidl.pow, [(3, 4), (3, 1)], expected=np.power, low=0.5),
    Case(minidl.maximum, [(3, 4), (4,)], expected=np.maximum),
    Case(minidl.minimum, [(3, 4), (4,)], expected=np.minimum),
    Case(minidl.floor_divide, [(3, 4), (4,)], expected=np.floor_divide, low=0.5),
    Case(minidl.remainder, [(3, 4), (4,)], expected=np.remainder, low=0.5),
    # comparisons
    Case(minidl.eq, [(3, 4), (4,)], expected=np.equal),
    Case(minidl.ne, [(3, 4), (4,)], expected=np.not_equal),
    Case(minidl.lt, [(3, 4), (4,)], expected=np.less),
    Case(minidl.le, [(3, 4), (4,)], expected=np.less_equal),
    Case(minidl.gt, [(3, 4), (4,)], expected=np.greater),
    Case(minidl.ge, [(3, 4), (4,)], expected=np.greater_equal),
    Case(minidl.logical_and, [(3, 4), (4,)], expected=np.logical_and),
    Case(minidl.logical_or, [(3, 4), (4,)], expected=np.logical_or),
    Case(minidl.logical_not, [(3, 4)], expected=np.logical_not),
    Case(minidl.isnan, [(3, 4)], expected=np.isnan),
    Case(minidl.isinf, [(3, 4)], expected=np.isinf),
    Case(minidl.isfinite, [(3, 4)], expected=np.isfinite),
    # reductions
    Case(
        minidl.sum,
        [(2, 3, 4)],
        {"dim": (0, -1)},
        expected=lambda x, dim: x.sum(dim),
        rejects=[([()], "a dimension is named twice"), ([(3,)], "a dimension is named twice")],
    ),
    Case(
        minidl.mean, [(2, 3, 4)], {"dim": 1, "keepdim": True}, expected=lambda x, dim, keepdim: x.mean(1, keepdims=True)
    ),
    Case(minidl.var, [(2, 3, 4)], {"dim": 2}, expected=lambda x, dim: x.var(2, ddof=1)),
    Case(minidl.std, [(2, 3, 4)], {"dim": (1, 2)}, expected=lambda x, dim: x.std((1, 2), ddof=1)),
    Case(minidl.prod, [(2, 3)], {"dim": 1}, order=1, expected=lambda x, dim: x.prod(1)),
    Case(
        minidl.amax,
        [(2, 3, 4)],
        {"dim": (0, 2)},
        expected=lambda x, dim: x.max((0, 2)),
        rejects=[([(0, 2, 2)], "no elem")],
    ),
    Case(minidl.amin, [(2, 3, 4)], {"dim": -1}, expected=lambda x, dim: x.min(-1)),
    Case(minidl.max, [(2, 3, 4)], {"dim": 1}, expected=lambda x, dim: (x.max(1), x.argmax(1))),
    Case(minidl.min, [(2, 3, 4)], {"dim": 1}, expected=lambda x, dim: (x.min(1), x.argmin(1))),
    Case(minidl.argmax, [(2, 3, 4)], {"dim": 1}, expected=lambda x, dim: x.argmax(1)),
    Case(minidl.argmin, [(2, 3, 4)], expected=np.argmin),
    Case(minidl.any, [(3, 4)], {"dim": 0}, expected=lambda x, dim: x.any(0)),
    Case(minidl.all, [(3, 4)], {"dim": 0}, expected=lambda x, dim: x.all(0)),
    Case(minidl.cumsum, [(3, 4)], {"dim": 1}, expected=lambda x, dim: x.cumsum(1)),
    Case(minidl.norm, [(3, 4)], {"dim": 1}, expected=lambda x, dim: np.linalg.norm(x, axis=1)),
    # views
    Case(minidl.reshape, [(2, 6)], args=(3, -1), expected=lambda x, *shape: x.reshape(shape)),
    Case(minidl.transpose, [(2, 3, 4)], {"dim0": 0, "dim1": -1}, expected=lambda x, dim0, dim1: x.swapaxes(0, -1)),
    Case(minidl.permute, [(2, 3, 4)], args=(2, 0, 1), expected=lambda x, *dims: x.transpose(dims)),
    Case(minidl.expand, [(3, 1)], args=(2, 3, 4), expected=lambda x, *shape: np.broadcast_to(x, shape)),
    Case(minidl.flip, [(3, 4)], {"dims": (0, 1)}, expected=lambda x, dims: x[::-1, ::-1]),
    Case(
        minidl.narrow, [(3, 4)], {"dim": 1, "start": 1, "length": 2}, expected=lambda x, dim, start, length: x[:, 1:3]
    ),
    Case(
        minidl.split,
        [(3, 5)],
        {"split_size": 2, "dim": 1},
        expected=lambda x, split_size, dim: (x[:, :2], x[:, 2:4], x[:, 4:]),
    ),
    Case(minidl.flatten, [(2, 3, 4)], {"start_dim": 1}, expected=lambda x, start_dim: x.reshape(2, 12)),
    Case(minidl.sum_to, [(2, 3, 4)], {"shape": (3, 1)}, expected=lambda x, shape: x.sum((0, 2))[:, None]),
    # indexing
    Case(
        minidl.gather,
        [(3, 4), (2, 4)],
        {"dim": 0},
        expected=lambda x, i, dim: np.take_along_axis(x, i, 0),
        integers={1: 3},
        names=("input", "index"),
        rejects=[(((3, 4), (4, 5)), r"index \(4, 5\) must fit into input \(3, 4\)")],
    ),
    Case(
        minidl.scatter_add,
        [(3, 4), (2, 4), (2, 4)],
        {"dim": 0},
        expected=lambda x, i, src, dim: x + np.stack([(src * (i == row)).sum(0) for row in range(3)]),
        integers={1: 3},
        names=("input", "index", "src"),
    ),
    Case(
        minidl.index_select,
        [(3, 4), (5,)],
        {"dim": 1},
        expected=lambda x, i, dim: x[:, i],
        integers={1: 4},
        names=("input", "index"),
    ),
    Case(minidl.where, [(3, 4), (4,), (3, 1)], expected=np.where, bools=[0]),
    Case(minidl.getitem, [(3, 4), (2, 2)], expected=lambda x, i: x[i], integers={1: 3}),
    Case(
        minidl.masked_fill,
        [(3, 4), (4,)],
        {"value": 7.0},
        expected=lambda x, mask, value: np.where(mask, value, x),
        bools=[1],
    ),
    # joining
    Case(
        minidl.cat,
        [(2, 3), (2, 1)],
        {"dim": 1},
        expected=lambda *xs, dim: np.concatenate(xs, dim),
        as_list=True,
        rejects=[(((2, 3), (3, 3)), r"tensor 1 has shape \(3, 3\)")],
    ),
    Case(minidl.stack, [(2, 3), (2, 3)], {"dim": 1}, expected=lambda *xs, dim: np.stack(xs, dim), as_list=True),
    Case(minidl.repeat, [(2, 3)], args=(2, 2, 1), expected=lambda x, *sizes: np.tile(x, sizes)),
    # activations
    Case(minidl.relu, [(3, 4)], expected=lambda x: np.maximum(x, 0), special=lambda x: np.maximum(x, 0)),
    Case(
        minidl.leaky_relu,
        [(3, 4)],
        {"negative_slope": 0.1},
        expected=lambda x, negative_slope: np.where(x > 0, x, 0.1 * x),
        special=lambda x, negative_slope: np.where(x > 0, x, 0.1 * x),
    ),
    Case(minidl.sigmoid, [(3, 4)], expected=lambda x: 1 / (1 + np.exp(-x)), special=lambda x: 1 / (1 + np.exp(-x))),
    Case(minidl.tanh, [(3, 4)], expected=np.tanh),
    Case(minidl.softplus, [(3, 4)], expected=lambda x: np.log(1 + np.exp(x)), special=lambda x: np.logaddexp(x, 0)),
    Case(minidl.silu, [(3, 4)], expected=lambda x: x / (1 + np.exp(-x)), special=lambda x: x / (1 + np.exp(-x))),
    Case(minidl.erf, [(30,)], expected=np.vectorize(math.erf), special=np.vectorize(math.erf), low=-7, high=7),
    Case(minidl.gelu, [(3, 4)], expected=lambda x: x * np.vectorize(statistics.NormalDist().cdf)(x)),
    Case(
        minidl.gelu,
        [(3, 4)],
        {"approximate": "tanh"},
        expected=lambda x, approximate: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    Case(
        minidl.elu,
        [(3, 4)],
        {"alpha": 0.5},
        expected=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
        special=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    ),
    Case(minidl.relu6, [(3, 4)], expected=lambda x: np.clip(x, 0, 6), special=lambda x: np.clip(x, 0, 6), high=8.0),
    Case(minidl.softmax, [(3, 4)], {"dim": 1}, expected=lambda x, dim: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    Case(minidl.log_softmax, [(3, 4)], {"dim": 0}, expected=lambda x, dim: x - np.log(np.exp(x).sum(0, keepdims=True))),
    Case(minidl.logsumexp, [(3, 4)], {"dim": 1}, expected=lambda x, dim: np.log(np.exp(x).sum(1))),
    # normalisation and dropout
    Case(
        minidl.layer_norm,
        [(3, 4), (4,), (4,)],
        {"normalized_shape": (4,), "eps": 0.1},
        expected=lambda x, w, b, normalized_shape, eps: (
            (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps) * w + b
        ),
        names=("input", "weight", "bias"),
        rejects=[(((3, 5), (4,), (4,)), r"input \(3, 5\) must end in normalized_shape \(4,\)")],
    ),
    Case(
        minidl.batch_norm,
        [(3, 2, 4), (2,), (2,), (2,), (2,)],
        {"training": False, "eps": 0.1},
        expected=lambda x, mean, var, w, b, training, eps: (
            (x - mean[:, None]) / np.sqrt(var[:, None] + eps) * w[:, None] + b[:, None]
        ),
        low=0.5,
    ),
    Case(
        minidl.batch_norm,
        [(3, 2, 4), (2,), (2,)],
        {"running_mean": None, "running_var": None, "training": True, "eps": 0.1},
        expected=lambda x, w, b, eps, **_: (
            (x - x.mean((0, 2), keepdims=True)) / np.sqrt(x.var((0, 2), keepdims=True) + eps) * w[:, None] + b[:, None]
        ),
        names=("input", "weight", "bias"),
        rejects=[
            (((3, 5, 4), (2,), (2,)), "has 5 channels, but weight"),
            (((1, 2, 1), (2,), (2,)), "more than one value"),
        ],
    ),
    Case(
        minidl.group_norm,
        [(2, 4, 3)],
        {"num_groups": 2, "eps": 0.1},
        expected=lambda x, num_groups, eps: (
            lambda y: ((y - y.mean(2, keepdims=True)) / np.sqrt(y.var(2, keepdims=True) + eps)).reshape(x.shape)
        )(x.reshape(2, 2, 6)),
        rejects=[(((2, 3, 4),), "which 2 groups do not divide")],
    ),
    Case(minidl.dropout_by_key, [(5, 6), (2,)], {"p": 0.4}, integers={1: 2**31}),
    # losses
    Case(
        minidl.cross_entropy,
        [(5, 3), (5,)],
        expected=lambda x, t: (np.log(np.exp(x).sum(1)) - x[np.arange(5), t]).mean(),
        integers={1: 3},
        rejects=[(((5, 3), (4,)), r"target must be \(5,\) beside input \(5, 3\)"), (((5, 2), (5,)), "is no class")],
    ),
    Case(minidl.nll_loss, [(5, 3), (5,)], expected=lambda x, t: -x[np.arange(5), t].mean(), integers={1: 3}),
    Case(
        minidl.mse_loss,
        [(3, 4), (3, 4)],
        expected=lambda x, t: ((x - t) ** 2).mean(),
        rejects=[(((3, 4), (4,)), "target must have the shape of input")],
    ),
    Case(minidl.l1_loss, [(3, 4), (3, 4)], expected=lambda x, t: np.abs(x - t).mean()),
    *(
        Case(
            loss,
            [(3, 4)] * 3,
            names=("input", "target", "weight"),
            low=0.5,
            high=3.0,
            expected=expected,
            rejects=[([(3,), (3,), (2,)], r"_loss: weight must have the shape of input, \(3,\), got \(2,\)")],
        )
        for loss, expected in (
            (minidl.mse_loss, lambda input, target, weight: np.average((input - target) ** 2, weights=weight)),
            (minidl.l1_loss, lambda input, target, weight: np.average(np.abs(input - target), weights=weight)),
            (minidl.huber_loss, lambda input, target, weight: _huber(input, target, weight).mean()),
        )
    ),
    Case(
        minidl.huber_loss,
        [(3, 4), (3, 4)],
        {"delta": 0.7},
        expected=lambda x, t, delta: np.where(abs(x - t) < 0.7, (x - t) ** 2 / 2, 0.7 * (abs(x - t) - 0.35)).mean(),
    ),
    Case(
        minidl.smooth_l1_loss,
        [(3, 4), (3, 4)],
        {"beta": 0.7},
        expected=lambda x, t, beta: np.where(abs(x - t) < 0.7, (x - t) ** 2 / 1.4, abs(x - t) - 0.35).mean(),
    ),
    Case(
        minidl.binary_cross_entropy,
        [(3, 4), (3, 4)],
        expected=lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(),
        low=0.05,
        high=0.95,
    ),
    Case(
        minidl.binary_cross_entropy_with_logits,
        [(3, 4), (3, 4)],
        expected=lambda x, t: (np.log1p(np.exp(x)) - t * x).mean(),
    ),
    Case(
        minidl.soft_dice_loss,
        [(2, 3, 4), (2, 3, 4)],
        expected=lambda p, t: (1 - (2 * (p * t).sum((0, 2)) + 1) / (p.sum((0, 2)) + t.sum((0, 2)) + 1)).mean(),
        low=0.05,
        high=0.95,
    ),
    # products
    Case(minidl.matmul, [(2, 3, 4), (4, 5)], expected=np.matmul, rejects=[(((2, 3), (4, 5)), "inner lengths 3 and 4")]),
    Case(minidl.matmul, [(2, 1, 3, 4), (5, 4, 2)], expected=np.matmul),
    Case(minidl.matmul, [(4,), (4,)], expected=np.matmul),
    Case(minidl.bmm, [(2, 3, 4), (2, 4, 5)], expected=np.matmul, rejects=[(((2, 3), (3, 2)), "bmm: needs")]),
    Case(
        minidl.linear,
        [(3, 4), (2, 4), (2,)],
        expected=lambda x, w, b: x @ w.T + b,
        rejects=[(((3, 4), (2, 5)), "4 features")],
    ),
    # convolution, pooling, resizing: values are compared with PyTorch in test_against_torch.py
    Case(minidl.conv1d, [(2, 3, 8), (4, 3, 3)], {"padding": 1}),
    Case(
        minidl.conv2d,
        [(2, 4, 6, 5), (6, 2, 3, 2), (6,)],
        {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2},
        rejects=[
            (((2, 5, 6, 5), (6, 2, 3, 2), (6,)), r"input has 5 channels but weight .* takes 2 per group \(groups=2\)"),
            (((2, 4, 6, 5), (5, 2, 3, 2), (5,)), "5 channels, which 2 groups do not divide"),
            (((2, 4, 6, 5), (6, 2, 3, 2), (5,)), r"bias must be \(6,\)"),
            (((2, 4, 6, 2), (6, 2, 3, 2), (6,)), "does not fit into an image of 6 x 2"),
            (((4, 6), (6, 2, 3, 2), (6,)), r"input must be \(N, C, H, W\)"),
        ],
    ),
    Case(minidl.conv3d, [(1, 2, 4, 4, 4), (2, 2, 2, 2, 2)], {"stride": 2}),
    Case(
        minidl.conv_transpose2d,
        [(2, 4, 3, 4), (4, 3, 3, 2), (6,)],
        {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0), "groups": 2},
        rejects=[(((2, 5, 3, 4), (4, 3, 3, 2), (6,)), "input has 5 channels but weight")],
    ),
    Case(minidl.conv_transpose1d, [(2, 3, 4), (3, 2, 2)], {"stride": 2}),
    Case(minidl.conv_transpose3d, [(1, 2, 2, 2, 2), (2, 1, 2, 2, 2)], {"stride": 2}),
    Case(
        minidl.max_pool1d, [(2, 3, 8)], {"kernel_size": 2}, expected=lambda x, kernel_size: x.reshape(2, 3, 4, 2).max(3)
    ),
    Case(
        minidl.max_pool2d,
        [(2, 3, 8, 6)],
        {"kernel_size": 2},
        expected=lambda x, kernel_size: x.reshape(2, 3, 4, 2, 3, 2).max((3, 5)),
        rejects=[(((8, 6),), r"must be \(N, C, H, W\), got \(8, 6\)"), (((1, 1, 1, 1),), "a kernel of 2 x 2")],
    ),
    Case(minidl.max_pool3d, [(1, 2, 4, 4, 5)], {"kernel_size": 3, "stride": 1, "padding": 1}),
    Case(minidl.avg_pool1d, [(2, 3, 8)], {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    Case(
        minidl.avg_pool2d,
        [(2, 3, 8, 6)],
        {"kernel_size": 2},
        expected=lambda x, kernel_size: x.reshape(2, 3, 4, 2, 3, 2).mean((3, 5)),
        rejects=[(((8, 6),), r"must be \(N, C, H, W\), got \(8, 6\)"), (((1, 1, 1, 1),), "a kernel of 2 x 2")],
    ),
    Case(minidl.avg_pool3d, [(1, 2, 4, 4, 5)], {"kernel_size": 2, "ceil_mode": True}),
    Case(minidl.adaptive_avg_pool1d, [(2, 3, 7)], {"output_size": 3}),
    Case(
        minidl.adaptive_avg_pool2d,
        [(2, 3, 8, 6)],
        {"output_size": 1},
        expected=lambda x, output_size: x.mean((2, 3), keepdims=True),
    ),
    Case(minidl.adaptive_avg_pool3d, [(1, 2, 4, 4, 6)], {"output_size": (2, None, 4)}),
    Case(
        minidl.interpolate,
        [(2, 3, 4, 5)],
        {"scale_factor": 2},
        expected=lambda x, scale_factor: x.repeat(2, 2).repeat(2, 3),
    ),
    Case(minidl.interpolate, [(2, 3, 4, 5)], {"size": (7, 3), "mode": "bilinear"}),
    Case(minidl.interpolate, [(2, 5, 4)], {"size": 7, "mode": "linear"}),
    Case(minidl.interpolate, [(1, 2, 3, 2, 4)], {"size": (2, 4, 5), "mode": "trilinear", "align_corners": True}),
    Case(minidl.interpolate, [(1, 17, 2, 3)], {"scale_factor": (1.5, 0.7), "mode": "bicubic"}),
    Case(
        minidl.pad,
        [(2, 3, 4)],
        {"pad": (1, 2, 0, 1), "value": 3.0},
        expected=lambda x, pad, value: np.pad(x, ((0, 0), (0, 1), (1, 2)), constant_values=3.0),
    ),
    Case(
        minidl.pad,
        [(2, 3, 4)],
        {"pad": (-1, 2, 1, -2), "value": -1.0},
        expected=lambda x, pad, value: np.pad(x[:, :1, 1:], ((0, 0), (1, 0), (0, 2)), constant_values=-1.0),
    ),
    Case(
        minidl.pad,
        [(2, 3, 4)],
        {"pad": (2, 1), "mode": "reflect"},
        expected=lambda x, pad, mode: np.pad(x, ((0, 0), (0, 0), (2, 1)), mode="reflect"),
    ),
    # recurrent layers: values are compared with PyTorch in tests/minidl/nn/test_rnn.py
    Case(
        minidl.rnn_sequence,
        [(5, 3, 4), (1, 3, 2), (1, 2, 4), (1, 2, 2), (1, 2)],
        {"lengths": (3, 5, 1)},
        rejects=[
            (
                ((5, 3, 4), (1, 3, 2), (1, 2, 4), (1, 3, 2), (1, 2)),
                r"weight_hh must be .*1 \* hidden_size.* got \(1, 3, 2\)",
            ),
            (((5, 3, 4), (3, 3, 2), (3, 2, 4), (3, 2, 2), (3, 2)), r"1 or 2 directions, got \(3, 2, 2\)"),
            (
                ((5, 3, 4), (1, 3, 2), (1, 3, 4), (1, 2, 2), (1, 2)),
                r"weight_ih must be \(1, 2, input_size\) .* got \(1, 3, 4\)",
            ),
            (
                ((5, 3, 3), (1, 3, 2), (1, 2, 4), (1, 2, 2), (1, 2)),
                r"input must be \(steps, batch, 4\) .* got \(5, 3, 3\)",
            ),
            (((5, 3, 4), (1, 3, 2), (1, 2, 4), (1, 2, 2), (1, 3)), r"bias must be \(1, 2\) beside .* got \(1, 3\)"),
            (
                ((5, 4, 4), (1, 4, 2), (1, 2, 4), (1, 2, 2), (1, 2)),
                r"lengths must be one number for each of 4 rows, got \(3,\)",
            ),
            (
                ((4, 3, 4), (1, 3, 2), (1, 2, 4), (1, 2, 2), (1, 2)),
                "lengths must be from 1 to the 4 steps of input, got 1 to 5",
            ),
        ],
    ),
    Case(
        minidl.rnn_sequence,
        [(5, 3, 4), (2, 3, 2), (2, 2, 4), (2, 2, 2), (2, 2)],
        {"nonlinearity": "relu"},
    ),
    Case(
        minidl.lstm_sequence,
        [(5, 3, 4), (2, 3, 2), (2, 3, 2), (2, 8, 4), (2, 8, 2), (2, 8)],
        {"lengths": (3, 5, 1)},
        rejects=[
            (
                ((5, 3, 4), (1, 3, 2), (1, 2, 2), (1, 8, 4), (1, 8, 2), (1, 8)),
                r"c0 must be \(directions, batch, hidden_size\) = \(1, 3, 2\), got \(1, 2, 2\)",
            )
        ],
    ),
    Case(minidl.lstm_sequence, [(5, 3, 4), (1, 3, 2), (1, 3, 2), (1, 8, 4), (1, 8, 2), (1, 8)]),
    Case(
        minidl.projected_lstm_sequence,
        [(5, 3, 4), (2, 3, 2), (2, 3, 4), (2, 16, 4), (2, 16, 2), (2, 16), (2, 2, 4)],
        {"lengths": (3, 5, 1)},
        rejects=[
            (
                ((5, 3, 4), (1, 3, 2), (1, 3, 4), (1, 16, 4), (1, 16, 2), (1, 16), (1, 2, 3)),
                r"weight_hr must be .* beside c0 .* \(1, 3, 4\), got \(1, 2, 3\)",
            ),
            (
                ((5, 3, 4), (1, 3, 4), (1, 3, 4), (1, 16, 4), (1, 16, 2), (1, 16), (1, 2, 4)),
                r"h0 must be \(1, 3, 2\) beside weight_hr \(1, 2, 4\), got \(1, 3, 4\)",
            ),
            (
                ((5, 3, 4), (1, 3, 2), (1, 3, 4), (1, 16, 4), (1, 16, 4), (1, 16), (1, 2, 4)),
                r"weight_hh must be \(1, 16, 2\) beside weight_hr .* got \(1, 16, 4\)",
            ),
        ],
    ),
    Case(
        minidl.gru_sequence,
        [(5, 3, 4), (2, 3, 2), (2, 6, 4), (2, 6, 2), (2, 6), (2, 6)],
        {"lengths": (3, 5, 1)},
        rejects=[
            (
                ((5, 3, 4), (1, 3, 2), (1, 6, 4), (1, 6, 2), (1, 6), (1, 2)),
                r"bias_hh must be \(1, 6\) beside weight_hh \(1, 6, 2\), got \(1, 2\)",
            )
        ],
    ),
    Case(minidl.gru_sequence, [(5, 3, 4), (1, 3, 2), (1, 6, 4), (1, 6, 2), (1, 6), (1, 6)]),
    # convolutional recurrent layers: values are compared with PyTorch in tests/minidl/nn/test_conv_rnn.py
    Case(
        minidl.conv_lstm_sequence,
        [(3, 2, 2, 4, 3), (2, 2, 4, 3), (2, 2, 4, 3), (8, 2, 3, 1), (8, 2, 1, 3), (8,), (8,)],
        {"lengths": (3, 2)},
        rejects=[
            (
                ((3, 2, 2), (2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 2, 3), (8,), (8,)),
                r"input must be \(steps, batch, channels, \*image\) .* got \(3, 2, 2\)",
            ),
            (
                ((3, 2, 2, 4), (2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 3, 3), (8,), (8,)),
                r"weight_hh must be \(4 \* hidden, hidden, \*kernel\) .* got \(8, 3, 3\)",
            ),
            (
                ((3, 2, 2, 4), (2, 2, 4), (2, 2, 4), (8, 3, 3), (8, 2, 3), (8,), (8,)),
                r"weight_ih must be \(8, 2, \*kernel\) .* an input of 2 channels, got \(8, 3, 3\)",
            ),
            (
                ((3, 2, 2, 4), (2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 2, 2), (8,), (8,)),
                r"weight_hh must have a kernel of odd lengths, .* got \(8, 2, 2\)",
            ),
            (
                ((3, 2, 2, 4), (2, 2, 4), (2, 2, 5), (8, 2, 3), (8, 2, 3), (8,), (8,)),
                r"c0 must be \(batch, hidden, \*image\) = \(2, 2, 4\), got \(2, 2, 5\)",
            ),
            (
                ((3, 2, 2, 4), (2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 2, 3), (8,), (2,)),
                r"bias_hh must be \(8,\), got \(2,\)",
            ),
            (
                ((3, 2, 2, 0), (2, 2, 0), (2, 2, 0), (8, 2, 3), (8, 2, 3), (8,), (8,)),
                r"input must have pixels, got images of \(0,\)",
            ),
            (
                ((2, 2, 2, 4), (2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 2, 3), (8,), (8,)),
                "lengths must be from 1 to the 2 steps of input, got 2 to 3",
            ),
        ],
    ),
    Case(
        minidl.conv_lstm_sequence,
        [(3, 2, 1, 4), (2, 2, 4), (2, 2, 4), (8, 1, 3), (8, 2, 3), (8,), (8,)],
        {"reverse": True, "lengths": (1, 3)},
    ),
    Case(
        minidl.conv_lstm_sequence,
        [(2, 1, 1, 4, 3, 3), (1, 1, 4, 3, 3), (1, 1, 4, 3, 3), (4, 1, 3, 1, 3), (4, 1, 1, 3, 1)],
    ),
    Case(
        minidl.conv_gru_sequence,
        [(3, 2, 2, 4, 3), (2, 2, 4, 3), (6, 2, 3, 1), (6, 2, 1, 3), (6,), (6,)],
        {"lengths": (3, 2)},
        rejects=[
            (
                ((3, 2, 2, 4), (2, 2, 4), (8, 2, 3), (8, 2, 3), (8,), (8,)),
                r"weight_hh must be \(3 \* hidden, hidden, \*kernel\) .* got \(8, 2, 3\)",
            )
        ],
    ),
    Case(
        minidl.conv_gru_sequence,
        [(3, 2, 1, 4), (2, 2, 4), (6, 1, 3), (6, 2, 3), (6,), (6,)],
        {"reverse": True, "lengths": (1, 3)},
    ),
]
CASES += COMPARED
