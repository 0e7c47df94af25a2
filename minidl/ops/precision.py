"""In which type public functions compute: the one place that knows 16 bits above the ops, and what `autocast` changes.

An op on 16-bit floats computes in float32 and rounds its results once (`core/op.py`). A function made of several ops
would round at each; those of the table `WHOLE` are made float32 as a whole, and rounded once at the end. Their
gradients are float32 inside as well.

Inside `autocast` the tables below hold, which are PyTorch's for the functions that are here: what is mostly products of
matrices runs in 16 bits (`LOWER`); what sums up many numbers, or takes exponents and logarithms, in float32
(`FLOAT32`); some take the widest type of their arguments (`WIDEST`); all others, the type that comes to them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.core.casting import Casting, casting, current_casting, is_castable
from minidl.core.tape import in_float32
from minidl.device.dtypes import DType, is_floating, is_narrow, promote

__all__: list[str] = []

Function = Callable[..., Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOSSES = _names("""
    binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss
    gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss
    multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss triplet_margin_loss
""")
# PyTorch has no function of these names, or none that its tables name.
_OWN_LOSSES = _names("""
    generalized_dice_loss multilabel_soft_margin_loss sigmoid_focal_loss soft_dice_loss tversky_loss
    triplet_margin_with_distance_loss
""")

WHOLE = _LOSSES | _OWN_LOSSES | _names("""
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d addbmm addcdiv addcmul addmm addmv addr affine_grid
    attention_weights baddbmm bilinear cdist chain_matmul cholesky cholesky_inverse cholesky_solve corrcoef
    cosine_similarity cov cross cumulative_trapezoid det diff dist einsum embedding_bag entr float_power glu
    grid_sample index_reduce instance_norm interpolate inverse kron ldexp lerp
    local_response_norm log_ndtr logaddexp logaddexp2 logcumsumexp logdet logit logsumexp lp_pool1d lp_pool2d
    lp_pool3d matrix_exp matrix_power multigammaln nanmean nanquantile ndtr ndtri norm normalize nuclear_norm
    pad pairwise_distance pdist pinverse projected_lstm_sequence qr quantile renorm rms_norm
    scaled_dot_product_attention_by scatter_add scatter_reduce slogdet softmin std std_mean svd
    tensordot trapezoid trapz var var_mean
""")  # fmt: skip

_PRODUCTS = _names("""
    addbmm addmm baddbmm bmm chain_matmul conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d einsum
    linalg.multi_dot linalg.vecdot linear matmul mm prelu tensordot
""")
_ATTENTION = _names("attention_weights scaled_dot_product_attention_by")

LOWER = {
    "cpu": _PRODUCTS | _ATTENTION | _names("lstm_sequence projected_lstm_sequence rnn_sequence"),
    "cuda": _PRODUCTS
    | _ATTENTION
    | _names("""
        addmv addr gru_sequence lstm_sequence mv projected_lstm_sequence rnn_sequence
    """),
}
# fmt: off - a table
FLOAT32 = {
    "cpu": _LOSSES
    | _OWN_LOSSES
    | _names("""
        adaptive_avg_pool3d avg_pool3d cdist cholesky cholesky_inverse cholesky_solve grid_sample inverse max_pool3d
        linalg.cond linalg.eigh linalg.eigvalsh linalg.matrix_rank linalg.pinv linalg.qr
        linalg.solve linalg.solve_triangular linalg.svd linalg.svdvals linalg.tensorinv linalg.tensorsolve max_unpool2d
        max_unpool3d nanquantile pinverse prod qr quantile svd trace
    """),
    "cuda": _LOSSES
    | _OWN_LOSSES
    | _names("""
        acos asin cdist cosh cosine_similarity cumprod cumsum dist erfinv exp expm1 float_power group_norm layer_norm
        log log10 log1p log2 log_softmax norm normalize pdist pow prod reciprocal renorm rsqrt sinh softmax softmin
        softplus sum tan
    """),
}
# fmt: on
WIDEST = {
    "cpu": _names("cat index_copy stack"),
    "cuda": _names("addcdiv addcmul atan2 bilinear cat cross dot grid_sample index_put scatter_add stack"),
}

# What is computed in float32 as a whole, or treated by autocast.
KNOWN = WHOLE.union(*LOWER.values(), *FLOAT32.values(), *WIDEST.values())


def precise(name: str, function: Function) -> Function:
    """The public function `name` ("linalg.solve" for one of those), with the type that it computes in."""
    run = _whole(function) if name in WHOLE or name.startswith("linalg.") else function

    @functools.wraps(function)
    def typed(*args: Any, **kwargs: Any) -> Any:
        asked = current_casting()
        if asked is None:
            return run(*args, **kwargs)
        args, kwargs = _cast(name, asked, args, kwargs)
        with casting(None):
            return run(*args, **kwargs)

    return typed


def _whole(function: Function) -> Function:
    """`function`, computed in float32 where all that it is given are 16-bit floats, and then rounded once."""

    def rounded(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor) and args[0].array.dtype.char in "fd":  # as a rule
            return function(*args, **kwargs)
        types = set()
        for t in _tensors(args, kwargs):
            if is_narrow(t.dtype):
                types.add(t.dtype)
            elif is_floating(t.dtype):
                return function(*args, **kwargs)
        if not types:
            return function(*args, **kwargs)
        args, kwargs = _mapped(in_float32, (args, kwargs))
        return _mapped(functools.partial(_back, promote(*types)), function(*args, **kwargs))

    return rounded


def _cast(name: str, asked: Casting, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The arguments in the type that autocast wants for this function."""
    tensors = list(_tensors(args, kwargs))
    place = tensors[0].device.type if tensors else ""
    lower = asked.types.get(place)
    if lower is None:
        return args, kwargs
    if name in LOWER[place]:
        to = lower
    elif name in FLOAT32[place]:
        to = np.dtype(np.float32)
    elif name in WIDEST[place]:
        to = promote(*{t.dtype for t in tensors if is_floating(t.dtype)} or {lower})
    else:
        return args, kwargs

    def cast(t: Tensor) -> Tensor:
        return asked.cast(t, to) if is_castable(t, to) else t

    return _mapped(cast, (args, kwargs))  # type: ignore[no-any-return]


def _back(dtype: DType, t: Tensor) -> Tensor:
    return t.to(dtype) if t.dtype == np.float32 else t


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from (t for t in value if isinstance(t, Tensor))


def _mapped(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`value` with `change` done to every tensor in it, in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_mapped(change, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
