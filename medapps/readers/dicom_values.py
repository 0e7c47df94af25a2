"""From stored pixels to physical values, and how they want to be shown.

Order as in DICOM PS3.3: modality step (C.11.1: LUT or slope and intercept), padding (C.7.5.1.1.2), VOI (C.11.2),
then polarity (MONOCHROME1). Only the first two change the values; the others go into a `Display`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.image import Display

__all__ = ["display", "frame_group", "modality_of", "modality_values", "replace_padding"]

_UNITS = {"HU", "US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "BQML", "CNTS", "GML", "GY"}


def frame_group(dataset: Any, frame: int, keyword: str) -> Any | None:
    """The functional group `keyword` of one frame: its own, else the shared one, else None."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (per_frame[frame : frame + 1], shared[:1]):
        for group in groups:
            if group.get(keyword):
                return group.get(keyword)[0]
    return None


def modality_of(dataset: Any) -> str:
    """The modality code, or "" for a text that is none."""
    text = str(dataset.get("Modality") or "").strip()
    return text if re.fullmatch(r"[A-Z]{2,10}", text) else ""


def modality_values(stored: NDArray[Any], dataset: Any) -> tuple[NDArray[Any], str]:
    """Physical values of (frames, rows, columns) and their unit ("" when the file does not say).

    Stored integers stay what they are where the file gives no rescale; else the result is float32, computed in
    float64.
    """
    if dataset.get("ModalityLUTSequence"):
        item = dataset.ModalityLUTSequence[0]
        lut, first, _ = _lut(item, dataset)
        index = np.clip(stored.astype(np.int64) - first, 0, len(lut) - 1)
        return lut[index].astype(np.float32), _unit(item.get("ModalityLUTType"))
    if dataset.get("DoseGridScaling") is not None:
        unit = _unit(dataset.get("DoseUnits"))
        return (stored.astype(np.float64) * float(dataset.DoseGridScaling)).astype(np.float32), unit
    steps = [_slope_and_intercept(dataset, frame) for frame in range(len(stored))]
    if not any(step is not None for step in steps):
        return stored, ""
    slopes, intercepts = np.array([step or (1.0, 0.0) for step in steps], np.float64).T
    values = stored.astype(np.float64) * slopes[:, None, None] + intercepts[:, None, None]
    return values.astype(np.float32), _rescale_unit(dataset)


def _slope_and_intercept(dataset: Any, frame: int) -> tuple[float, float] | None:
    item = frame_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    if slope in (None, "") and intercept in (None, ""):
        return None
    return float(1 if slope in (None, "") else slope), float(0 if intercept in (None, "") else intercept)


def _rescale_unit(dataset: Any) -> str:
    item = frame_group(dataset, 0, "PixelValueTransformationSequence") or dataset
    named = _unit(item.get("RescaleType")) or _unit(dataset.get("Units"))
    return named or ("HU" if dataset.get("Modality") == "CT" else "")


def _unit(value: Any) -> str:
    text = str(value or "").strip().upper()
    return text if text in _UNITS and text != "US" else ""  # "US" means unspecified


def _lut(item: Any, dataset: Any) -> tuple[NDArray[Any], int, int]:
    """Entries of a LUT, the value its first entry belongs to, and its white."""
    count, first, bits = (int(v) for v in item.LUTDescriptor)
    count = count or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        packed = bits <= 8 and len(data) < 2 * count
        entries = np.frombuffer(data, np.uint8 if packed else ("<u2" if little else ">u2"))
    else:
        entries = np.atleast_1d(np.asarray(data))
    if len(entries) == 0:
        raise ValueError("empty LUT")
    return entries[:count].astype(np.int64), first, 2**bits - 1


def replace_padding(
    values: NDArray[Any], stored: NDArray[Any], dataset: Any, *, inverted: bool
) -> tuple[NDArray[Any], int]:
    """Give padding pixels the darkest real value; returns the values and how many were replaced.

    Scanners fill the corners outside their field of view with a number such as -2000, which after the rescale would
    be a physical value that nothing has.
    """
    low = dataset.get("PixelPaddingValue")
    if low in (None, ""):
        return values, 0
    high = dataset.get("PixelPaddingRangeLimit")
    # Wrapped to the stored type: some writers give -2000 as 63536.
    ends = np.array([low, low if high in (None, "") else high], np.int64).astype(stored.dtype)
    padding = (stored >= ends.min()) & (stored <= ends.max())
    count = int(padding.sum())
    if count in (0, padding.size):
        return values, 0
    real = values[~padding]
    return np.where(padding, real.max() if inverted else real.min(), values).astype(values.dtype), count


def display(dataset: Any, photometric: str, bits_stored: int, dtype: np.dtype[Any]) -> Display:
    """How the file wants its values shown: the first VOI LUT, else the first window, else the whole range."""
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        wide = dtype.itemsize > 1
        return Display(value_range=(0.0, float(2 ** (8 * dtype.itemsize) - 1))) if wide else Display()
    inverted = photometric == "MONOCHROME1"
    voi = frame_group(dataset, 0, "FrameVOILUTSequence") or dataset
    if voi.get("VOILUTSequence"):
        lut, first, white = _lut(voi.VOILUTSequence[0], dataset)
        return Display("LUT", lut=lut, lut_first=first, lut_white=white, inverted=inverted)
    center, width = _first_number(voi.get("WindowCenter")), _first_number(voi.get("WindowWidth"))
    function = str(voi.get("VOILUTFunction") or "LINEAR").strip().upper()
    if center is not None and width is not None and function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        smallest = 1.0 if function == "LINEAR" else 1e-12
        if width >= smallest:
            return Display(function, center=center, width=width, inverted=inverted)
    narrow = dtype == np.uint8 and bits_stored < 8  # one-bit segmentations would look black
    return Display(value_range=(0.0, 2.0**bits_stored - 1) if narrow else None, inverted=inverted)


def _first_number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    number = float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
    return number if np.isfinite(number) else None
