"""NIfTI-1 and NIfTI-2, plain or gzipped: the header is judged before a single voxel is inflated.

NIfTI stores (x, y, z) with x fastest and speaks of RAS; here it becomes (C, z, y, x) and LPS, by turning the signs of
the first two world axes. Voxels are never flipped or reordered.
"""

from __future__ import annotations

import gzip
import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError
from medapps.image import Direction, Display, Image, Spacing
from medapps.readers.files import file_bytes
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.silence import no_warnings

__all__ = ["decode_nifti", "is_nifti", "read_nifti"]

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = 540  # of NIfTI-2, the longer one
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # xyzt_units: metres and micrometres; anything else is taken for mm
_SHEAR = 1e-3  # what `Image` allows between axes that should be at right angles


def read_nifti(path: str | os.PathLike[str], *, volume: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Read one volume of a .nii or .nii.gz file.

    Values: integers stay integers (a label map keeps its labels); where the header has a slope or intercept
    (`scl_slope`, `scl_inter`), they are applied and the result is float32. RGB becomes three channels.

    Place: the sform where its code says it is set, else the qform, else neither: then `origin_mm` and `direction` stay
    None and the spacing comes from pixdim (unknown, if the file has no unit and says 1, 1, 1). An sform with shear
    gives way to the qform. Lengths are in mm whatever unit the file uses.

    Args:
        path: the file.
        volume: which volume of a file with several, from 0; None where there is one.
        limits: checked against what the header claims, before anything is inflated.

    Raises:
        ImageError: one sentence; text fields of the header are never quoted.

    Source: NIfTI-1 Data Format, Cox et al. 2004, methods 1 to 3; NIfTI-2, 2011.
    """
    return decode_nifti(file_bytes(path, limits), os.fspath(path), volume=volume, limits=limits)


def is_nifti(data: bytes) -> bool:
    """True if a file, gzipped or not, starts as NIfTI does."""
    try:
        return _version(_opened(data).read(_HEADER_BYTES)) is not None
    except (OSError, EOFError, ValueError):
        return False
    except Exception:  # zlib.error is no OSError
        return False


def decode_nifti(data: bytes, name: str, *, volume: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Image:
    """`read_nifti` for a file that is already in memory; `name` is what messages call it."""
    with no_warnings():
        try:
            return _read(_opened(data), name, volume, limits)
        except ImageError:
            raise
        except Exception as error:  # gzip and nibabel raise many classes, and their texts quote the file
            raise ImageError(
                f"{name}: a damaged NIfTI file, reading it stopped with {type(error).__name__}; copy it again"
            ) from None


def _opened(data: bytes) -> Any:
    """A stream of the plain bytes, inflated only as far as it is read."""
    return gzip.GzipFile(fileobj=io.BytesIO(data)) if data[:2] == _GZIP else io.BytesIO(data)


def _version(start: bytes) -> int | None:
    """1 or 2 for a header with its voxels in the same file, else None."""
    if start[344:348] == b"n+1\0":
        return 1
    return 2 if start[4:8] == b"n+2\0" else None


def _read(stream: Any, name: str, volume: int | None, limits: Limits) -> Image:
    start = stream.read(_HEADER_BYTES)
    header = _header(start, name)
    shape, volumes = _shape(header, name)
    dtype, samples = _voxel_type(header, name)
    slope, intercept = header.get_slope_inter()
    scaled = (slope, intercept) not in ((None, None), (1.0, 0.0)) and samples == 1
    x, y, z = shape
    limits.check_decoded(name, y, x, z, samples, 4 if scaled else dtype.itemsize // samples)
    stored = _voxels(stream, header, name, dtype, shape, _chosen(volume, volumes, name), limits)
    if samples == 3:
        array: NDArray[Any] = np.stack([stored[channel] for channel in ("R", "G", "B")])
    elif scaled:
        array = (stored.astype(np.float64) * slope + intercept).astype(np.float32)[None]
    else:
        array = stored.astype(stored.dtype.newbyteorder("="))[None]
    spacing, origin, direction, note = _place(header, name)
    meta = {"format": f"NIfTI-{_version(start)}", "geometry": note} | ({"volumes": str(volumes)} if volumes > 1 else {})
    return Image(np.ascontiguousarray(array), spacing, origin, direction, meta=meta, display=_display(header, samples))


def _header(start: bytes, name: str) -> Any:
    import nibabel

    version = _version(start)
    if version is None:
        pair = start[344:348] == b"ni1\0" or start[4:8] == b"ni2\0"
        why = "is a NIfTI header whose voxels are in another file; save both as one .nii file" if pair else ""
        raise ImageError(f"{name}: {why or 'not a NIfTI file'}")
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    return kind.from_fileobj(io.BytesIO(start), check=False)


def _shape(header: Any, name: str) -> tuple[tuple[int, int, int], int]:
    """(x, y, z) and the number of volumes."""
    sizes = [int(n) for n in header.get_data_shape()]
    if not 2 <= len(sizes) <= 7 or min(sizes) < 1:
        raise ImageError(f"{name}: the header claims an image of {' x '.join(map(str, sizes)) or 'no'} voxels")
    if any(n > 1 for n in sizes[4:]):
        raise ImageError(f"{name}: has several values at each voxel ({len(sizes)}-D); split it into 3-D files")
    x, y, z, volumes = (*sizes, 1, 1)[:4]
    return (x, y, z), volumes


def _voxel_type(header: Any, name: str) -> tuple[np.dtype[Any], int]:
    """The stored type and the number of samples of a voxel, 1 or 3."""
    dtype = np.dtype(header.get_data_dtype())
    if dtype.names is not None and dtype.names[:3] == ("R", "G", "B") and len(dtype.names) == 3:
        return dtype, 3
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(
            f"{name}: its voxels are of type {dtype.name}, which is not read here; save whole or real numbers"
        )
    return dtype, 1


def _chosen(volume: int | None, volumes: int, name: str) -> int:
    if volume is None and volumes > 1:
        raise ImageError(f"{name}: holds {volumes} volumes; choose one with read_nifti(path, volume=0)")
    chosen = volume or 0
    if not 0 <= chosen < volumes:
        raise ImageError(f"{name}: there is no volume {chosen}; it holds {volumes}, counted from 0")
    return chosen


def _voxels(
    stream: Any,
    header: Any,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, int, int],
    volume: int,
    limits: Limits,
) -> NDArray[Any]:
    """One stored volume as (z, y, x), reading no further than its end."""
    count = int(np.prod(shape, dtype=object)) * dtype.itemsize
    begin = int(header["vox_offset"]) + volume * count
    if not 0 <= begin <= limits.dataset_bytes:
        raise ImageError(f"{name}: the header claims that its voxels begin at byte {begin}, which is not read here")
    stream.seek(begin)
    found = stream.read(count)
    if len(found) < count:
        raise ImageError(f"{name}: truncated, {len(found)} of {count} bytes of voxels are there; copy the file again")
    return np.frombuffer(found, dtype).reshape(shape[::-1])


def _place(header: Any, name: str) -> tuple[Spacing | None, tuple[float, float, float] | None, Direction | None, str]:
    """Spacing, origin, direction, and where they came from."""
    unit = int(header["xyzt_units"]) & 7
    scale = _MILLIMETRES.get(unit, 1.0)
    sheared = False
    for note, code, get in (("sform", "sform_code", header.get_sform), ("qform", "qform_code", header.get_qform)):
        if int(header[code]) <= 0:
            continue
        affine = np.diag([-scale, -scale, scale]) @ np.asarray(get(), np.float64)[:3]
        steps = np.linalg.norm(affine[:, :3], axis=0)
        if not np.isfinite(affine).all() or steps.min() <= 0:
            raise ImageError(f"{name}: the {note} of the header is no position in space; set it again")
        axes = affine[:, :3] / steps
        if np.allclose(axes.T @ axes, np.eye(3), atol=_SHEAR):
            x, y, z = (float(step) for step in steps)
            rows = [(float(a), float(b), float(c)) for a, b, c in axes]
            ox, oy, oz = (float(v) for v in affine[:, 3])
            return (z, y, x), (ox, oy, oz), (rows[0], rows[1], rows[2]), note
        sheared = True
    if sheared:
        raise ImageError(f"{name}: its axes are not at right angles (shear); resample it to a straight grid")
    x, y, z = (abs(float(v)) * scale for v in header["pixdim"][1:4])
    silent = unit == 0 and (x, y, z) == (1.0, 1.0, 1.0)
    known = not silent and all(0 < v < np.inf for v in (x, y, z))
    return (z, y, x) if known else None, None, None, "neither sform nor qform is set"


def _display(header: Any, samples: int) -> Display:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    shown = samples == 1 and np.isfinite([low, high]).all() and low < high
    return Display(value_range=(low, high)) if shown else Display()
