"""What the connector needs of a database, whichever it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.sql.reading import Reading
from connectors.sql.rows import Limits, Rows
from connectors.sql.wording import Wording

__all__ = ["Column", "Database", "Written"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table or view. `key` says that it is part of the primary key."""

    table: str
    kind: str
    name: str
    type: str
    nullable: bool
    key: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a writing statement did: how many rows it changed, and the rows it returned."""

    affected: int
    rows: Rows


class Database(Protocol):
    """One database. Each statement is on its own: cancelling one stops it there, and touches no other."""

    async def open(self) -> None:
        """Get ready. Raises `ConnectorFault` if it cannot be used, or must not be with this role."""
        ...

    async def close(self) -> None:
        """Leave no connection behind; never raises."""
        ...

    async def read(self, reading: Reading, values: Mapping[str, Any], limits: Limits) -> Rows:
        """Run a read over a connection that cannot write. Raises `ConnectorFault`."""
        ...

    async def write(self, wording: Wording, values: Mapping[str, Any], limits: Limits) -> Written:
        """Run one statement in a transaction of its own.

        Raises:
            ConnectorFault: nothing was changed, unless it is `unavailable` or `timeout` and says `sent`.
        """
        ...

    async def columns(self, limit: int) -> Sequence[Column]:
        """Return at most `limit` columns of the tables and views there are, by table. Raises `ConnectorFault`."""
        ...
