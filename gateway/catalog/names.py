"""Canonical names for people, wire names for models.

Agents see names that match `^[A-Za-z0-9_-]{1,64}$`: one dotted name makes whole client frameworks refuse the list.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["WIRE_NAME", "canonical_name", "wire_names"]

WIRE_NAME: Final = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_MAX: Final = 60


def canonical_name(server: str, tool: str) -> str:
    """Return the name policies, configuration and ledger use: `server.tool`."""
    return f"{server}.{tool}"


def _hashed(canonical: str, wire: str) -> str:
    tail = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    return f"{wire[: _MAX - 9]}_{tail}"


def wire_names(canonical: Iterable[str]) -> dict[str, str]:
    """Return canonical → wire name, the same whatever the order: a name that is long, has foreign characters or would
    collide ends in eight hex digits of the SHA-256 of its canonical name.
    """
    names = sorted(set(canonical))
    plain = {name: name.replace(".", "_") for name in names}
    taken: dict[str, int] = {}
    for wire in plain.values():
        taken[wire] = taken.get(wire, 0) + 1
    result = {}
    for name, wire in plain.items():
        clean = _FOREIGN.sub("_", wire)
        if len(wire) > _MAX or clean != wire or taken[wire] > 1:
            clean = _hashed(name, clean)
        result[name] = clean
    return result
