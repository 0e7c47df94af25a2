"""doctor: what this installation can do, a line each."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from medapps import __version__
from medapps.plugins import installed_plugins

__all__ = ["doctor"]

_PACKAGES = (
    "numpy", "safetensors", "numba", "pydicom", "scipy", "scikit-image", "nibabel", "highdicom", "pillow", "matplotlib",
    "rich", "typer", "jinja2",
)  # fmt: skip
_CODECS = (  # (what, name of the transfer syntax in pydicom.uid)
    ("RLE", "RLELossless"),
    ("JPEG, 8 bit", "JPEGBaseline8Bit"),
    ("JPEG, 12 bit", "JPEGExtended12Bit"),
    ("JPEG lossless", "JPEGLosslessSV1"),
    ("JPEG-LS", "JPEGLSLossless"),
    ("JPEG 2000", "JPEG2000Lossless"),
    ("HTJ2K", "HTJ2KLossless"),
)


def doctor() -> dict[str, str]:
    """Versions, extras, kernels, threads, DICOM codecs and plug-ins; what is missing says how to get it."""
    return {
        "medapps": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: _version(name) for name in _PACKAGES},
        **_engine(),
        **{f"DICOM {what}": _codec(name) for what, name in _CODECS},
        **_plugins(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        extra = {"numpy": "minidl", "safetensors": "minidl", "numba": "minidl[fast]"}.get(name, "minidl[med]")
        return f"missing: pip install '{extra}'"


def _engine() -> dict[str, str]:
    from minidl.device import cache, cuda_status, get_num_threads, numba_status

    numba, kernels = numba_status(), cache.folder()
    return {
        "fast kernels": f"work, by Numba {numba}" if numba else str(numba),
        "kernel cache": str(kernels.path) if kernels.path else f"none: {kernels.reason}",
        "threads": str(get_num_threads()),
        "GPU": cuda_status() or "works",
    }


def _plugins() -> dict[str, str]:
    """Which are installed; whether they work shows when a recipe names one."""
    return {f"{p.kind} {p.name}": f"by the plug-in {p.package}" for p in installed_plugins()} or {"plug-ins": "none"}


def _codec(name: str) -> str:
    if find_spec("pydicom") is None:
        return "missing: pip install 'minidl[med]'"
    import pydicom.uid
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(getattr(pydicom.uid, name))
    if decoder.is_available:
        return "works, by " + ", ".join(decoder.available_plugins)
    return "cannot be read: " + "; ".join(decoder.missing_dependencies)
