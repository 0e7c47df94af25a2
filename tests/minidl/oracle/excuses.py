"""What is left out of the comparison with PyTorch, and why: a row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.minidl.oracle.pytorch import torch


class Sample(NamedTuple):
    """One call from PyTorch's list."""

    name: str
    dtype: Any
    input: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    process: Callable[[Any], Any] | None

    def in_double(self) -> Sample:
        """The same call with every float32 tensor as float64."""
        return self._replace(input=_double(self.input), args=_double(self.args), kwargs=_double(self.kwargs))

    def __str__(self) -> str:
        parts = [_shown(v) for v in (self.input, *self.args)] + [f"{k}={_shown(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})"


def _double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().double().requires_grad_(value.requires_grad) if value.dtype == torch.float32 else value
    if isinstance(value, dict):
        return {name: _double(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_double, value))
    return torch.float64 if value == torch.float32 else value


def _shown(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)


@dataclass(frozen=True)
class Excuse:
    """Samples of `op` (None for any op) for which `when` holds are not compared."""

    op: str | None
    reason: str
    when: Callable[[Sample], bool] = lambda sample: True


# Results are random draws, or memory that is not set: shape and element type are compared, values cannot be.
ONLY_SHAPES = frozenset((
    "cauchy", "exponential", "geometric", "log_normal", "normal", "normal.in_place", "normal.number_mean", "uniform",
    "empty", "empty_like", "new_empty", "randn", "randn_like", "rand_like", "randint", "randint_like", "bernoulli",
    "multinomial", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout.with_train", "nn.functional.rrelu",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d",
))  # fmt: skip

TIES = "which of equal elements is named is open in PyTorch; here it is the first in order"
UNREAD = "the half of the matrix that is not read gets gradient zero here, and a number in PyTorch"
DRAWS = "dropout inside draws PyTorch's numbers, and without it the list has no sample"
WHOLE_POOLS = "means of whole numbers are refused here; use input.float()"


def _whole(sample: Sample) -> bool:
    return sample.dtype in (torch.int64, torch.bool)


SAMPLES: tuple[Excuse, ...] = (
    *(Excuse(op, TIES, _whole) for op in ("kthvalue", "topk", "mode", "sort", "argsort", "median", "nanmedian")),
    *(Excuse(f"nn.functional.avg_pool{d}d", WHOLE_POOLS, _whole) for d in (1, 2, 3)),
    Excuse("cov", "PyTorch sums float32 weights of data of another type in float32",
           lambda s: s.dtype != torch.float32 and getattr(s.kwargs.get("aweights"), "dtype", None) == torch.float32),
    *(Excuse(op, UNREAD, lambda s: not _whole(s)) for op in ("cholesky_inverse", "cholesky_solve")),
    Excuse("sum_to_size", "sums and products of bools are counts here", lambda s: s.dtype == torch.bool),
    *(
        Excuse(op, "PyTorch cuts fractional factors of whole numbers; here the result turns floating",
               lambda s: _whole(s) and any(v != int(v) for v in s.kwargs.values() if isinstance(v, float)))
        for op in ("addmm", "addmm.decomposed", "addmv", "addr", "addbmm", "baddbmm")
    ),
    Excuse("nn.functional.local_response_norm", WHOLE_POOLS, _whole),
    Excuse("nn.functional.scaled_dot_product_attention", DRAWS, lambda s: s.kwargs.get("dropout_p", 0) > 0),
    Excuse("nn.functional.multi_head_attention_forward", DRAWS),
    Excuse("nn.functional.batch_norm", "input needs channels, (N, C, ...)", lambda s: s.input.ndim < 2),
    *(
        Excuse(f"nn.BatchNorm{d}d", "statistics of an empty batch are NaN here; PyTorch leaves the running ones alone",
               lambda s: 0 in s.input.args[0].shape)
        for d in (1, 2, 3)
    ),
    Excuse("addr", "sums and products of bools are counts here", lambda s: s.dtype == torch.bool),
    Excuse("prod", "sums and products of bools are counts here", lambda s: s.kwargs.get("dtype") == torch.bool),
)  # fmt: skip

BINARY = frozenset((
    "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "div", "pow", "float_power", "remainder", "fmod",
    "atan2", "copysign", "fmax", "fmin", "maximum", "minimum", "max.binary", "min.binary", "logical_and",
    "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift",
    "bitwise_right_shift", "clamp_max", "clamp_min", "gcd", "lcm", "heaviside", "hypot", "ldexp", "logaddexp",
    "logaddexp2", "xlogy", "special.xlog1py", "nextafter", "__radd__", "__rmul__", "__rsub__", "__rmod__",
    "__rpow__", "__rand__", "__ror__", "__rxor__", "__rdiv__", "true_divide", "floor_divide",
    "div.no_rounding_mode", "div.trunc_rounding", "div.floor_rounding", "isclose", "polar",
))  # fmt: skip

WRONG_CALLS: tuple[Excuse, ...] = (
    Excuse(None, "Python's numbers are taken here where PyTorch insists on a tensor",
           lambda s: s.name in BINARY and any(isinstance(v, (int, float)) for v in (s.input, *s.args[:1]))),
    Excuse("mean", "the mean of whole numbers is floating here", lambda s: s.input.dtype == torch.int64),
    *(Excuse(f"nn.functional.max_pool{d}d", "a batch without images has a result without images here",
             lambda s: 0 in s.input.shape) for d in (1, 2, 3)),
)  # fmt: skip

# Wrong settings of optimizers: what PyTorch's list says of them, and why they are none here.
WRONG_SETTINGS: dict[str, str] = {
    "lr as Tensor doesn't work with foreach": "PyTorch has two implementations that do not combine; there is one here",
}

# Ops that need wider bounds than PyTorch's own, by this factor, and why.
SLACK: dict[str, tuple[float, str]] = {
    "matrix_exp": (20, "float32 matrices of norm 20 are squared twice, and e^20 stands beside numbers near 1"),
}


# Ops whose gradient is another by design, and why; their values are compared.
VALUES_ONLY: dict[str, str] = {
    "nn.functional.ctc_loss": "PyTorch's gradient adds exp(log_probs), which vanishes behind log_softmax alone",
    "nn.CTCLoss": "PyTorch's gradient adds exp(log_probs), which vanishes behind log_softmax alone",
}


def excuse_for(sample: Sample) -> str | None:
    """The reason not to compare this sample, if there is one."""
    return _first(SAMPLES, sample)


def excused_error(sample: Sample) -> str | None:
    """The reason not to ask for an error, if there is one."""
    return _first(WRONG_CALLS, sample)


def optimizer_excuse(description: str) -> str | None:
    """The reason not to ask for an error from an optimizer, if there is one."""
    return next((reason for start, reason in WRONG_SETTINGS.items() if description.startswith(start)), None)


def _first(rows: tuple[Excuse, ...], sample: Sample) -> str | None:
    for row in rows:
        if row.op in (None, sample.name) and row.when(sample):
            return row.reason
    return None


def only_shapes(name: str) -> bool:
    return name in ONLY_SHAPES


def bounds_of(sample: Sample) -> float:
    return SLACK.get(sample.name, (1.0, ""))[0]
