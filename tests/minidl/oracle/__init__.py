"""PyTorch's own lists of ops, layers and optimisers, run against ours of the same name.

`pytorch.py` opens the lists, `bridge.py` carries values across, `samples.py`, `modules.py` and `optimizers.py` compare,
`excuses.py` says what is left out and why.
"""
