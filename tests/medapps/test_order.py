"""The order of an epoch: every image once, or every class equally often."""

from __future__ import annotations

import numpy as np

from medapps.order import balanced_tickets, tickets


def test_each_image_comes_once() -> None:
    assert sorted(tickets(9, np.random.default_rng(0))) == list(range(9))


def test_classes_come_equally_often_and_images_evenly() -> None:
    labels = np.repeat([0, 1, 3], [4, 17, 9])
    drawn = balanced_tickets(labels, np.random.default_rng(0))
    rows = drawn % len(labels)
    assert len(set(drawn.tolist())) == len(drawn) == 30
    assert np.bincount(labels[rows]).tolist() == [10, 10, 0, 10]
    times = np.bincount(rows, minlength=len(labels))
    for label in (0, 1, 3):
        assert np.ptp(times[labels == label]) <= 1


def test_a_repeated_image_has_another_ticket_each_time() -> None:
    labels = np.array([0, 1, 1, 1, 1, 1])
    drawn = balanced_tickets(labels, np.random.default_rng(0))
    assert sorted(t for t in drawn.tolist() if t % 6 == 0) == [0, 6, 12]
