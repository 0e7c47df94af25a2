"""Rows of ops whose values are held against PyTorch's own samples (tests/minidl/oracle).

What is left to check here: two derivatives, float32 beside float64, strides, replay, purity, and the GPU's path.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl.testing import Case

POSITIVE = {"low": 0.2, "high": 2.0}
INSIDE = {"low": -0.9, "high": 0.9}
MATRIX = [(3, 4)]


def _scattered(x: Any, index: Any, source: Any, *, dim: int, reduce: str, include_self: bool) -> Any:
    """`scatter_reduce` along the first of two dimensions, place by place."""
    assert dim == 0
    joined = getattr(np, {"amax": "max", "amin": "min"}.get(reduce, reduce))
    out = x.copy()
    for place in np.ndindex(len(x), index.shape[1]):  # an index of fewer columns leaves the others as they are
        found = source[: len(index), place[1]][index[:, place[1]] == place[0]]
        out[place] = joined(np.append(found, x[place]) if include_self or not len(found) else found)
    return out


def _multilabel_margin(x: Any, target: Any) -> Any:
    """Pair by pair; the table's targets hold no number below 0, so all of a row's are true classes."""
    losses = [
        sum(max(0.0, 1 - row[t] + row[j]) for t in true for j in range(len(row)) if j not in true) / len(row)
        for row, true in zip(x, target.tolist(), strict=True)
    ]
    return np.mean(losses)


ELEMENTWISE = [
    *(Case(f, MATRIX, special=special, **INSIDE)
      for f, special in ((minidl.asin, np.arcsin), (minidl.acos, np.arccos), (minidl.atanh, np.arctanh),
                         (minidl.erfinv, None), (minidl.tan, np.tan))),
    *(Case(f, MATRIX, special=special)
      for f, special in ((minidl.atan, np.arctan), (minidl.sinh, np.sinh), (minidl.cosh, np.cosh),
                         (minidl.asinh, np.arcsinh), (minidl.sinc, None), (minidl.exp2, np.exp2))),
    *(Case(f, MATRIX) for f in (minidl.erfc, minidl.erfcx, minidl.ndtr, minidl.log_ndtr, minidl.deg2rad)),
    Case(minidl.log2, MATRIX, special=np.log2, **POSITIVE),
    Case(minidl.log10, MATRIX, special=np.log10, **POSITIVE),
    *(Case(f, MATRIX, **POSITIVE) for f in (minidl.lgamma, minidl.digamma, minidl.entr)),
    Case(minidl.acosh, MATRIX, special=np.arccosh, low=1.2, high=3.0),
    Case(minidl.ndtri, MATRIX, low=0.1, high=0.9),
    Case(minidl.logit, MATRIX, {"eps": 0.01}, low=0.1, high=0.9),
    Case(minidl.multigammaln, MATRIX, {"p": 2}, low=1.0, high=3.0),
    *(Case(f, [(3, 1), (4,)], special=special, **POSITIVE)
      for f, special in ((minidl.atan2, np.arctan2), (minidl.hypot, np.hypot), (minidl.xlogy, None),
                         (minidl.xlog1py, None))),
    *(Case(f, [(3, 1), (4,)], special=special)
      for f, special in ((minidl.logaddexp, np.logaddexp), (minidl.logaddexp2, np.logaddexp2), (minidl.ldexp, None),
                         (minidl.copysign, np.copysign))),
    *(Case(f, [(3, 1), (4,)], special=special, low=0.5)
      for f, special in ((minidl.fmod, np.fmod), (minidl.fmax, None), (minidl.fmin, None),
                         (minidl.heaviside, lambda x, y: np.where(x == 0, y, x > 0)))),
    Case(minidl.nextafter, [(3, 4), (4,)], order=0),
    *(Case(f, MATRIX, special=special)
      for f, special in ((minidl.trunc, np.trunc), (minidl.frac, None), (minidl.sgn, np.sign),
                         (minidl.positive, np.positive), (minidl.signbit, np.signbit), (minidl.isposinf, np.isposinf),
                         (minidl.isneginf, np.isneginf), (minidl.isreal, np.isreal), (minidl.nan_to_num, None))),
    Case(minidl.round, MATRIX, {"decimals": 1}, order=0, expected=lambda x, decimals: np.round(x, 1)),
    Case(minidl.logical_xor, [(3, 4), (4,)], expected=np.logical_xor),
    *(
        Case(f, [(3, 4), (4,)], integers={0: 9, 1: 7}, rejects=[], expected=expected)
        for f, expected in (
            (minidl.bitwise_and, np.bitwise_and), (minidl.bitwise_or, np.bitwise_or),
            (minidl.bitwise_xor, np.bitwise_xor), (minidl.bitwise_left_shift, np.left_shift),
            (minidl.bitwise_right_shift, np.right_shift), (minidl.gcd, np.gcd), (minidl.lcm, np.lcm),
        )
    ),
    Case(minidl.bitwise_not, MATRIX, integers={0: 9}, expected=np.invert),
    Case(minidl.lerp, [(3, 4), (4,)], args=(0.3,), expected=lambda x, y, w: x + w * (y - x)),
    Case(minidl.addcmul, [(3, 4), (4,), (3, 1)], {"value": 2.0}, expected=lambda x, y, z, value: x + 2 * y * z),
    Case(minidl.addcdiv, [(3, 4), (4,), (3, 1)], {"value": 2.0}, low=0.5,
         expected=lambda x, y, z, value: x + 2 * y / z),
    Case(minidl.isclose, [(3, 4), (4,)], {"rtol": 0.5}, expected=np.isclose),
]  # fmt: skip

REDUCTIONS = [
    Case(minidl.prod, [(2, 3)], {"dim": 1}, expected=lambda x, dim: x.prod(1)),
    Case(minidl.cumprod, [(3, 4)], {"dim": 1}, low=0.5, expected=lambda x, dim: x.cumprod(1)),
    Case(minidl.cummax, [(3, 4)], {"dim": 1}),
    Case(minidl.cummin, [(3, 4)], {"dim": 0}),
    Case(minidl.logcumsumexp, [(3, 4)], {"dim": 1}, expected=lambda x, dim: np.log(np.exp(x).cumsum(1))),
    Case(minidl.diff, [(3, 5)], {"n": 2}, expected=lambda x, n: np.diff(x, 2)),
    Case(minidl.trapezoid, [(3, 5)], {"dx": 0.5}),
    Case(minidl.cumulative_trapezoid, [(3, 5)], {"dim": 0}),
    Case(minidl.nansum, MATRIX, {"dim": 1}, expected=lambda x, dim: np.nansum(x, 1)),
    Case(minidl.nanmean, MATRIX, {"dim": 1}, expected=lambda x, dim: np.nanmean(x, 1)),
    Case(minidl.count_nonzero, MATRIX, {"dim": 1}, expected=lambda x, dim: np.count_nonzero(x, 1)),
    Case(minidl.aminmax, MATRIX, {"dim": 1}, expected=lambda x, dim: (x.min(1), x.max(1))),
    Case(minidl.std_mean, MATRIX, {"dim": 1}, expected=lambda x, dim: (x.std(1, ddof=1), x.mean(1))),
    Case(minidl.var_mean, MATRIX, {"dim": 1}, expected=lambda x, dim: (x.var(1, ddof=1), x.mean(1))),
    Case(minidl.median, [(3, 5)], {"dim": 1}, expected=lambda x, dim: (np.median(x, 1), x.argsort(1)[:, 2])),
    Case(minidl.nanmedian, [(3, 5)], {"dim": 1}),
    Case(minidl.mode, [(3, 5)], {"dim": 1}, expected=lambda x, dim: (x.min(1), x.argmin(1))),
    Case(minidl.quantile, [(3, 5)], args=(0.3,), expected=lambda x, q: np.quantile(x, q)),
    Case(minidl.cov, [(3, 6)], expected=np.cov),
    Case(minidl.corrcoef, [(3, 6)], expected=np.corrcoef),
    Case(minidl.norm, MATRIX, args=(3.0,), expected=lambda x, p: (np.abs(x) ** 3).sum() ** (1 / 3)),
    Case(minidl.dist, [(3, 4), (4,)], expected=lambda x, y: np.linalg.norm(x - y)),
    Case(minidl.cdist, [(3, 4), (2, 4)], expected=lambda x, y: np.linalg.norm(x[:, None] - y, axis=-1),
         rejects=[(((3, 4), (2, 3)), "cdist: needs rows of one length")]),
    Case(minidl.pdist, [(4, 3)]),
    Case(minidl.renorm, [(3, 4)], {"p": 2, "dim": 0, "maxnorm": 1.0}),
    Case(minidl.normalize, [(3, 4)]),
    Case(minidl.cosine_similarity, [(3, 4), (3, 4)]),
    Case(minidl.pairwise_distance, [(3, 4), (3, 4)]),
    Case(minidl.bincount, [(6,)], integers={0: 4}, expected=np.bincount,
         rejects=[([(2, 3)], r"bincount: input must be one row of whole numbers")]),
    Case(minidl.histc, [(20,)], {"bins": 5, "min": -1.0, "max": 1.0},
         expected=lambda x, bins, min, max: np.histogram(x, bins, (min, max))[0]),
]  # fmt: skip

ORDER = [
    Case(minidl.sort, [(3, 5)], {"dim": 1}, expected=lambda x, dim: (np.sort(x, 1), np.argsort(x, 1))),
    Case(minidl.sort, [(3, 5)], {"dim": 0, "descending": True}),
    Case(minidl.argsort, [(3, 5)], expected=np.argsort),
    Case(minidl.topk, [(3, 5)], {"k": 2}, expected=lambda x, k: (-np.sort(-x, 1)[:, :2], np.argsort(-x, 1)[:, :2]),
         rejects=[([(3, 1)], "topk: k must be from 0 to 1")]),
    Case(minidl.kthvalue, [(3, 5)], {"k": 2}, expected=lambda x, k: (np.sort(x, 1)[:, 1], np.argsort(x, 1)[:, 1])),
    Case(minidl.unique, [(8,)], integers={0: 4}, expected=np.unique),
    Case(minidl.searchsorted, [(5,), (3, 2)], integers={0: 1}),
    Case(minidl.bucketize, [(3, 2), (1,)]),
    Case(minidl.isin, [(3, 4), (4,)], integers={0: 4, 1: 4}, expected=np.isin),
]  # fmt: skip

PICKING = [
    Case(minidl.take, [(3, 4), (5,)], integers={1: 12}, expected=lambda x, i: x.reshape(-1)[i]),
    Case(minidl.take_along_dim, [(3, 4), (2, 4)], {"dim": 0}, integers={1: 3}, names=("input", "indices"),
         expected=lambda x, i, dim: np.take_along_axis(x, i, 0)),
    Case(minidl.scatter, [(3, 4), (1, 4), (1, 4)], {"dim": 0}, integers={1: 3}, names=("input", "index", "src"),
         rejects=[(((3, 4), (2, 4), (1, 4)), r"scatter: index \(2, 4\) must fit into src \(1, 4\)")]),
    Case(minidl.index_add, [(3, 4), (2,), (2, 4)], {"dim": 0}, integers={1: 3}, names=("input", "index", "source"),
         rejects=[(((3, 4), (2,), (3, 4)), r"index_add: source must be \(2, 4\) beside input \(3, 4\)")]),
    Case(minidl.index_copy, [(3, 4), (1,), (1, 4)], {"dim": 0}, integers={1: 3}, names=("input", "index", "source")),
    Case(minidl.index_fill, [(3, 4), (2,)], {"dim": 1, "value": 7.0}, integers={1: 4}, names=("input", "index")),
    Case(minidl.masked_select, [(3, 4), (4,)], bools=[1], expected=lambda x, m: x[np.broadcast_to(m, x.shape)]),
    Case(minidl.masked_scatter, [(3, 4), (4,), (12,)], bools=[1]),
    Case(minidl.nonzero, MATRIX, expected=np.argwhere),
    Case(minidl.slice_scatter, [(3, 4), (3, 2)], {"dim": 1, "start": 1, "end": 3}),
    Case(minidl.select_scatter, [(3, 4), (3,)], {"dim": 1, "index": 2}),
    Case(minidl.diagonal, [(2, 3, 4)], {"offset": 1, "dim1": 0, "dim2": 2},
         expected=lambda x, offset, dim1, dim2: x.diagonal(1, 0, 2)),
    Case(minidl.diagonal, [(3, 2, 4)], {"dim1": 2, "dim2": 1}, expected=lambda x, dim1, dim2: x.diagonal(0, 2, 1)),
    Case(minidl.diag_embed, [(2, 3)], {"offset": -1}),
    Case(minidl.diag, [(3,)], expected=np.diag, rejects=[([(2, 2, 2)], "diag: input must have one or two dimensions")]),
    Case(minidl.diagonal_scatter, [(3, 4), (3,)]),
    Case(minidl.trace, [(3, 4)], expected=np.trace),
    Case(minidl.tril, [(3, 4)], expected=np.tril),
    Case(minidl.triu, [(3, 4)], args=(1,), expected=np.triu),
    Case(minidl.roll, MATRIX, {"shifts": 2, "dims": 1}, expected=lambda x, shifts, dims: np.roll(x, 2, 1)),
    Case(minidl.rot90, MATRIX, expected=np.rot90),
    Case(minidl.tile, MATRIX, args=(2, 1), expected=lambda x, *n: np.tile(x, n)),
    Case(minidl.repeat_interleave, MATRIX, {"repeats": 2, "dim": 1}, expected=lambda x, repeats, dim: x.repeat(2, 1)),
    Case(minidl.hstack, [(2, 3), (2, 1)], as_list=True, expected=lambda *xs: np.hstack(xs)),
    Case(minidl.vstack, [(3,), (3,)], as_list=True, expected=lambda *xs: np.vstack(xs)),
    Case(minidl.dstack, [(2, 3), (2, 3)], as_list=True, expected=lambda *xs: np.dstack(xs)),
    Case(minidl.tensor_split, [(2, 5)], args=(3, 1), expected=lambda x, n, d: tuple(np.array_split(x, n, d))),
    Case(minidl.meshgrid, [(2,), (3,)], {"indexing": "xy"}, expected=lambda x, y, indexing: tuple(np.meshgrid(x, y))),
    Case(minidl.slices, [(2, 5)], {"dimension": 1, "size": 2, "step": 2},
         expected=lambda x, dimension, size, step: np.stack([x[:, 0:2], x[:, 2:4]], 1)),
    Case(minidl.block_diag, [(2, 3), (1, 2)]),
    Case(minidl.movedim, [(2, 3, 4)], args=((0, 1), (2, 0)), expected=lambda x, a, b: np.moveaxis(x, a, b)),
]  # fmt: skip

PRODUCTS = [
    Case(minidl.mm, [(2, 3), (3, 4)], expected=np.matmul,
         rejects=[(((2,), (2, 2)), "mm: input must have 2 dimensions")]),
    Case(minidl.mv, [(2, 3), (3,)], expected=np.matmul),
    Case(minidl.dot, [(3,), (3,)], expected=np.dot, rejects=[(((3,), (2,)), "dot: vectors must have one length")]),
    Case(minidl.inner, [(2, 3), (4, 3)], expected=np.inner),
    Case(minidl.outer, [(2,), (3,)], expected=np.outer),
    Case(minidl.kron, [(2, 3), (3, 2)], expected=np.kron),
    Case(minidl.cross, [(2, 3), (2, 3)], {"dim": 1}, expected=lambda x, y, dim: np.cross(x, y)),
    Case(minidl.addmm, [(4,), (2, 3), (3, 4)], {"beta": 0.5, "alpha": 2.0},
         expected=lambda c, x, y, beta, alpha: 0.5 * c + 2 * x @ y),
    Case(minidl.baddbmm, [(4,), (2, 2, 3), (2, 3, 4)]),
    Case(minidl.tensordot, [(2, 3, 4), (4, 3, 2)], args=(([1, 2], [1, 0]),),
         expected=lambda x, y, d: np.tensordot(x, y, d)),
    Case(minidl.det, [(2, 3, 3)], expected=np.linalg.det, rejects=[([(2, 3)], "det: needs square matrices")]),
    Case(minidl.slogdet, [(3, 3)], expected=lambda x: tuple(np.linalg.slogdet(x))),
    Case(minidl.inverse, [(2, 3, 3)], expected=np.linalg.inv),
    Case(minidl.matrix_power, [(3, 3)], {"n": 3}, expected=lambda x, n: x @ x @ x),
    Case(minidl.matrix_exp, [(3, 3)]),
    Case(minidl.cholesky, [(2, 1, 1)], **POSITIVE, expected=np.linalg.cholesky),
    Case(minidl.linalg.eigvalsh, [(2, 1, 1)], expected=np.linalg.eigvalsh),
    Case(minidl.qr, [(4, 3)]),
    Case(minidl.svd, [(4, 3)]),
    Case(minidl.pinverse, [(4, 3)], expected=np.linalg.pinv),
    Case(minidl.bilinear, [(4, 2), (4, 3), (5, 2, 3), (5,)]),
]  # fmt: skip

LAYERS = [
    *(Case(f, MATRIX) for f in (minidl.celu, minidl.selu, minidl.mish, minidl.logsigmoid, minidl.softsign)),
    *(Case(f, MATRIX) for f in (minidl.hardshrink, minidl.softshrink, minidl.tanhshrink, minidl.glu)),
    Case(minidl.hardsigmoid, MATRIX, expected=lambda x: np.clip(x / 6 + 0.5, 0, 1), low=-4, high=4),
    Case(minidl.hardswish, MATRIX, expected=lambda x: x * np.clip(x + 3, 0, 6) / 6, low=-4, high=4),
    Case(minidl.prelu, [(2, 3, 2), (3,)], rejects=[(((2, 3, 2), (2,)), "prelu: weight must have 1 or 3 elements")]),
    Case(minidl.softmin, MATRIX, {"dim": 1}),
    Case(minidl.threshold, MATRIX, args=(0.1, 2.0), expected=lambda x, t, v: np.where(x > t, x, v)),
    Case(minidl.rms_norm, [(3, 4), (4,)], {"normalized_shape": (4,), "eps": 0.1}, names=("input", "weight")),
    Case(minidl.instance_norm, [(2, 3, 4)], {"eps": 0.1}),
    Case(minidl.local_response_norm, [(2, 4, 3)], {"size": 3, "alpha": 0.5}),
    Case(minidl.unfold, [(2, 3, 5, 4)], {"kernel_size": 2, "padding": 1, "stride": 2},
         rejects=[([(5, 4)], r"unfold: input must be \(N, C, H, W\)")]),
    Case(minidl.fold, [(2, 12, 6)], {"output_size": (3, 4), "kernel_size": 2}),
    Case(minidl.adaptive_max_pool2d, [(2, 2, 5, 7)], {"output_size": (3, 2)}),
    *(Case(minidl.scatter_reduce, shapes, names=("input", "index", "src"), integers={1: 3}, low=0.3,
           params={"dim": 0, "reduce": reduce, "include_self": own},
           expected=_scattered)
      for shapes in ([(3, 4), (5, 3), (5, 4)], [(3, 17), (5, 17), (5, 17)])
      for reduce in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)),
    Case(minidl.index_reduce, [(3, 4), (5,), (3, 5)], names=("input", "index", "source"), integers={1: 4}, low=0.3,
         params={"dim": 1, "reduce": "amin"}),
    Case(minidl.max_pool_at, [(2, 2, 5, 6), (2, 2, 3), (2, 2, 2)], {"kernel_size": (2, 3)}, integers={1: 4, 2: 4}),
    Case(minidl.lp_pool2d, [(1, 2, 4, 4)], {"norm_type": 2.0, "kernel_size": 2}),
    Case(minidl.max_unpool1d, [(1, 2, 1), (1, 2, 1)], {"kernel_size": 2}, integers={1: 2}),
    Case(minidl.pixel_shuffle, [(1, 4, 2, 3)], {"upscale_factor": 2}),
    Case(minidl.pixel_unshuffle, [(1, 1, 4, 6)], {"downscale_factor": 2}),
    Case(minidl.channel_shuffle, [(1, 4, 2, 2)], {"groups": 2}),
    Case(minidl.grid_sample, [(1, 2, 4, 5), (1, 3, 2, 2)], low=-0.9, high=0.9),
    Case(minidl.grid_sample, [(1, 5, 4, 5), (1, 3, 2, 2)], {"mode": "bicubic", "padding_mode": "border"},
         low=-0.9, high=0.9),
    Case(minidl.grid_sample, [(1, 17, 2, 3, 2), (1, 2, 1, 2, 3)], {"padding_mode": "border"}, low=-0.9, high=0.9),
    Case(minidl.affine_grid, [(2, 2, 3)], {"size": (2, 1, 3, 4)}),
    Case(minidl.interpolate, [(1, 2, 4, 5)], {"size": (6, 3), "mode": "bicubic"}),
    Case(minidl.interpolate, [(1, 2, 4)], {"size": 6, "mode": "nearest-exact"}),
    Case(minidl.embedding, [(2, 3), (5, 4)], integers={0: 5}, expected=lambda i, w: w[i]),
    Case(minidl.embedding_bag, [(2, 3), (5, 4)], {"mode": "sum"}, integers={0: 5}),
    Case(minidl.embedding_bag, [(2, 3), (5, 18)], {"mode": "mean", "padding_idx": 2}, integers={0: 5}),
    Case(minidl.embedding_bag, [(2, 3), (5, 4)], {"mode": "max", "padding_idx": 2}, integers={0: 5}),
    Case(minidl.attention_weights, [(2, 3, 4), (2, 5, 4)], {"is_causal": True}),
    Case(minidl.kl_div, [(3, 4), (3, 4)], **POSITIVE),
    Case(minidl.poisson_nll_loss, [(3, 4), (3, 4)]),
    Case(minidl.gaussian_nll_loss, [(3, 4), (3, 4), (3, 4)], **POSITIVE),
    Case(minidl.soft_margin_loss, [(3, 4), (3, 4)]),
    Case(minidl.margin_ranking_loss, [(4,), (4,), (4,)], {"margin": 0.5}),
    Case(minidl.hinge_embedding_loss, [(4,), (4,)]),
    Case(minidl.cosine_embedding_loss, [(4, 3), (4, 3), (4,)], integers={2: 2}),
    Case(minidl.multi_margin_loss, [(4, 3), (4,)], integers={1: 3}),
    Case(minidl.multilabel_margin_loss, [(4, 5), (4, 5)], integers={1: 3}, expected=_multilabel_margin),
    Case(minidl.multilabel_soft_margin_loss, [(3, 4), (3, 4)]),
    Case(minidl.triplet_margin_loss, [(3, 4), (3, 4), (3, 4)], {"swap": True}),
    Case(minidl.sigmoid_focal_loss, [(3, 4), (3, 4)], low=0.05, high=0.95),
    Case(minidl.tversky_loss, [(2, 3, 4), (2, 3, 4)], {"gamma": 0.75}, low=0.05, high=0.95,
         rejects=[(((2, 3, 4), (2, 2, 4)), r"tversky_loss: input must be \(N, C, d1, ...\)")]),
    Case(minidl.generalized_dice_loss, [(2, 3, 4), (2, 4)], integers={1: 3}, low=0.05, high=0.95),
]  # fmt: skip

COMPARED = [*ELEMENTWISE, *REDUCTIONS, *ORDER, *PICKING, *PRODUCTS, *LAYERS]
