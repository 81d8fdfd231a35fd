"""The ledger in one SQLite file."""

from gateway.store.sqlite.migrate import is_behind
from gateway.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "is_behind"]
