"""Whether Numba can be used, and if not, why: asked once, when the first op with a fast kernel runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_switched_on: ContextVar[bool] = ContextVar("numba_switched_on", default=True)
is_switched_on = _switched_on.get


@dataclass(frozen=True, slots=True)
class NumbaStatus:
    """True if Numba can be used; as text, its version, or one line that says why not and what to do."""

    usable: bool
    text: str

    def __bool__(self) -> bool:
        return self.usable

    def __str__(self) -> str:
        return self.text


def numba_status() -> NumbaStatus:
    """Whether kernels can be compiled; imports Numba (0.3 s) when first asked."""
    return _import_numba() if is_switched_on() else _SWITCHED_OFF


@contextmanager
def use_numba(on: bool) -> Iterator[None]:
    """With False, ops take their NumPy reference inside the block (in this thread), as if Numba were not installed.

    >>> with use_numba(False):
    ...     print(numba_status())
    Numba is switched off by use_numba(False)
    """
    token = _switched_on.set(on)
    try:
        yield
    finally:
        _switched_on.reset(token)


_SWITCHED_OFF = NumbaStatus(False, "Numba is switched off by use_numba(False)")


@functools.cache
def _import_numba() -> NumbaStatus:
    try:
        import numba
    except ModuleNotFoundError as error:
        if error.name == "numba":
            return NumbaStatus(False, 'Numba is not installed, so ops run on NumPy alone; pip install "minidl[fast]"')
        return _broken(error)
    except Exception as error:  # an unfit Numba raises whatever it likes; it must not stop the reference path
        return _broken(error)
    if numba.config.DISABLE_JIT:
        return NumbaStatus(False, "Numba is switched off by NUMBA_DISABLE_JIT")
    return NumbaStatus(True, numba.__version__)


def _broken(error: Exception) -> NumbaStatus:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return NumbaStatus(False, f'Numba cannot be imported ({reason}); pip install --upgrade "minidl[fast]"')
