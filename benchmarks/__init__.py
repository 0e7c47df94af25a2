"""Benchmarks: ours beside PyTorch's, in one run. `python -m benchmarks --help`."""
