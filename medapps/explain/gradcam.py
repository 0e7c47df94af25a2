"""Grad-CAM: which places of a picture speak for a class.

The last map of features still knows where things are. Each channel is weighed, at each place, by how much it moves the
logit of the class there, and what the weighted sum leaves above zero is the heat. Where the network takes one mean over
the whole map the gradient is the same everywhere, and this is Grad-CAM. Where it takes a mean for each of several
regions, a channel can speak for a class in one and against it in another; the gradient's mean over the map would mix
them up, so each place keeps its own (HiResCAM).

A map shows what the network looked at, not what is ill. It can also look plausible where the network is wrong, so it is
no proof of a call.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017, eq. 1 and 2; Draelos and Carin, arXiv:2011.08891, eq. 4.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

import minidl
from medapps.device import home, on
from medapps.errors import InputError
from minidl import Tensor, nn

__all__ = ["Explainable", "grad_cam"]


@runtime_checkable
class Explainable(Protocol):
    """A network that is a head on a last map of features: model(x) = model.classify(model.features(x))."""

    def features(self, x: Tensor) -> Tensor: ...
    def classify(self, features: Tensor) -> Tensor: ...


def grad_cam(model: nn.Module, image: NDArray[np.float32], target: int) -> NDArray[np.float32]:
    """The heat map (H, W), float32, 0 to 1, of one picture (C, H, W), prepared as in training; all 0 if none is found.

    Args:
        model: one with `features` and `classify`, on any device; it is judged in eval mode and left in the mode it was
            in.
        image: (C, H, W).
        target: the class that is explained, 0 to K - 1.

    Raises:
        InputError: if the network has no map of features, or the class does not exist.
    """
    if not isinstance(model, Explainable):
        raise InputError(f"grad_cam: {type(model).__name__} has no map of features to explain; a CNN is needed")
    training = model.training
    model.eval()
    try:
        heat = _heat(model, on(home(model), image[None].astype(np.float32, copy=False)), target)
    finally:
        model.train(training)
    return _enlarged(heat, image.shape[1], image.shape[2])


def _heat(model: Explainable, picture: Tensor, target: int) -> NDArray[np.float32]:
    """relu(sum over channels of gradient x map), (h, w), scaled so that its highest value is 1."""
    with minidl.no_grad():
        found = model.features(picture)
    features = found.detach().clone()
    features.requires_grad = True
    logits = model.classify(features)
    if not 0 <= target < logits.shape[1]:
        raise InputError(f"grad_cam: the class must be 0 to {logits.shape[1] - 1}, got {target}")
    logits[0, target].backward()
    assert features.grad is not None
    heat = np.maximum((features.grad.numpy()[0] * features.detach().numpy()[0]).sum(0), 0)
    return np.asarray(heat / heat.max() if heat.max() > 0 else heat, np.float32)


def _enlarged(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The map in the size of the picture, between its points linearly."""
    import PIL.Image

    picture = PIL.Image.fromarray(heat).resize((width, height), PIL.Image.Resampling.BILINEAR)
    return np.clip(np.asarray(picture, np.float32), 0, 1)
