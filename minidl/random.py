"""Random numbers, and the tensors made of them.

One default generator exists, because PyTorch's signatures leave layers no place for another; `manual_seed` sets it. All
else is explicit: `Generator(seed)`, and `generator.stream("augment", epoch, index)` for draws that depend on the seed
and the key alone, whoever drew before. Numbers come from NumPy's Philox, on the CPU, so every device starts equal.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.device import Device, device
from minidl.device.dtypes import DEFAULT_FLOAT, DEFAULT_INT, DType
from minidl.errors import ArgumentError, FileFormatError

Shape = Sequence[int]


class Generator:
    """A stream of random numbers that depends on its seed and key alone.

    Args:
        seed: any whole number from 0 up; drawn from the operating system when None.

    >>> Generator(7).uniform((2,)) == Generator(7).uniform((2,))
    array([ True,  True])
    """

    def __init__(self, seed: int | None = None, key: tuple[int, ...] = ()) -> None:
        self.seed = int.from_bytes(os.urandom(8), "little") >> 1 if seed is None else int(seed)
        self.key = key
        self._bits = np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key))
        self._draw = np.random.Generator(self._bits)

    def manual_seed(self, seed: int) -> Generator:
        """Start over from `seed`."""
        Generator.__init__(self, seed)
        return self

    def initial_seed(self) -> int:
        """The seed that this generator started from."""
        return self.seed

    def stream(self, *key: int | str) -> Generator:
        """An independent generator for `key`: the same for the same seed and key, whatever was drawn before."""
        return Generator(self.seed, self.key + tuple(_word(part) for part in key))

    def numpy(self) -> np.random.Generator:
        """The NumPy generator underneath, sharing this one's state."""
        return self._draw

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DType = DEFAULT_FLOAT) -> Any:
        """Numbers evenly spread over [low, high), as a NumPy array."""
        draws = self._draw.random(tuple(shape), dtype=np.float32 if dtype.itemsize <= 4 else np.float64)
        return (draws * (high - low) + low).astype(dtype, copy=False)

    def normal(self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DType = DEFAULT_FLOAT) -> Any:
        """Numbers from the normal distribution, as a NumPy array."""
        draws = self._draw.standard_normal(tuple(shape), dtype=np.float32 if dtype.itemsize <= 4 else np.float64)
        return (draws * std + mean).astype(dtype, copy=False)

    def integers(self, low: int, high: int, shape: Shape = (), dtype: DType = DEFAULT_INT) -> Any:
        """Whole numbers from `low` up to, not including, `high`."""
        return self._draw.integers(low, high, tuple(shape), dtype=dtype)

    def permutation(self, n: int) -> Any:
        """The numbers 0 to n - 1 in random order."""
        return self._draw.permutation(n)

    def get_state(self) -> dict[str, Any]:
        """All that the next draws depend on, as plain numbers and small arrays."""
        state = self._bits.state
        return {
            "seed": self.seed,
            "key": list(self.key),
            "counter": state["state"]["counter"].copy(),
            "philox_key": state["state"]["key"].copy(),
            "buffer": state["buffer"].copy(),
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state given by `get_state`.

        Raises:
            FileFormatError: if it is not such a state; the generator is unchanged then.
        """
        try:
            fresh: Any = {
                "bit_generator": "Philox",
                "state": {
                    "counter": np.asarray(state["counter"], np.uint64),
                    "key": np.asarray(state["philox_key"], np.uint64),
                },
                "buffer": np.asarray(state["buffer"], np.uint64),
                **{name: int(state[name]) for name in ("buffer_pos", "has_uint32", "uinteger")},
            }
            seed, key = int(state["seed"]), tuple(int(k) for k in state["key"])
            self._bits.state = fresh
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"set_state: the random state must be what get_state gave; this one fails with {error!r}"
            ) from error
        self.seed, self.key = seed, key


def _word(part: int | str) -> int:
    """One part of a stream's key as a 32-bit number."""
    if isinstance(part, str):
        import hashlib  # 4 ms that a program without named streams need not spend

        return int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "little")
    return int(part) & 0xFFFFFFFF


@functools.cache  # made on first use: NumPy loads its generators then, and not when minidl is imported
def default_generator() -> Generator:
    """The generator that layers and factories draw from."""
    return Generator(0)


def manual_seed(seed: int) -> Generator:
    """Start the default generator over from `seed`; it starts from 0 in a new process."""
    return default_generator().manual_seed(seed)


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return default_generator().seed


def rand(*shape: int, generator: Generator | None = None, dtype: DType = DEFAULT_FLOAT, requires_grad: bool = False,
         device: Device | str = "cpu") -> Tensor:  # fmt: skip
    """A tensor of numbers evenly spread over [0, 1)."""
    return _placed((generator or default_generator()).uniform(_lengths(shape), dtype=dtype), device, requires_grad)


def randn(*shape: int, generator: Generator | None = None, dtype: DType = DEFAULT_FLOAT, requires_grad: bool = False,
          device: Device | str = "cpu") -> Tensor:  # fmt: skip
    """A tensor of numbers from the standard normal distribution."""
    return _placed((generator or default_generator()).normal(_lengths(shape), dtype=dtype), device, requires_grad)


def randint(low: int, high: Any = None, size: Shape = (), *, generator: Generator | None = None,
            dtype: DType = DEFAULT_INT, device: Device | str = "cpu",
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of whole numbers from `low` up to, not including, `high`; from 0 to `low` if that is all that is given.

    PyTorch's forms randint(high, size) and randint(low, high, size).
    """
    if high is None or not hasattr(high, "__index__"):
        low, high, size = 0, low, size if high is None else high
    if low >= high:
        raise ArgumentError(f"randint: low must be below high, got {low} and {high}")
    draws = (generator or default_generator()).integers(low, high, size)
    return _placed(draws.astype(dtype), device, False).requires_grad_(requires_grad)


def randperm(n: int, *, generator: Generator | None = None, device: Device | str = "cpu") -> Tensor:
    """The numbers 0 to n - 1 in random order, int64."""
    return _placed((generator or default_generator()).permutation(n), device, False)


def _lengths(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape


def _placed(array: Any, place: Device | str, requires_grad: bool) -> Tensor:
    return Tensor.of(np.asarray(array)).to(device(place)).requires_grad_(requires_grad)
