"""Canonical names for people, wire names for models.

Agents see names that match `^[A-Za-z0-9_-]{1,64}$`: one dotted name makes whole client frameworks refuse the list.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

__all__ = ["WIRE_NAME", "canonical_name", "wire_names"]

WIRE_NAME: Final = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_MAX: Final = 60
_DIGITS: Final = (8, 16, 40)


def canonical_name(server: str, tool: str) -> str:
    """Return the name policies, configuration and ledger use: `server.tool`."""
    return f"{server}.{tool}"


def _hashed(canonical: str, wire: str, digits: int) -> str:
    tail = hashlib.sha256(canonical.encode()).hexdigest()[:digits]
    return f"{wire[: _MAX - digits - 1]}_{tail}"


def wire_names(canonical: Iterable[str]) -> dict[str, str]:
    """Return canonical → wire name, the same whatever the order: a name that is long, has foreign characters or would
    collide ends in eight hex digits of the SHA-256 of its canonical name, or more where somebody made those collide.
    """
    clean, digits = {}, {}
    for name in sorted(set(canonical)):
        wire = name.replace(".", "_")
        clean[name] = _FOREIGN.sub("_", wire)
        digits[name] = 0 if len(wire) <= _MAX and clean[name] == wire else _DIGITS[0]
    while True:
        result = {
            name: _hashed(name, clean[name], number) if number else clean[name] for name, number in digits.items()
        }
        times = Counter(result.values())
        alike = [name for name, wire in result.items() if times[wire] > 1]
        if not alike:
            return result
        plain = [name for name in alike if not digits[name]]  # whoever is called like a hash takes it from nobody
        for name in plain or alike:
            digits[name] = next((more for more in _DIGITS if more > digits[name]), digits[name] + 1)
