"""The kept slices are those that the docstring promises, and only a file made for the evaluation is read."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.evaluate_segmentation import evaluate_segmentation
from medapps.segmentation_examples import KINDS, read_segmentation_examples, segmentation_examples
from tests.medapps.metrics.shapes import box

SHAPE = (5, 10, 16)


def judged(n, shapes=None):
    """Case i misses i columns of its box: the first is the best. Slice 2 has the largest area, slice 3 more errors."""
    shapes = shapes or [SHAPE] * n
    truths, predictions, images = [], [], []
    for i, shape in enumerate(shapes):
        truth = box(shape, (1, 2, 1), (4, 6, 15))
        truth[2] = box(shape[1:], (1, 1), (9, 15))
        found = truth.copy()
        found[..., : 1 + (i * 13) // max(n, 13)] = False
        found[3] &= box(shape[1:], (0, 0), (3, 16)) if i else True
        truths.append(truth.astype(np.uint8))
        predictions.append(found.astype(np.uint8))
        images.append(np.full((1, *shape), i, np.uint8))
    evaluation = evaluate_segmentation(
        truths, predictions, None, ["background", "lung"], split="test", names=[f"c{i}" for i in range(n)]
    )
    return images, truths, predictions, evaluation


def kept(tmp_path, n, **changes):
    images, truths, predictions, evaluation = judged(n, **changes)
    file = tmp_path / "examples.npz"
    file.write_bytes(segmentation_examples(images, truths, predictions, evaluation))
    return read_segmentation_examples(file, evaluation), evaluation, file


@pytest.mark.parametrize(
    ("n", "wanted"),
    [
        (1, {"best": [0]}),
        (2, {"best": [0], "worst": [1]}),
        (3, {"best": [0], "median": [1], "worst": [2]}),
        (4, {"best": [0, 1], "worst": [2, 3]}),
        (7, {"best": [0, 1, 2], "median": [3], "worst": [4, 5, 6]}),
        (13, {"best": [0, 1, 2, 3], "median": [5, 6, 7, 8], "worst": [9, 10, 11, 12]}),
    ],
)
def test_best_middle_and_worst_are_kept_and_no_case_twice(tmp_path, n, wanted):
    found, evaluation, _ = kept(tmp_path, n)
    assert [c.dice for c in evaluation.cases] == sorted((c.dice for c in evaluation.cases), reverse=True)
    chosen = {k: found.cases[[kind == k for kind in found.kind]].tolist() for k in KINDS if k in found.kind}
    assert chosen == wanted
    assert (found.images[:, 0, 0, 0] == found.cases).all()


def test_the_slice_is_the_largest_or_for_the_worst_that_with_most_errors(tmp_path):
    found, _, _ = kept(tmp_path, 6)
    for kind, case, z in zip(found.kind, found.cases, found.slices, strict=True):
        _, truths, predictions, _ = judged(6)
        wrong = (truths[case] != predictions[case]).sum((1, 2))
        assert z == (wrong.argmax() if kind == "worst" else 2)
        at = list(found.cases).index(case)
        np.testing.assert_array_equal(found.truth[at], truths[case][z])
        np.testing.assert_array_equal(found.predicted[at], predictions[case][z])


def test_smaller_pictures_fill_a_corner(tmp_path):
    found, _, _ = kept(tmp_path, 2, shapes=[SHAPE, (5, 14, 20)])
    assert found.images.shape == (2, 1, 14, 20)
    assert found.sizes.tolist() == [[10, 16], [14, 20]]


def test_cases_in_which_there_is_nothing_are_not_shown():
    truth, empty = box(SHAPE, (1, 2, 1), (4, 6, 15)).astype(np.uint8), np.zeros(SHAPE, np.uint8)
    evaluation = evaluate_segmentation(
        [empty, truth], [empty, truth], None, ["background", "lung"], split="test", names=["a", "b"]
    )
    assert math.isnan(evaluation.cases[0].dice)
    images = [np.zeros((1, *SHAPE), np.uint8)] * 2
    with np.load(io.BytesIO(segmentation_examples(images, [empty, truth], [empty, truth], evaluation))) as held:
        assert held["cases"].tolist() == [1]
        assert held["names"].tolist() == ["b"]


def test_no_case_at_all_is_a_file_without_pictures(tmp_path):
    empty = np.zeros(SHAPE, np.uint8)
    evaluation = evaluate_segmentation([empty], [empty], None, ["background", "a"], split="test", names=["a"])
    file = tmp_path / "examples.npz"
    file.write_bytes(segmentation_examples([np.zeros((1, *SHAPE), np.uint8)], [empty], [empty], evaluation))
    assert read_segmentation_examples(file, evaluation).kind == ()


def test_images_that_do_not_fit_are_refused():
    images, truths, predictions, evaluation = judged(3)
    for given, message in (
        (images[:2], "must be the 3 cases"),
        ([i.astype(float) for i in images], "must be uint8"),
        ([i[0] for i in images], "must be uint8"),
        ([np.repeat(i, 2, 0) for i in images], "1 channel or all have 3"),
    ):
        with pytest.raises(InputError, match=message):
            segmentation_examples(given, truths, predictions, evaluation)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": np.zeros((3, 2, 10, 16), np.uint8)},
        {"images": np.zeros((3, 1, 10, 16), np.float32)},
        {"truth": np.full((3, 10, 16), 2, np.uint8)},
        {"predicted": np.zeros((3, 10, 15), np.uint8)},
        {"sizes": np.full((3, 2), 17)},
        {"sizes": np.zeros((3, 2), int)},
        {"cases": np.array([0, 1, 3])},
        {"cases": np.array([1, 0, 2])},
        {"cases": np.array([0.0, 1.0, 2.0])},
        {"slices": np.array([-1, 0, 0])},
        {"kind": np.array(["best", "median", "<b>"])},
        {"names": np.array(["a", "b", "c"])},
    ],
    ids=lambda c: next(iter(c)),
)
def test_another_runs_examples_are_refused(tmp_path, changes):
    _, evaluation, file = kept(tmp_path, 3)
    with np.load(file) as held:
        arrays = dict(held)
    np.savez(file, **{**arrays, **changes})
    with pytest.raises(InputError, match="does not hold slices of this run's 3 cases"):
        read_segmentation_examples(file, evaluation)


@pytest.mark.parametrize("content", [b"", b"PK", b"\xff" * 100])
def test_a_damaged_file_is_named(tmp_path, content):
    _, evaluation, file = kept(tmp_path, 3)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"examples\.npz: is damaged"):
        read_segmentation_examples(file, evaluation)


def test_a_pickle_inside_is_not_opened(tmp_path):
    _, evaluation, file = kept(tmp_path, 3)
    with np.load(file) as held:
        arrays = dict(held)
    np.savez(file, **{**arrays, "kind": np.array([{"a": 1}, 2, 3], object)})
    with pytest.raises(InputError, match="is damaged"):
        read_segmentation_examples(file, evaluation)
