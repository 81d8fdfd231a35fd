"""Sums of the rows that no event tells of, under the gateway's own key: what is kept of a table, whatever is in it.

Each change of such a row is added to the sum of its table, or taken from it, in the transaction that makes it. So a row
that somebody else changed, put in or took out is found, for one short row beside each table, and in no order.

A row's tag is its keyed digest. A sum is how many rows there are, the total of their tags, and the total of each tag
times the name of its row as a number, both modulo the prime 2^1279 - 1. Where one row is another than it should be, the
quotient of what these two are off by is its name. Who watches the file sees what a row adds, so each sum is sealed with
the key as well. What it cannot show is a table that is put back as it was before, together with its sum.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from gateway.model.errors import LedgerTampered
from gateway.store.told_rows import row_name

__all__ = ["NOTHING", "RowsChanged", "Sum", "SumKey", "rows_changed", "short"]

_PRIME: Final = 2**1279 - 1
_NAME_BYTES: Final = 158  # with the byte before it, less than the prime


class RowsChanged(LedgerTampered):
    """Rows that no event tells of are others than the gateway left; everything else holds."""


class Sum(NamedTuple):
    """What is kept of a table: how many `rows`, the `total` of their tags, and that of tags times names.

    Of calls it holds for those that were claimed `upto` this event.
    """

    upto: int
    rows: int
    total: int
    placed: int

    def __str__(self) -> str:
        return f"{self.upto} {self.rows} {self.total:x} {self.placed:x}"

    def plus(self, other: "Sum") -> "Sum":
        """Return the sum of both."""
        total, placed = (self.total + other.total) % _PRIME, (self.placed + other.placed) % _PRIME
        return Sum(max(self.upto, other.upto), self.rows + other.rows, total, placed)

    def less(self, other: "Sum") -> "Sum":
        """Return this one without the rows of the other."""
        return self.plus(Sum(0, -other.rows, -other.total, -other.placed))

    def odd_one(self, kept: "Sum") -> str | None:
        """Return the `short` name of the one row that is another than in the sum that was kept; None: not of one."""
        off = (self.total - kept.total) % _PRIME
        if not off:
            return None
        name = (self.placed - kept.placed) * pow(off, -1, _PRIME) % _PRIME
        raw = name.to_bytes(_NAME_BYTES + 2).lstrip(b"\0")
        text = raw[1:].decode("utf-8", "replace")
        return text if raw[:1] == _BEFORE and text.isprintable() else None


def short(name: str) -> str:
    """Return as much of a row's name as a sum knows of it."""
    return _bytes(name).decode("utf-8", "replace")


NOTHING: Final = Sum(0, 0, 0, 0)
_BEFORE: Final = b"\1"  # keeps what a name begins with


class SumKey:
    """The key under which rows are summed."""

    def __init__(self, key: bytes = b"") -> None:
        self._keyed = blake2b(b"toolgate sums\0", key=blake2b(key).digest(), digest_size=32)

    def of(self, table: str, rows: Iterable[tuple[Any, ...]]) -> Sum:
        """Return what rows add to the sum of their table."""
        count = total = placed = 0
        keyed, number = self._keyed.copy, int.from_bytes  # found once: there are as many rows as calls
        for row in rows:
            digest = keyed()
            digest.update(_text(table, row))
            tag = number(digest.digest(), "big")
            count += 1
            total += tag
            placed += tag * number(_BEFORE + _bytes(row_name(table, row)), "big")
        return Sum(0, count, total % _PRIME, placed % _PRIME)

    def seal(self, table: str, kept: str) -> str:
        """Return the seal of a table's sum."""
        digest = self._keyed.copy()
        digest.update(ascii(("sums", table, kept)).encode())
        return digest.hexdigest()


def rows_changed(what: str) -> RowsChanged:
    """Return the fault that says what is not as the gateway left it."""
    return RowsChanged(
        "The ledger's record does not hold; an operator has to look at it.",
        seq=0,
        detail=f"{what} is not as this gateway left it. To go on from it, on record: toolgate verify --accept WHY",
    )


def _text(table: str, row: tuple[Any, ...]) -> bytes:
    """Return the table and the row as Python writes them: texts, numbers and nothing, the same in every version."""
    if len(row) == 2:  # of a call: a name and a number, written here for half of what Python takes
        name, number = row
        if type(name) is str and name.isascii() and type(number) is int:
            return f"('{table}', {name!r}, {number})".encode()
    return ascii((table, *row)).encode()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")[:_NAME_BYTES]
