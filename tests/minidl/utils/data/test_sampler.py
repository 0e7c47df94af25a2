from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.errors import ArgumentError, StateDictError
from minidl.utils.data import (
    BatchSampler,
    GroupSampler,
    RandomSampler,
    SequentialSampler,
    StratifiedSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from tests.minidl.utils.data.sets import Squares

SAMPLERS = {
    "random": lambda g: RandomSampler(Squares(40), generator=g),
    "with replacement": lambda g: RandomSampler(Squares(40), replacement=True, num_samples=60, generator=g),
    "subset": lambda g: SubsetRandomSampler(range(5, 40), generator=g),
    "weighted": lambda g: WeightedRandomSampler(range(40), 60, generator=g),
    "stratified": lambda g: StratifiedSampler([i % 3 for i in range(40)], generator=g),
    "by group": lambda g: GroupSampler([i // 7 for i in range(40)], 3, generator=g),
    "batches": lambda g: BatchSampler(RandomSampler(Squares(40), generator=g), 7, drop_last=True),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
def test_the_order_depends_on_the_seed_and_the_epoch_alone(make) -> None:
    one, two, other = make(minidl.Generator(1)), make(minidl.Generator(1)), make(minidl.Generator(2))
    first = list(one)
    assert len(first) == len(one)
    assert list(one) == first
    one.set_epoch(3)
    two.set_epoch(3)
    assert list(one) == list(two) != first
    one.set_epoch(0)
    assert list(one) == first != list(other)
    other.load_state_dict(one.state_dict())
    assert list(other) == first


def test_each_order_is_of_its_kind() -> None:
    assert list(SequentialSampler(Squares(4))) == [0, 1, 2, 3]
    assert sorted(RandomSampler(Squares(7))) == list(range(7))
    assert len(set(RandomSampler(Squares(7), num_samples=4))) == 4
    assert len(list(RandomSampler(Squares(3), replacement=True, num_samples=50))) == 50
    assert sorted(SubsetRandomSampler(minidl.tensor([4, 2, 9]))) == [2, 4, 9]
    assert sorted(WeightedRandomSampler([1.0, 0.0, 2.0], 2, replacement=False)) == [0, 2]
    assert list(BatchSampler(range(5), 2, drop_last=False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]


def test_weights_are_probabilities() -> None:
    drawn = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=minidl.Generator(1)))
    assert drawn.count(0) == 0
    assert drawn.count(2) / 4000 == pytest.approx(0.75, abs=0.03)  # four standard errors of 0.0068


def test_every_batch_has_the_classes_in_their_proportions() -> None:
    """A stretch of 1/10 of an epoch holds 1/10 of each class, give or take the two at its ends."""
    labels = np.array(["healthy"] * 300 + ["benign"] * 60 + ["malignant"] * 40)
    np.random.default_rng(0).shuffle(labels)
    order = list(StratifiedSampler(labels, generator=minidl.Generator(1)))
    assert sorted(order) == list(range(400))
    for begin in range(0, 400, 40):
        batch = labels[order[begin : begin + 40]]
        for kind, share in (("healthy", 30), ("benign", 6), ("malignant", 4)):
            assert abs((batch == kind).sum() - share) <= 1, (begin, kind)


def test_classes_do_not_keep_step() -> None:
    """Two classes of equal size: either may come first in a pair, about equally often."""
    labels = [0, 1] * 500
    order = list(StratifiedSampler(labels, generator=minidl.Generator(2)))
    firsts = [labels[i] for i in order[::2]]
    assert sum(firsts) / 500 == pytest.approx(0.5, abs=0.1)


def test_each_patient_counts_alike() -> None:
    groups = np.array(["A"] * 100 + ["B"] * 3 + ["C"])
    sampler = GroupSampler(groups, per_group=4, generator=minidl.Generator(0))
    order = list(sampler)
    assert len(order) == len(sampler) == 12
    for begin in range(0, 12, 3):
        assert sorted(groups[order[begin : begin + 3]]) == ["A", "B", "C"]
    of_a, of_b = [i for i in order if i < 100], [i for i in order if 100 <= i < 103]
    assert len(set(of_a)) == 4
    assert set(of_b) == {100, 101, 102}
    seen = set()
    for epoch in range(200):
        sampler.set_epoch(epoch)
        seen |= set(sampler)
    assert seen == set(range(104))
    assert list(GroupSampler([])) == list(StratifiedSampler([])) == []


def test_every_order_of_four_comes_about_equally_often() -> None:
    sampler, counts = RandomSampler(Squares(4), generator=minidl.Generator(0)), {}
    for epoch in range(2400):
        sampler.set_epoch(epoch)
        order = tuple(sampler)
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    chi_square = sum((n - 100) ** 2 / 100 for n in counts.values())
    assert chi_square < 49.7  # the 0.1 % point of chi-square with 23 degrees of freedom


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomSampler(Squares(3), num_samples=4), "4 of 3 samples need replacement=True"),
        (lambda: WeightedRandomSampler([], 1), "one list of finite numbers from 0 up"),
        (lambda: WeightedRandomSampler([-1.0, 2.0], 1), "one list of finite numbers"),
        (lambda: WeightedRandomSampler([np.nan, 2.0], 1), "one list of finite numbers"),
        (lambda: WeightedRandomSampler([np.inf, 2.0], 1), "one list of finite numbers"),
        (lambda: WeightedRandomSampler([0.0, 2.0], 2, replacement=False), "2 draws need replacement"),
        (
            lambda: StratifiedSampler([0.5, 1.0]),
            r"labels must be one whole number or text a sample, got float64 of shape",
        ),
        (
            lambda: GroupSampler([[1], [2]]),
            r"groups must be one whole number or text a sample, got int64 of shape \(2, 1\)",
        ),
        (lambda: GroupSampler([1, 2], per_group=0), "per_group must be 1 or more, got 0"),
        (lambda: BatchSampler(range(3), 0, False), "batch_size must be a whole number from 1 up, got 0"),
    ],
)
def test_wrong_arguments_are_named(make, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_the_state_of_another_kind_is_refused() -> None:
    with pytest.raises(StateDictError, match="lacks 'seed'"):
        RandomSampler(Squares(3)).load_state_dict({})
