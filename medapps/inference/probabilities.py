"""predict_probabilities: a trained network's opinion on prepared images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import minidl
from medapps.device import home, on
from medapps.inference.views import View, seen
from minidl import nn

__all__ = ["predict_probabilities"]


def predict_probabilities(
    model: nn.Module, images: NDArray[np.float32], batch_size: int = 128, views: Sequence[View] = ()
) -> NDArray[np.float64]:
    """The probability of each class, (N, K), float64, for images (N, C, H, W), prepared as in training.

    The model judges them on the device where it is.
    Batches are only a matter of memory: in eval mode no image sees another. The model is left in the mode it was in.
    With `views`, the mean over the images and those views of them.
    """
    if not len(images):
        raise ValueError("predict_probabilities: images must hold at least one image, got none")
    training = model.training
    model.eval()
    try:
        with minidl.no_grad():
            batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
            return np.concatenate([_judged(model, batch, views) for batch in batches])
    finally:
        model.train(training)


def _judged(model: nn.Module, batch: NDArray[np.float32], views: Sequence[View]) -> NDArray[np.float64]:
    logits = [model(on(home(model), v)).numpy() for v in seen(batch, views)]
    return np.asarray(np.mean([softmax(each.astype(np.float64)) for each in logits], axis=0))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities from logits (N, K), computed in float64 so that rows sum to one within 1e-15.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
