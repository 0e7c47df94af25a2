"""Limits that are checked before anything is decoded: a file of a few kilobytes can claim to hold gigabytes."""

from __future__ import annotations

from dataclasses import dataclass

from medapps.errors import ImageError

__all__ = ["DEFAULT_LIMITS", "Limits"]

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one file may cost.

    file_bytes: size of a file on disk, and of one entry of a zip.
    decoded_bytes: one image once decoded (rows x columns x frames x samples x bytes of a sample).
    frames: frames in one file.
    dataset_bytes: all images of a data set together.
    dataset_images: images in a data set.
    """

    file_bytes: int = 2048 * MIB
    decoded_bytes: int = 512 * MIB
    frames: int = 65_536
    dataset_bytes: int = 4096 * MIB
    dataset_images: int = 2_000_000

    def check_decoded(self, name: str, rows: int, columns: int, frames: int, samples: int, itemsize: int) -> None:
        """Refuse an image whose claimed size is impossible or too large.

        Raises:
            ImageError: naming the claim and the limit.
        """
        if min(rows, columns, frames, samples, itemsize) < 1:
            raise ImageError(f"{name}: the header claims an image of {rows} x {columns} pixels and {frames} frames")
        if frames > self.frames:
            raise ImageError(f"{name}: the header claims {frames} frames, more than the {self.frames} allowed")
        size = rows * columns * frames * samples * itemsize
        if size > self.decoded_bytes:
            raise ImageError(
                f"{name}: the header claims {rows} x {columns} pixels x {frames} frames x {samples} samples, "
                f"{size / MIB:.0f} MiB decoded, more than the {self.decoded_bytes // MIB} MiB allowed"
            )


DEFAULT_LIMITS = Limits()
