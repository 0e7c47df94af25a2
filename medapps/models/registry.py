"""MODELS: which networks exist, by the name that recipes and model files use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medapps.errors import InputError
from medapps.models.reseg import ReSeg
from medapps.models.residual_cnn import ResidualCNN
from medapps.models.unet import UNet
from minidl import nn

__all__ = ["MODELS", "build_model"]

MODELS: dict[str, Callable[..., nn.Module]] = {"residual_cnn": ResidualCNN, "reseg": ReSeg, "unet": UNet}


def build_model(architecture: Mapping[str, Any]) -> nn.Module:
    """The network that `architecture` describes, with fresh weights from the default generator.

    architecture: {"name": a key of MODELS, and the keyword arguments of its constructor}.

    Raises:
        InputError: if the name or an argument is unknown.

    >>> model = build_model({"name": "residual_cnn", "in_channels": 1, "classes": 2, "widths": [4, 8]})
    >>> sum(p.numel() for p in model.parameters())
    1310
    """
    arguments = dict(architecture)
    name = arguments.pop("name", None)
    if name not in MODELS:
        raise InputError(f"model: {name!r} is not known; known are {', '.join(MODELS)}")
    try:
        return MODELS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"model: {name} cannot be built from {arguments} ({error})") from error
