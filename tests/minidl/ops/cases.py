"""The table of op tests: a new op adds a row, and `test_ops.py` does the rest."""

from __future__ import annotations

import numpy as np

import minidl
from minidl.testing import Case

CASES = [
    # unary
    Case(minidl.abs, [(3, 4)], expected=np.abs),
    Case(minidl.neg, [(3, 4)], expected=np.negative),
    Case(minidl.exp, [(3, 4)], expected=np.exp),
    Case(minidl.expm1, [(3, 4)], expected=np.expm1),
    Case(minidl.log, [(3, 4)], expected=np.log, low=0.1),
    Case(minidl.log1p, [(3, 4)], expected=np.log1p, low=-0.5),
    Case(minidl.sqrt, [(3, 4)], expected=np.sqrt, low=0.1),
    Case(minidl.rsqrt, [(3, 4)], expected=lambda x: x**-0.5, low=0.1),
    Case(minidl.square, [(3, 4)], expected=np.square),
    Case(minidl.reciprocal, [(3, 4)], expected=np.reciprocal, low=0.1),
    Case(minidl.sin, [(3, 4)], expected=np.sin),
    Case(minidl.cos, [(3, 4)], expected=np.cos),
    Case(minidl.sign, [(3, 4)], expected=np.sign),
    Case(minidl.floor, [(3, 4)], expected=np.floor),
    Case(minidl.ceil, [(3, 4)], expected=np.ceil),
    Case(minidl.round, [(3, 4)], expected=np.rint),
    Case(minidl.clone, [(3, 4)], expected=np.copy),
    Case(minidl.clamp, [(3, 4)], {"min": -1.0, "max": 0.5}, expected=lambda x, min, max: np.clip(x, min, max)),
    # binary, with broadcasting
    Case(minidl.add, [(3, 1, 4), (2, 1)], expected=np.add, rejects=[(((2, 3), (4,)), r"add: shapes \(2, 3\) and \(4,\)")]),
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
    Case(minidl.sum, [(2, 3, 4)], {"dim": (0, -1)}, expected=lambda x, dim: x.sum(dim), rejects=[([(2,)], "dim -1|dim 0")]),
    Case(minidl.mean, [(2, 3, 4)], {"dim": 1, "keepdim": True}, expected=lambda x, dim, keepdim: x.mean(1, keepdims=True)),
    Case(minidl.var, [(2, 3, 4)], {"dim": 2}, expected=lambda x, dim: x.var(2, ddof=1)),
    Case(minidl.std, [(2, 3, 4)], {"dim": (1, 2)}, expected=lambda x, dim: x.std((1, 2), ddof=1)),
    Case(minidl.prod, [(2, 3)], {"dim": 1}, expected=lambda x, dim: x.prod(1)),
    Case(minidl.amax, [(2, 3, 4)], {"dim": (0, 2)}, expected=lambda x, dim: x.max((0, 2)), rejects=[([(0, 2, 2)], "no elem")]),
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
    Case(minidl.reshape, [(2, 6)], {"shape": (3, -1)}, expected=lambda x, shape: x.reshape(shape)),
    Case(minidl.transpose, [(2, 3, 4)], {"dim0": 0, "dim1": -1}, expected=lambda x, dim0, dim1: x.swapaxes(0, -1)),
    Case(minidl.permute, [(2, 3, 4)], {"dims": (2, 0, 1)}, expected=lambda x, dims: x.transpose(dims)),
    Case(minidl.expand, [(3, 1)], {"shape": (2, 3, 4)}, expected=lambda x, shape: np.broadcast_to(x, shape)),
    Case(minidl.flip, [(3, 4)], {"dims": (0, 1)}, expected=lambda x, dims: x[::-1, ::-1]),
    Case(minidl.narrow, [(3, 4)], {"dim": 1, "start": 1, "length": 2}, expected=lambda x, dim, start, length: x[:, 1:3]),
    Case(minidl.split, [(3, 5)], {"split_size": 2, "dim": 1}, expected=lambda x, split_size, dim: (x[:, :2], x[:, 2:4], x[:, 4:])),
    Case(minidl.flatten, [(2, 3, 4)], {"start_dim": 1}, expected=lambda x, start_dim: x.reshape(2, 12)),
    Case(minidl.sum_to, [(2, 3, 4)], {"shape": (3, 1)}, expected=lambda x, shape: x.sum((0, 2))[:, None]),
    # products
    Case(minidl.matmul, [(2, 3, 4), (4, 5)], expected=np.matmul, rejects=[(((2, 3), (4, 5)), "inner lengths 3 and 4")]),
    Case(minidl.matmul, [(2, 1, 3, 4), (5, 4, 2)], expected=np.matmul),
    Case(minidl.matmul, [(4,), (4,)], expected=np.matmul),
    Case(minidl.bmm, [(2, 3, 4), (2, 4, 5)], expected=np.matmul, rejects=[(((2, 3), (3, 2)), "bmm: needs")]),
    Case(minidl.linear, [(3, 4), (2, 4), (2,)], expected=lambda x, w, b: x @ w.T + b, rejects=[(((3, 4), (2, 5)), "4 features")]),
]  # fmt: skip
