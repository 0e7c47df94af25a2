"""What this machine is: the processor, the width of its vectors, and the library behind NumPy's matrix products."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np


def cpu_name() -> str:
    """The processor's name as the maker wrote it, or the architecture if the system does not tell."""
    import platform  # 3 ms that importing minidl need not spend

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def vector_bits() -> int:
    """The width of the widest vector instructions that NumPy found: 128 is what every 64-bit processor has."""
    found = set(_numpy_config().get("SIMD Extensions", {}).get("found", ()))
    if found & {"AVX512F", "AVX512_SKX", "X86_V4"}:
        return 512
    return 256 if found & {"AVX2", "X86_V3"} else 128


def blas_name() -> str:
    """Name and version of NumPy's BLAS."""
    blas = _numpy_config().get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(blas[part]) for part in ("name", "version") if blas.get(part)) or "unknown BLAS"


def _numpy_config() -> dict[str, Any]:
    return cast("dict[str, Any]", np.show_config(mode="dicts"))
