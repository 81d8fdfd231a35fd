"""Rows as an agent gets them: exact, in JSON, and never more than the limits."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from gateway.connector import Rejected, dump

__all__ = ["ROWS_SCHEMA", "WRITTEN_SCHEMA", "Limits", "Rows", "exact"]

_ROWS: Final[Mapping[str, Any]] = {
    "columns": {
        "type": "array",
        "items": {"type": "object", "properties": {"name": {"type": "string"}, "type": {"type": "string"}}},
    },
    "rows": {"type": "array", "items": {"type": "object"}},
    "row_count": {"type": "integer"},
    "incomplete": {"type": "boolean", "description": "There are more rows than these."},
    "reason": {"type": "string"},
}
ROWS_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": _ROWS,
    "required": ["columns", "rows", "row_count", "incomplete"],
}
WRITTEN_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"affected": {"type": "integer", "description": "How many rows it changed, or returned."}, **_ROWS},
    "required": ["affected", "columns", "rows", "row_count", "incomplete"],
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one statement may take: rows, bytes of a whole result and of one value, seconds.

    `to_the_end` says that rows beyond the limits are left out, but the statement is carried out whole: it writes.
    """

    rows: int
    bytes: int
    seconds: float
    to_the_end: bool = False


@dataclass(slots=True)
class Rows:
    """A result in the making. `types` are the database's own type names, empty where it has none.

    `seen` counts the rows that the database gave, whether they were taken in or not.
    """

    limits: Limits
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    incomplete: str = ""
    seen: int = 0
    _rows: list[Mapping[str, Any]] = field(default_factory=list)
    _size: int = 0

    def columns(self, names: Sequence[str], types: Sequence[str] = ()) -> None:
        """Say what the columns are called; a name that comes again gets a number."""
        seen: dict[str, int] = {}
        own: list[str] = []
        for name in names:
            seen[name] = seen.get(name, 0) + 1
            own.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        if len(set(own)) < len(own):
            raise Rejected("Two columns of the result have the same name: give them names of their own with AS.")
        self.names, self.types = tuple(own), tuple(types)

    def add(self, row: Sequence[Any]) -> bool:
        """Take one row in; False says that it no longer fits, and that no more are needed."""
        if len(self._rows) >= self.limits.rows:
            self.incomplete = f"there are more rows than the limit of {self.limits.rows}"
            return False
        shown = {name: exact(value) for name, value in zip(self.names, row, strict=True)}
        size = len(dump(shown))
        if self._size + size > self.limits.bytes:
            self.incomplete = f"the rows are larger than the limit of {self.limits.bytes} bytes"
            return False
        self._size += size
        self._rows.append(shown)
        return True

    def shown(self) -> dict[str, Any]:
        """Return the result in the form of ROWS_SCHEMA."""
        types = self.types or ("",) * len(self.names)
        pairs = zip(self.names, types, strict=True)
        columns = [{"name": name, "type": kind} if kind else {"name": name} for name, kind in pairs]
        told: dict[str, Any] = {"columns": columns, "rows": self._rows, "row_count": len(self._rows)}
        told["incomplete"] = bool(self.incomplete)
        return {**told, "reason": self.incomplete} if self.incomplete else told


def exact(value: Any) -> Any:
    """Return a value in JSON, losing nothing: decimals and what JSON has no word for as text, bytes as base64."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return str(value)
