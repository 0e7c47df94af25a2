"""What a call must leave alone, and what its results must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl.core import Tensor, recording
from minidl.device import get_num_threads, poisoned_memory, set_num_threads
from minidl.errors import GradError, KernelError
from minidl.testing.outcome import as_tuple, bits, leaves_of, outcome, pull_back, require_same_bits, weights_for

__all__ = ["check_memory", "check_purity", "check_saved", "check_threads"]

Function = Callable[..., Any]


def check_purity(function: Function, *inputs: Tensor) -> None:
    """The call and its backward change neither the inputs nor the gradient that backward starts with.

    And a second walk back over the same graph gives the same bits: nothing that was saved has been written to.

    Raises:
        KernelError: naming what was changed.
    """
    before = [bits(x.array) for x in inputs]
    leaves = leaves_of(inputs)
    results = as_tuple(function(*leaves))
    _require_unchanged("the call", inputs, before)
    weights = weights_for(results)
    weights_before = [bits(w.array) for w in weights]
    first = pull_back(results, leaves, weights)
    _require_unchanged("backward", inputs, before)
    if [bits(w.array) for w in weights] != weights_before:
        raise KernelError("backward changed the gradient that it was given; it belongs to the caller")
    for position, (once, twice) in enumerate(zip(first, pull_back(results, leaves, weights), strict=True)):
        if once is not None and twice is not None and bits(once) != bits(twice):
            raise KernelError(
                f"a second backward gives another gradient of input {position}; the first has changed what was saved"
            )


def _require_unchanged(who: str, inputs: Sequence[Tensor], before: Sequence[bytes]) -> None:
    for position, (x, old) in enumerate(zip(inputs, before, strict=True)):
        if bits(x.array) != old:
            raise KernelError(f"{who} changed input {position}; it may only write to its result")


def check_memory(function: Function, *inputs: Tensor) -> None:
    """Results and gradients do not depend on what fresh memory holds: NaN, zeros and ones give the same bits.

    Raises:
        KernelError: naming the result and the place that differs.
    """
    with poisoned_memory():
        first = outcome(function, inputs)
    for value in (0.0, 1.0):
        with poisoned_memory(value):
            require_same_bits(first, outcome(function, inputs), "depends on what its memory held before")


def check_threads(function: Function, *inputs: Tensor, counts: Sequence[int] = (1, 2, 3, 7, 16)) -> None:
    """Results and gradients have the same bits on any number of threads.

    Raises:
        KernelError: naming the result and the number of threads.
    """
    before = get_num_threads()
    try:
        set_num_threads(counts[0])
        first = outcome(function, inputs)
        for count in counts[1:]:
            set_num_threads(count)
            require_same_bits(first, outcome(function, inputs), f"differs between {counts[0]} and {count} threads")
    finally:
        set_num_threads(before)


def check_saved(function: Function, *inputs: Tensor) -> None:
    """An input that is changed in place between forward and backward is noticed, or does not matter.

    Raises:
        GradError: if backward gives another gradient than before, without a word.
    """
    for position, x in enumerate(inputs):
        if not x.is_floating_point():
            continue
        leaves = leaves_of([y.clone() for y in inputs])
        results = as_tuple(function(*leaves))
        weights = weights_for(results)
        right = pull_back(results, leaves, weights)
        with recording(False):
            leaves[position].add_(1.0)
        try:
            given = pull_back(results, leaves, weights)
        except GradError:
            continue
        for number, (old, new) in enumerate(zip(right, given, strict=True)):
            if old is not None and new is not None and bits(old) != bits(new):
                raise GradError(
                    f"input {position} was changed in place after the call, and the gradient of input {number} is now "
                    "another, without an error; keep tensors by `saves` or `save_for_backward`, which notice it"
                )
