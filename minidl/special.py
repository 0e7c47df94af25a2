"""Special functions under PyTorch's names in `torch.special`."""

from minidl.ops import (
    digamma,
    entr,
    erf,
    erfc,
    erfcx,
    erfinv,
    exp2,
    expm1,
    log1p,
    log_ndtr,
    log_softmax,
    logit,
    logsumexp,
    multigammaln,
    ndtr,
    ndtri,
    polygamma,
    round,
    sinc,
    softmax,
    xlog1py,
    xlogy,
)
from minidl.ops import lgamma as gammaln
from minidl.ops import sigmoid as expit

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "log1p", "log_ndtr",
    "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma", "round", "sinc", "softmax",
    "xlog1py", "xlogy",
]  # fmt: skip
