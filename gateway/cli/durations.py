"""Durations and moments as people write them on the command line."""

import re
import time
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from gateway.cli.output import USAGE, Refused, fail_with

__all__ = ["moment_ms", "span_ms"]

_UNITS: Final = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86400})
_SPAN: Final = re.compile(r"(\d{1,6})([smhd])")


def span_ms(text: str) -> int:
    """Return a duration such as 90d, 12h, 30m or 60s in milliseconds; anything else ends the command with 2."""
    found = _SPAN.fullmatch(text)
    if found is None:
        fail_with(Refused("duration", f"{text!r} is no duration", "write 90d, 12h, 30m or 60s"), USAGE)
    return int(found[1]) * _UNITS[found[2]] * 1000


def moment_ms(text: str) -> int:
    """Return Unix milliseconds of a date, a date with a time (UTC unless it says otherwise), or an age such as 2h.

    Nothing is 0; anything else ends the command with 2.
    """
    if not text:
        return 0
    if _SPAN.fullmatch(text):
        return int(time.time() * 1000) - span_ms(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "write 2026-11-17, 2026-11-17T09:30, or 2h"
        fail_with(Refused("time", f"{text!r} is no time", hint), USAGE)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
