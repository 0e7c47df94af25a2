"""predict_probabilities: a trained network's opinion on prepared images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import minidl
from minidl import nn

__all__ = ["predict_probabilities"]


def predict_probabilities(
    model: nn.Module, images: NDArray[np.float32], batch_size: int = 128
) -> NDArray[np.float64]:
    """The probability of each class, (N, K), float64, for images (N, C, H, W), prepared as in training.

    Batches are only a matter of memory: in eval mode no image sees another. The model is left in the mode it was in.
    """
    if not len(images):
        raise ValueError("predict_probabilities: images must hold at least one image, got none")
    training = model.training
    model.eval()
    try:
        with minidl.no_grad():
            logits = [
                model(minidl.from_numpy(np.ascontiguousarray(images[i : i + batch_size]))).numpy()
                for i in range(0, len(images), batch_size)
            ]
    finally:
        model.train(training)
    return softmax(np.concatenate(logits).astype(np.float64))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities from logits (N, K), computed in float64 so that rows sum to one within 1e-15.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
