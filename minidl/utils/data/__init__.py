"""Data sets, samplers and the loader. The order of samples is a function of the seed and the epoch alone."""

from minidl.utils.data.collate import default_collate
from minidl.utils.data.dataset import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from minidl.utils.data.loader import DataLoader
from minidl.utils.data.randomness import sample_generator
from minidl.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler", "ConcatDataset", "DataLoader", "Dataset", "IterableDataset", "RandomSampler", "Sampler",
    "SequentialSampler", "Subset", "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "default_collate",
    "random_split", "sample_generator",
]  # fmt: skip
