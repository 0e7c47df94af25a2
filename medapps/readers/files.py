"""The bytes of a file, or one sentence why they cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

from medapps.errors import ImageError
from medapps.readers.limits import DEFAULT_LIMITS, Limits

__all__ = ["file_bytes"]


def file_bytes(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The content of a file, or one sentence why it cannot be had."""
    file = Path(path)
    try:
        if file.is_dir():
            raise ImageError(f"{file}: is a folder; name a file in it")
        size = file.stat().st_size
        if size > limits.file_bytes:
            raise ImageError(
                f"{file}: {size >> 20} MiB is more than the {limits.file_bytes >> 20} MiB allowed for a file"
            )
        return file.read_bytes()
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{file}: there is no such file") from None
    except PermissionError:
        raise ImageError(f"{file}: may not be read; check its permissions") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{file}: could not be read ({type(error).__name__})") from None
