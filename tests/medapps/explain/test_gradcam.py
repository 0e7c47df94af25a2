"""Grad-CAM: the formula on a net that can be followed by hand, the right corner after training, and none without."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from medapps.errors import InputError
from medapps.explain import draw_overlay, grad_cam, overlay
from medapps.models import ResidualCNN
from minidl import Tensor, nn, optim
from minidl.nn import functional as F

SIDE = 24


class ByHand(nn.Module):
    """Two maps of features, the picture and its negative; class 0 likes the first, class 1 the second."""

    def features(self, x: Tensor) -> Tensor:
        return minidl.cat([x, -x], 1)

    def classify(self, features: Tensor) -> Tensor:
        return features.mean((2, 3)) @ minidl.tensor([[2.0, -1.0], [0.5, 3.0]])


def test_the_map_is_what_the_formula_says():
    x = np.array([[[0.0, 0.5], [1.0, -1.0]]], np.float32)
    # weights of class 0: 2 and 0.5, of class 1: -1 and 3, each over 4 pixels; what is below zero is cut off
    assert grad_cam(ByHand(), x, 0) == pytest.approx(np.array([[0, 0.5], [1, 0]]))
    assert grad_cam(ByHand(), x, 1) == pytest.approx(np.array([[0, 0], [0, 1]]))
    assert (grad_cam(ByHand(), np.zeros_like(x), 0) == 0).all()


def corners(n, seed):
    """Class k shows a bright square in its own corner, on noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.normal(0, 0.3, (n, 1, SIDE, SIDE)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        at = slice(2, 8) if label == 0 else slice(SIDE - 8, SIDE - 2)
        image[:, at, at] += 1.5
    return images, labels


@pytest.fixture(scope="module")
def trained():
    minidl.manual_seed(0)
    model = ResidualCNN(1, 2, widths=(4, 8), regions=2)
    images, labels = corners(64, 0)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(minidl.from_numpy(images)), minidl.from_numpy(labels))
        loss.backward()
        optimizer.step()
    model.eval()
    return model


def share_in_corner(heat, label):
    quarter = slice(0, SIDE // 2) if label == 0 else slice(SIDE // 2, SIDE)
    return heat[quarter, quarter].sum() / max(heat.sum(), 1e-9)


def test_the_heat_lies_where_the_evidence_is(trained):
    images, labels = corners(8, 1)
    shares = [share_in_corner(grad_cam(trained, x, int(k)), k) for x, k in zip(images, labels, strict=True)]
    assert min(shares) > 0.4  # a map that knows nothing has a quarter there


def test_a_network_with_random_weights_gives_another_map(trained):
    """Adebayo et al., NeurIPS 2018: a map that does not depend on the weights explains nothing."""
    images, labels = corners(8, 1)
    minidl.manual_seed(5)
    fresh = ResidualCNN(1, 2, widths=(4, 8), regions=2)
    likeness = [
        np.corrcoef(grad_cam(trained, x, int(k)).ravel(), grad_cam(fresh, x, int(k)).ravel())[0, 1]
        for x, k in zip(images, labels, strict=True)
    ]
    assert np.nanmean(np.abs(likeness)) < 0.5


def test_a_map_has_the_size_of_the_picture_and_lies_from_0_to_1(trained):
    trained.train()
    heat = grad_cam(trained, np.random.default_rng(0).normal(0, 1, (1, 17, 30)).astype(np.float32), 1)
    assert heat.shape == (17, 30)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert trained.training
    trained.eval()
    assert all(p.grad is None or np.isfinite(p.grad.numpy()).all() for p in trained.parameters())


def test_what_cannot_be_explained_is_one_sentence(trained):
    x = np.zeros((1, 8, 8), np.float32)
    with pytest.raises(InputError, match="Linear has no map of features to explain"):
        grad_cam(nn.Linear(2, 2), x, 0)
    with pytest.raises(InputError, match="the class must be 0 to 1, got 2"):
        grad_cam(trained, x, 2)


def test_an_overlay_leaves_what_is_cold_and_its_file_carries_the_notice():
    import io

    import PIL.Image

    image = np.random.default_rng(0).integers(0, 256, (1, 40, 50)).astype(np.uint8)
    heat = np.zeros((40, 50))
    heat[10:20, 10:20] = 1
    drawn = overlay(image, heat)
    assert (drawn[heat == 0] == image[0][heat == 0][:, None]).all()
    assert (drawn[heat == 1] != image[0][heat == 1][:, None]).any(1).all()
    png = PIL.Image.open(io.BytesIO(draw_overlay(image, heat, "case 1")))
    assert png.size[0] >= 440
    below = np.asarray(png)[-22:]
    assert (below.max(-1) > 120).sum() > 500  # the notice, light on dark
