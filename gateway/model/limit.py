"""What may be used up: so much of something, in a window of time. Amounts are whole millionths, so sums are exact."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, Final

__all__ = [
    "BEYOND",
    "BYTES",
    "CALLS",
    "EVER",
    "MEASURED",
    "MILLION",
    "MODEL_TOKENS",
    "SECONDS",
    "TOKENS",
    "Limit",
    "Price",
    "Window",
    "amount_text",
    "checked_limits",
    "checked_prices",
    "limit_from",
    "limits_from",
    "millionths",
    "price_from",
    "window_from",
]

MILLION: Final = 1_000_000
CALLS: Final = "calls"
BYTES: Final = "bytes"
TOKENS: Final = "tokens"
SECONDS: Final = "seconds"
MODEL_TOKENS: Final = "model_tokens"
MEASURED: Final = frozenset({BYTES, TOKENS, SECONDS})
"""Units of which it is known only afterwards how much a call took."""

_WIDE: Final = Context(prec=100, rounding=ROUND_CEILING)
_LARGE: Final = 10**18
_OWN: Final = MEASURED | {CALLS, MODEL_TOKENS}
BEYOND: Final = 10**24
"""What stands for an amount that no budget could hold."""

_MOST: Final = 10**12 * MILLION
_NUMBER: Final = re.compile(r"\d{1,30}(?:\.\d{1,30})?", re.ASCII)
_UNIT: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_PATH: Final = re.compile(r"[^\s.|]+(?:\.[^\s.|]+)*")
_SPAN: Final = re.compile(r"([1-9]\d{0,4})([smhd])", re.ASCII)
_SPANS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_CALENDAR: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}
_CALL: Final = "call"
_MONDAY_MS: Final = 4 * 86_400_000  # the first one after the epoch, a Thursday
_PARTS: Final = 60
_WINDOWS: Final = (
    "minute, hour, day, week or month (they begin anew, UTC), 90s, 15m, 24h, 7d (the last so long), or call (each one)"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that is counted by itself. `name` is how it is written; an empty one lasts for ever.

    A calendar window begins anew with each minute, hour, day, week (Monday) or month, UTC. A sliding one looks back
    `sliding_ms` at each moment, in sixtieths of itself: what leaves it leaves up to a sixtieth late, never early.
    `call` is no time at all: each call is held to the limit by itself, and nothing is counted.
    """

    name: str
    sliding_ms: int = 0

    @property
    def is_one_call(self) -> bool:
        """Whether each call is held to the limit by itself."""
        return self.name == _CALL

    def start_ms(self, now_ms: int) -> int:
        """Return the start of the part of time that something used now is counted in."""
        if self.sliding_ms:
            return now_ms - now_ms % self._part_ms
        if self.name == "month":
            return _milliseconds(datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1))
        length = _CALENDAR.get(self.name)
        if length is None:
            return 0
        offset = _MONDAY_MS if self.name == "week" else 0
        return now_ms - (now_ms - offset) % length

    def since_ms(self, now_ms: int) -> int:
        """Return the earliest start of a part that still counts."""
        return now_ms - self.sliding_ms - self._part_ms + 2 if self.sliding_ms else self.start_ms(now_ms)

    def frees_ms(self, start_ms: int) -> int | None:
        """Return when the part that begins at `start_ms` counts no longer; None for never."""
        if self.sliding_ms:
            return start_ms + self.sliding_ms + self._part_ms - 1
        if self.name == "month":
            begun = datetime.fromtimestamp(start_ms / 1000, UTC)
            ends = begun.replace(year=begun.year + begun.month // 12, month=begun.month % 12 + 1)
            return _milliseconds(ends)
        length = _CALENDAR.get(self.name)
        return None if length is None else start_ms + length

    @property
    def _part_ms(self) -> int:
        return self.sliding_ms // _PARTS


EVER: Final = Window("")


@dataclass(frozen=True, slots=True)
class Limit:
    """So much of a unit in a window; `most` counts millionths."""

    unit: str
    most: int
    window: Window = EVER


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs in a unit: `fixed` millionths, or what the argument at a dotted `path` says."""

    unit: str
    fixed: int | None = None
    path: str = ""


def limit_from(unit: str, text: str | float) -> Limit:
    """Return a limit as written: `500`, "2000/day", "60/90s". Raises `ValueError`, and says what is wrong."""
    _check_unit(unit)
    amount, slash, window = (part.strip() for part in str(text).partition("/"))
    most = millionths(amount)
    if most is None or most > _MOST or (slash and not window):
        raise ValueError(f"{text!r} is no limit: write an amount up to 10^12, such as 2000/day, 60/90s, or 500")
    if window == _CALL and unit in _OWN:
        raise ValueError(
            f"{text!r}: how much of {unit} one call takes is not known before; limit what `cost:` declares"
        )
    return Limit(unit, most, window_from(window))


def limits_from(told: Mapping[str, Any]) -> Iterator[Limit]:
    """Yield the limits as written by unit, of each unit one or a list. Raises `ValueError`."""
    for unit, texts in told.items():
        for text in texts if isinstance(texts, list) else [texts]:
            yield limit_from(unit, text)


def checked_limits(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return limits as written. Raises `ValueError` where they are none, or where two share a unit and a window."""
    seen = [(limit.unit, limit.window) for limit in limits_from(told)]
    if len(seen) != len(set(seen)):
        raise ValueError("two limits of one unit have the same window")
    return told


def checked_prices(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return prices as written by unit. Raises `ValueError` where they are none."""
    for unit, text in told.items():
        price_from(unit, text)
    return told


def window_from(name: str) -> Window:
    """Return a window as written; an empty name lasts for ever. Raises `ValueError`."""
    if name in {"", "month", _CALL} or name in _CALENDAR:
        return Window(name)
    found = _SPAN.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no window: write {_WINDOWS}")
    return Window(name, int(found[1]) * _SPANS[found[2]])


def price_from(unit: str, text: str | float) -> Price:
    """Return a price as written: a number, or the path of the argument that holds it. Raises `ValueError`."""
    _check_unit(unit)
    if unit in _OWN:
        raise ValueError(f"`{unit}` is counted by the gateway itself and cannot be declared")
    fixed = millionths(text)
    if fixed is not None and fixed <= _MOST:
        return Price(unit, fixed)
    if isinstance(text, str) and fixed is None and _PATH.fullmatch(text):
        return Price(unit, path=text)
    raise ValueError(f"{text!r} is no price: write a number, or the argument that holds it, such as order.amount")


def millionths(value: Any) -> int | None:
    """Return a number, or the text of one, in millionths, what is finer rounded up; None for anything else.

    A negative one is none: it would give back what others used. What no budget could hold is `BEYOND`.
    """
    kind = type(value)
    if kind is int or (kind is float and 0 <= value < float("inf")):
        number = value if kind is int and value >= _LARGE else Decimal(repr(value))  # of any length: not parsed
    elif kind is str and _NUMBER.fullmatch(value):
        number = Decimal(value)
    else:
        return None
    if number < 0:
        return None
    return BEYOND if number >= _LARGE else int(_WIDE.to_integral_value(_WIDE.multiply(number, Decimal(MILLION))))


def amount_text(amount: int) -> str:
    """Return millionths as people write them: 250, 0.005, -3.5."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(amount), MILLION)
    return f"{sign}{whole}.{fraction:06d}".rstrip("0").rstrip(".")


def _check_unit(unit: str) -> None:
    if not _UNIT.fullmatch(unit):
        raise ValueError(f"{unit!r} is no unit: write lower-case letters, digits and _, such as usd or calls")


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * 1000
