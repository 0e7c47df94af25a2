"""How one batch is made: from a data set with indices, or from one that is a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minidl.utils.data.collate import default_collate
from minidl.utils.data.dataset import Subset, TensorDataset
from minidl.utils.data.randomness import Draws, drawing

END = object()  # what a stream gives when it is over
WARN_AFTER_S = 5.0  # a batch that takes longer is named in a warning: a worker may hang

Collate = Callable[[list[Any]], Any]


class Abandoned(Exception):
    """Nobody waits for this batch any more."""


class IndexedFetch:
    """Batches of the samples at given indices; or, if not `batched`, the sample at a given index as it is."""

    def __init__(self, dataset: Any, collate: Collate | None, seed: int, epoch: int, *, batched: bool) -> None:
        self.dataset, self.collate, self.seed, self.epoch, self.batched = dataset, collate, seed, epoch, batched
        self.abandoned = False
        self._take = tensor_taker(dataset) if collate is None else None

    def __call__(self, indices: Any) -> Any:
        if not self.batched:
            return self._sample(indices)
        if self._take is not None:
            return self._noted(self._take, indices)
        if hasattr(self.dataset, "__getitems__"):
            with drawing(Draws(self.seed, self.epoch)):
                samples = self._noted(self.dataset.__getitems__, indices)
        else:
            samples = [self._sample(index) for index in indices]
        return self._noted(self.collate or default_collate, samples, indices)

    def _sample(self, index: int) -> Any:
        if self.abandoned:
            raise Abandoned
        with drawing(Draws(self.seed, self.epoch, index)):
            return self._noted(self.dataset.__getitem__, index)

    def _noted(self, function: Callable[..., Any], argument: Any, index: Any = None) -> Any:
        """`function(argument)`; an error says which sample it was about."""
        try:
            return function(argument)
        except Exception as error:
            samples = named(argument if index is None else index)
            error.add_note(f"DataLoader: while fetching {samples} of epoch {self.epoch}")
            raise


class StreamFetch:
    """Batches of the samples of an IterableDataset as they come; the first `skip` batches are passed over."""

    def __init__(
        self, dataset: Any, collate: Collate | None, seed: int, epoch: int, size: int | None, drop_last: bool, skip: int
    ) -> None:
        self.collate, self.seed, self.epoch, self.size, self.drop_last = collate, seed, epoch, size, drop_last
        self.abandoned = False
        self._skip = skip * (size or 1)
        self._samples = self._counted(dataset)

    def __call__(self, _turn: None = None) -> Any:
        samples = list(itertools.islice(self._samples, self.size or 1))
        if not samples or (self.size is not None and self.drop_last and len(samples) < self.size):
            return END
        return samples[0] if self.size is None else (self.collate or default_collate)(samples)

    def _counted(self, dataset: Any) -> Iterator[Any]:
        """The samples, each drawn under its own number."""
        source = None
        for number in itertools.count():
            if self.abandoned:
                raise Abandoned
            with drawing(Draws(self.seed, self.epoch, number)):
                try:
                    source = iter(dataset) if source is None else source
                    sample = next(source, END)
                except Exception as error:
                    error.add_note(f"DataLoader: while fetching sample {number} of epoch {self.epoch}")
                    raise
            if sample is END:
                return
            if number >= self._skip:
                yield sample


def tensor_taker(dataset: Any) -> Callable[[Sequence[int]], list[Any]] | None:
    """For a TensorDataset, or a part of one: what fetches a batch by one indexing operation for each tensor.

    Subclasses are left out: they may change what a sample is.
    """
    if type(dataset) is TensorDataset:
        return lambda indices: [t[list(indices)] for t in dataset.tensors]
    if type(dataset) is Subset and (take := tensor_taker(dataset.dataset)) is not None:
        return lambda indices: take([dataset.indices[i] for i in indices])
    return None


def named(index: Any) -> str:
    """Samples, as messages call them."""
    if not isinstance(index, (list, tuple)):
        return f"sample {index}"
    return f"samples {', '.join(map(str, index[:8]))}{', ...' if len(index) > 8 else ''}"
