"""MODELS: which networks exist, by the name that recipes and model files use; plug-ins bring others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medapps.errors import InputError
from medapps.models.reseg import ReSeg
from medapps.models.residual_cnn import ResidualCNN
from medapps.models.unet import UNet
from medapps.plugins import WAY_OUT, find_plugin
from minidl import nn

__all__ = ["MODELS", "build_model", "describe_model"]

MODELS: dict[str, Callable[..., nn.Module]] = {"residual_cnn": ResidualCNN, "reseg": ReSeg, "unet": UNet}


def describe_model(
    name: str, in_channels: int, classes: int, own: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What `build_model` takes.

    own: arguments that our networks share, such as widths; a plug-in's network does not get them.
    options: further arguments, of either.
    """
    shared = own if name in MODELS else {}
    return {"name": name, "in_channels": in_channels, "classes": classes, **shared, **options}


def build_model(architecture: Mapping[str, Any]) -> nn.Module:
    """The network that `architecture` describes, with fresh weights from the default generator.

    architecture: {"name": a key of MODELS or the name of a plug-in, and the keyword arguments of its constructor}.

    Raises:
        InputError: if the name or an argument is unknown, or a plug-in fails.

    >>> model = build_model({"name": "residual_cnn", "in_channels": 1, "classes": 2, "widths": [4, 8]})
    >>> sum(p.numel() for p in model.parameters())
    1310
    """
    arguments = dict(architecture)
    name = arguments.pop("name", None)
    if not isinstance(name, str) or name not in MODELS:
        return _built_by_plugin(name, arguments)
    try:
        return MODELS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"model: {name} cannot be built from {arguments} ({error})") from error


def _built_by_plugin(name: object, arguments: Mapping[str, Any]) -> nn.Module:
    plugin = find_plugin("model", name)
    if plugin is None:
        raise InputError(f"model: {name!r} is not known; known are {', '.join(MODELS)}; {WAY_OUT}")
    make = plugin.load()
    with plugin.blamed(f"cannot be built from {dict(arguments)}"):
        model = make(**arguments)
    if not isinstance(model, nn.Module):
        raise plugin.refused(f"must make a minidl.nn.Module, made {type(model).__name__}")
    return model
