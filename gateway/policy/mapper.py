"""Arguments and results as the typed values policies see (POLICY.md §4).

Whatever the JSON holds, what comes out has the declared Cedar types: a value that is not exactly representable is left
out, never rounded, and reported. Raw JSON never reaches Cedar: `{"__entity": …}` would become an entity there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from gateway.model.light import light
from gateway.policy.shape import Kind, Shape

__all__ = ["Mapped", "decimal_text", "extension", "instant", "map_record"]

MAX_ELEMENTS: Final = 1000
MAX_NODES: Final = 10_000
MAX_TEXT: Final = 256 * 1024
MAX_POINTERS: Final = 64
_MAX_POINTER: Final = 256
_LONG = range(-(2**63), 2**63)
_WHOLE: Final = range(-922_337_203_685_477, 922_337_203_685_478)
_DECIMAL_LIMIT: Final = Decimal(2**63).scaleb(-4)
_FOUR_PLACES: Final = Decimal("0.0001")
_DATE_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{3}))?(?:[Zz]|([+-])([01]\d|2[0-3]):?([0-5]\d))", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Path = tuple[str, ...]


@light
@dataclass(frozen=True, slots=True)
class Mapped:
    """A JSON object in Cedar's JSON form.

    `counts` holds the number of elements of each array. `unmodelled` are JSON pointers of everything that policies
    cannot see. `dropped` are the paths of declared values among them, and of declared required values that are missing:
    a policy that reads one of those cannot be evaluated truthfully.
    """

    values: dict[str, Any]
    counts: dict[str, Any]
    unmodelled: tuple[str, ...]
    dropped: tuple[Path, ...]


class _Unrepresentable(Exception):
    """A value has no exact Cedar form."""


def map_record(shape: Shape, value: Any) -> Mapped:
    """Map a JSON object by its record shape. Never raises, whatever `value` is."""
    walk = _Walk()
    values, counts = walk.record(shape, value if isinstance(value, Mapping) else {}, ())
    if not isinstance(value, Mapping):
        walk.report(())
    return Mapped(values, counts, walk.pointers(), tuple(walk.dropped))


def extension(function: str, text: str) -> dict[str, Any]:
    """Return a value of one of Cedar's extension types."""
    return {"__extn": {"fn": function, "arg": text}}


def instant(at_ms: int) -> dict[str, Any]:
    """Return a Cedar datetime for milliseconds since the Unix epoch."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return extension("datetime", at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z")


def decimal_text(value: Any) -> str | None:
    """Return a JSON number as the text of an equal Cedar decimal; None where there is none (too fine, too large)."""
    if type(value) is not int and type(value) is not float:
        return None
    if type(value) is int:  # before Decimal reads a number of any length
        return f"{value}.0000" if value in _WHOLE else None
    number = Decimal(repr(value))
    if not number.is_finite() or not -_DECIMAL_LIMIT <= number < _DECIMAL_LIMIT:
        return None
    exact = number.quantize(_FOUR_PLACES)
    return f"{exact:f}" if exact == number else None


class _Walk:
    """One mapping in progress."""

    def __init__(self) -> None:
        self.dropped: list[Path] = []
        self._unmodelled: dict[str, None] = {}
        self._nodes = 0

    def pointers(self) -> tuple[str, ...]:
        return tuple(self._unmodelled)

    def report(self, path: Path) -> None:
        """Note what policies cannot see; of very many places only the first are named."""
        if len(self._unmodelled) < MAX_POINTERS:
            pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in path)
            self._unmodelled[pointer.encode("utf-8", "backslashreplace").decode()[:_MAX_POINTER]] = None

    def record(self, shape: Shape, value: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        values: dict[str, Any] = {}
        counts: dict[str, Any] = {}
        for name, raw in value.items():
            declared = shape.fields.get(name)
            if declared is None or declared.shape is None:
                if raw is not None:
                    self.report((*path, str(name)))
            elif raw is not None:
                read = _SCALARS.get(declared.shape.kind)
                mapped = read(raw) if read is not None and self._nodes < MAX_NODES else None
                if mapped is None:
                    self._property(name, declared.shape, raw, (path, values, counts))
                else:  # nearly every property is one of these
                    self._nodes += 1
                    values[name] = mapped
        for name, declared in shape.fields.items():
            if declared.required and declared.shape is not None and value.get(name) is None:
                self.dropped.append((*path, name))
        return values, counts

    def _property(self, name: str, shape: Shape, raw: Any, into: tuple[Path, dict[str, Any], dict[str, Any]]) -> None:
        path, values, counts = (*into[0], name), into[1], into[2]
        try:
            if shape.kind is Kind.RECORD and isinstance(raw, Mapping):
                self._spend()
                values[name], below = self.record(shape, raw, path)
                if below:
                    counts[name] = below
            elif shape.kind is Kind.SET and isinstance(raw, list):
                counts[name] = len(raw)
                if shape.element is None:
                    self._report_elements(raw, path)
                else:
                    values[name] = self._elements(shape.element, raw, path)
            else:
                values[name] = self._scalar(shape.kind, raw)
        except _Unrepresentable:
            self.report(path)
            self.dropped.append(path)

    def _report_elements(self, raw: list[Any], path: Path) -> None:
        if raw:
            self.report(path)

    def _elements(self, element: Shape, raw: list[Any], path: Path) -> list[Any]:
        if len(raw) > MAX_ELEMENTS:
            raise _Unrepresentable
        return [self._element(element, one, (*path, str(index))) for index, one in enumerate(raw)]

    def _element(self, shape: Shape, raw: Any, path: Path) -> Any:
        """Map one element; a set that lacked one, or showed part of one, would answer `contains` wrongly."""
        if shape.kind is Kind.RECORD and isinstance(raw, Mapping):
            self._spend()
            before = len(self.dropped)
            values, _ = self.record(shape, raw, path)
            if len(self.dropped) > before:
                del self.dropped[before:]
                raise _Unrepresentable
            return values
        if shape.kind is Kind.SET and isinstance(raw, list) and shape.element is not None:
            return self._elements(shape.element, raw, path)
        return self._scalar(shape.kind, raw)

    def _spend(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Unrepresentable

    def _scalar(self, kind: Kind, raw: Any) -> Any:
        self._spend()
        mapped = _SCALARS[kind](raw) if kind in _SCALARS else None
        if mapped is None:
            raise _Unrepresentable
        return mapped


def _string(raw: Any) -> str | None:
    if type(raw) is not str or len(raw) > MAX_TEXT:
        return None
    return raw if raw.isascii() or _is_text(raw) else None


def _is_text(value: str) -> bool:
    """Tell whether a string has a UTF-8 form: one with a lone surrogate has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _long(raw: Any) -> int | None:
    if type(raw) is float and raw.is_integer():  # JSON Schema: 1.0 is an integer
        raw = int(raw)
    return raw if type(raw) is int and raw in _LONG else None


def _bool(raw: Any) -> bool | None:
    return raw if type(raw) is bool else None


def _decimal(raw: Any) -> dict[str, Any] | None:
    text = decimal_text(raw)
    return None if text is None else extension("decimal", text)


def _datetime(raw: Any) -> dict[str, Any] | None:
    """Map an RFC 3339 time of at most millisecond precision, so that equal instants are equal values."""
    found = _DATE_TIME.fullmatch(raw) if type(raw) is str else None
    if found is None:
        return None
    *when, millis, sign, hours, minutes = found.groups(default="")
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        year, month, day, hour, minute, second = (int(part) for part in when)
        at = datetime(year, month, day, hour, minute, second, int(millis or 0) * 1000, tzinfo=zone)
        return instant((at - _EPOCH) // timedelta(milliseconds=1))
    except (ValueError, OverflowError):
        return None


_SCALARS: Final = {
    Kind.STRING: _string,
    Kind.LONG: _long,
    Kind.BOOL: _bool,
    Kind.DECIMAL: _decimal,
    Kind.DATETIME: _datetime,
}
