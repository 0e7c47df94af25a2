"""Compile all kernels ahead of time, in several processes, because one process compiles one kernel at a time."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

from minidl.device.compile import Kernel, kernels
from minidl.device.signature import Choice
from minidl.errors import KernelError


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of one kernel and one choice of types; `error` is one line if it failed."""

    kernel: str
    types: Choice
    outcome: Literal["compiled", "found", "failed"]
    seconds: float
    error: str = ""


def specialisations() -> list[tuple[Kernel, Choice]]:
    """Every kernel declared so far, with every choice of its types."""
    return [(kernel, choice) for kernel in kernels() for choice in kernel.signature.choices()]


def warm_up(work: Sequence[tuple[Kernel, Choice]], processes: int) -> Iterator[Prepared]:
    """Make the cache hold all of `work`; tells of each as it is done, first of what was there already."""
    missing = []
    for kernel, choice in work:
        started = time.perf_counter()
        try:
            is_cached = kernel.is_cached(choice)
        except KernelError as error:
            yield Prepared(kernel.name, choice, "failed", 0.0, _one_line(error))
            continue
        if is_cached:
            yield Prepared(kernel.name, choice, "found", time.perf_counter() - started)
        else:
            missing.append((kernel, choice))
    if processes <= 1 or len(missing) <= 1:
        yield from (_prepare(kernel, choice) for kernel, choice in missing)
        return
    # Not forked: Numba's locks and our threads do not survive a fork. A new process finds a kernel by its place.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(missing)), mp_context=context) as pool:
        for done in as_completed([pool.submit(_prepare_at, *_place(kernel), choice) for kernel, choice in missing]):
            yield done.result()


def _prepare(kernel: Kernel, choice: Choice) -> Prepared:
    started = time.perf_counter()
    try:
        kernel.prepare(choice)
    except KernelError as error:
        return Prepared(kernel.name, choice, "failed", time.perf_counter() - started, _one_line(error))
    return Prepared(kernel.name, choice, "compiled", time.perf_counter() - started)


def _prepare_at(module: str, name: str, index: int, choice: Choice) -> Prepared:
    importlib.import_module(module)
    return _prepare(_namesakes(module, name)[index], choice)


def _place(kernel: Kernel) -> tuple[str, str, int]:
    module = kernel.py_func.__module__
    return module, kernel.name, _namesakes(module, kernel.name).index(kernel)


def _namesakes(module: str, name: str) -> list[Kernel]:
    """The kernels of one name in a module, in order of declaration: several if a function makes them."""
    return [kernel for kernel in kernels() if kernel.py_func.__module__ == module and kernel.name == name]


def _one_line(error: KernelError) -> str:
    return str(error).splitlines()[0]
