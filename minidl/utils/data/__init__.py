"""Data sets, samplers and the loader. The order of samples is a function of the seed and the epoch alone."""

from minidl.utils.data.collate import default_collate, default_convert
from minidl.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from minidl.utils.data.loader import DataLoader
from minidl.utils.data.randomness import sample_generator
from minidl.utils.data.sampler import (
    BatchSampler,
    GroupSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StratifiedSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from minidl.utils.data.worker_info import get_worker_info

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "GroupSampler", "IterableDataset",
    "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "StratifiedSampler", "Subset",
    "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler",
    "default_collate", "default_convert", "get_worker_info", "random_split", "sample_generator",
]  # fmt: skip
