"""Seeded predictions for the tests of metrics."""

from __future__ import annotations

import numpy as np


def predictions(n=120, k=3, seed=0):
    """Probabilities (n, k) that know something about the labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    raw = rng.random((n, k)) + 0.8 * rng.random((n, 1)) * np.eye(k)[labels]
    return raw / raw.sum(1, keepdims=True), labels


def two_columns(scores):
    """Scores of the positive class as probabilities (n, 2)."""
    scores = np.asarray(scores, float)
    return np.stack([1 - scores, scores], 1)
