"""Which action an element gets, from the table, the options and, for what the table does not list, its kind.

Actions are those of PS3.15, E.3: D dummy, Z empty, X remove, U new UID, K keep, C clean; C here is the shift of dates.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medapps.deidentify.table import PROFILE, RETAIN, UNSHIFTED
from medapps.errors import InputError

__all__ = ["DATES", "Rules"]

DATES = ("remove", "shift")
_TEMPORAL = ("DA", "DT", "TM")
# Removed whole: curves and overlays, whose data the table removes.
_GROUPS = (0x5000, 0x6000)


@dataclass(frozen=True)
class Rules:
    """What is chosen for an export.

    dates: "remove", or "shift" by a number of days that is secret and the same for all dates of a patient.
    retain: options of the profile, keys of `RETAIN`.
    """

    dates: str = "remove"
    retain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.dates not in DATES:
            raise InputError(f"deidentify: dates must be {' or '.join(DATES)}, got {self.dates!r}")
        unknown = [name for name in self.retain if name not in RETAIN]
        if unknown:
            raise InputError(f"deidentify: retain knows {', '.join(RETAIN)}, not {unknown[0]!r}")

    def action(self, tag: Any, keyword: str, vr: str) -> str:
        """One of D, Z, X, U, K, C for an element; sequences with K are entered.

        Of a compound code such as X/Z/D the last one is taken, which suits every object definition. A sequence has no
        dummy value, so it is emptied. What the table does not list: private, unknown and unreadable elements and person
        names are removed, dates and times emptied or shifted, UIDs that the standard does not define are replaced.

        >>> Rules().action(0x00100010, "PatientName", "PN"), Rules().action(0x00280010, "Rows", "US")
        ('Z', 'K')
        >>> Rules(dates="shift").action(0x00080020, "StudyDate", "DA")
        'C'
        """
        if (tag >> 16) % 2 or not keyword or (tag >> 16) & 0xFF00 in _GROUPS:
            return "X"
        if keyword in self._kept:
            return "K"
        if self.dates == "shift" and vr in _TEMPORAL and keyword not in UNSHIFTED:
            return "C"
        code = _CODES.get(keyword)
        if code is None:
            return {"PN": "X", "UI": "U", "UN": "X"}.get(vr, "Z" if vr in _TEMPORAL else "K")
        last = code.rstrip("*").split("/")[-1]
        if vr == "SQ":
            return {"D": "Z", "U": "K"}.get(last, last)
        return "X" if vr == "UN" and last == "U" else last

    @cached_property
    def _kept(self) -> Collection[str]:
        return {keyword for option in self.retain for keyword in RETAIN[option]}


_CODES = {keyword: code for code, keywords in PROFILE.items() for keyword in keywords}
