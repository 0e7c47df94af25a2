"""Replacements that are the same wherever a value occurs, and lead back to it for nobody without the key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import date, timedelta

__all__ = ["Secret"]

_MOST_DAYS = 3650


@dataclass(frozen=True)
class Secret:
    """The key of an export. It is random, and lost with the object, unless it is given.

    >>> s = Secret(b"k" * 32)
    >>> s.uid("1.2.3") == s.uid("1.2.3") != s.uid("1.2.4")
    True
    >>> s.shifted("20210304", "P1") == s.shifted("20210304", "P2")
    False
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def uid(self, uid: str) -> str:
        """A UID in place of another, under 2.25 (PS3.5, B.2). Those that the standard itself defines stay."""
        if uid.startswith("1.2.840.10008."):
            return uid
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def name(self, patient: str) -> str:
        """A pseudonym of a patient."""
        return "ANON-" + self._digest("patient", patient).hex()[:12].upper()

    def shifted(self, text: str, patient: str) -> str:
        """A DA or DT value, moved back by 1 to 3650 days, the same number for all values of a patient.

        Years and months alone, and what is no date, become "". The time of day stays.
        """
        days = 1 + int.from_bytes(self._digest("days", patient)[:8], "big") % _MOST_DAYS
        try:
            moved = date(int(text[:4]), int(text[4:6]), int(text[6:8])) - timedelta(days=days)
        except (ValueError, OverflowError):
            return ""
        return f"{moved:%Y%m%d}".rjust(8, "0") + text[8:]

    def _digest(self, purpose: str, value: str) -> bytes:
        return hmac.new(self.key, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()
