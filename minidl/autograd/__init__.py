"""Derivatives of any order: `grad` and `backward`, steps of one's own, and what helps to find wrong numbers."""

from minidl.autograd import forward_ad, functional
from minidl.autograd.anomaly import detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from minidl.autograd.differentiate import backward, grad
from minidl.autograd.function import Function, once_differentiable
from minidl.core.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "Function", "backward", "detect_anomaly", "enable_grad", "forward_ad", "functional", "grad", "inference_mode",
    "is_anomaly_enabled", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "once_differentiable",
    "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
