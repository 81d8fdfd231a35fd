"""Durations as configuration writes them."""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["milliseconds"]

_UNITS: Final[Mapping[str, int]] = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([1-9]\d{0,5})([smhd])", re.ASCII)


def milliseconds(text: str) -> int:
    """Return a duration such as 24h or 15m in milliseconds. Raises `ValueError`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 24h or 3d")
    return int(found[1]) * _UNITS[found[2]]
