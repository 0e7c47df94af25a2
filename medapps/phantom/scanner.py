"""What a CT scanner makes of a body: blur, noise, rings, streaks, a round field of view, whole numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medapps.phantom.canvas import Canvas, Field
from medapps.phantom.labels import Label
from medapps.phantom.patient import Patient

__all__ = ["scan"]

LOWEST, HIGHEST = -1024, 3071  # 12 bits


def scan(canvas: Canvas, patient: Patient, level: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """HU as a scanner would give them, int16.

    Noise is white noise through a band-pass, as filtered back-projection leaves it (its power rises with frequency
    until the kernel cuts it off), and stronger in the middle of the body, where the fewest photons get through.
    """
    from scipy import ndimage

    size, body = canvas.size, canvas.label != Label.AIR
    if patient.clip:
        _clip(canvas, rng)
    hu = ndimage.gaussian_filter(canvas.hu, rng.uniform(0.5, 0.75))
    radius = _radius(size)
    absorbed = _spread(_spread(body.astype(np.float32), size // 6, 0), size // 6, 1)
    hu += patient.noise_hu * (0.35 + 0.95 * absorbed) * _band_noise(rng, size)
    hu += _streaks(rng, size, level) * absorbed
    hu += _rings(rng, radius, size) * (0.3 + 0.7 * absorbed)
    hu -= 9 * absorbed**2 * (1 - (radius / (size / 2)) ** 2)  # cupping: beam hardening
    if patient.clip:
        hu += _star(canvas, rng)
    hu = np.clip(np.rint(hu), LOWEST, HIGHEST)
    hu[radius > size / 2] = LOWEST
    return np.asarray(hu, np.int16)


def _radius(size: int) -> Field:
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    return np.asarray(np.hypot(axis[None, :], axis[:, None]))


def _band_noise(rng: np.random.Generator, size: int) -> Field:
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    f = np.hypot(fx, fy)
    shape = np.sqrt(f) * np.exp(-((f / 0.3) ** 2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size), np.float32)) * shape, s=(size, size))
    return np.asarray(field / field.std())


def _streaks(rng: np.random.Generator, size: int, level: float) -> Field:
    """Horizontal streaks where the shoulders absorb most, so in the upper slices."""
    from scipy import ndimage

    white = rng.standard_normal((size, size), np.float32)
    field = _spread(ndimage.gaussian_filter1d(white, 0.7, axis=0), size // 5, 1)
    return np.asarray(field / field.std() * (3 + 13 * max(0.4 - level, 0.0)))


def _spread(field: Field, width: int, axis: int) -> Field:
    """Two moving averages in a row: nearly a Gaussian, at a cost that does not grow with its width."""
    from scipy import ndimage

    for _ in range(2):
        field = ndimage.uniform_filter1d(field, width, axis=axis, mode="nearest")
    return field


def _rings(rng: np.random.Generator, radius: Field, size: int) -> Field:
    """A few detector elements a little off: circles around the middle of the scanner."""
    along = np.arange(4 * size, dtype=np.float32) / 4  # quarter pixels from the middle outwards
    profile = np.zeros_like(along)
    for _ in range(int(rng.integers(0, 4))):
        at, height = rng.uniform(8, size * 0.4), rng.uniform(-14, 14)
        profile += height * np.exp(-(((along - at) / 0.7) ** 2))
    return np.asarray(profile[(4 * radius).astype(np.intp)])


def _clip(canvas: Canvas, rng: np.random.Generator) -> None:
    """A metal clip near the roots of the lungs; where it lies is kept for its streaks."""
    ys, xs = np.nonzero(canvas.label == Label.BODY)
    near = np.abs(ys - canvas.size / 2) + np.abs(xs - canvas.size / 2) < canvas.size / 6
    if near.any():
        i = rng.integers(int(near.sum()))
        canvas.hu[ys[near][i], xs[near][i]] = 9000.0


def _star(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Bright and dark rays that leave a clip and fade."""
    at = np.unravel_index(int(canvas.hu.argmax()), canvas.hu.shape)
    y, x = np.arange(canvas.size)[:, None] - at[0], np.arange(canvas.size)[None, :] - at[1]
    theta, distance = np.arctan2(y, x), np.hypot(x, y)
    rays = sum(np.cos(n * theta + rng.uniform(0, 2 * np.pi)) for n in (6, 10, 14, 22))
    return np.asarray(45 * rays * np.exp(-distance / (canvas.size / 9)))
