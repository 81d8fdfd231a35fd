"""API tokens as rows, each told of by events of the chain."""

import sqlite3
from typing import Final

from gateway.model.errors import StoreFault
from gateway.store.ports import TokenRecord
from gateway.store.row_events import issued, revoked
from gateway.store.sqlite.transaction import Transaction
from gateway.store.told_rows import TOLD_COLUMNS, token_row

__all__ = ["find_tokens", "put_token", "revoke_tokens"]

_COLUMNS: Final = TOLD_COLUMNS["tokens"]
_ISSUE: Final = f"INSERT INTO tokens ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - constant names
_REVOKE: Final = (
    "UPDATE tokens SET revoked_ms = ?1 WHERE agent = ?2 AND (revoked_ms IS NULL OR revoked_ms > ?1) AND id <> ?3"  # noqa: S608 - constant names
    f" RETURNING {_COLUMNS}"
)
_ALL: Final = f"SELECT {_COLUMNS} FROM tokens ORDER BY created_ms, id"  # noqa: S608 - constant names


def put_token(tx: Transaction, token: TokenRecord, by: str) -> None:
    """Add a token."""
    try:
        tx.db.execute(_ISSUE, token_row(token).values)
    except sqlite3.IntegrityError as error:
        raise StoreFault("The token cannot be stored.", detail=f"token {token.id} exists already") from error
    tx.append(*issued(token, by))


def revoke_tokens(tx: Transaction, agent: str, at_ms: int, keep: str, by: str) -> list[str]:
    """Revoke an agent's live tokens but one; return their ids."""
    found = sorted(tx.db.execute(_REVOKE, (at_ms, agent, keep)).fetchall())
    if found or not keep:
        tx.append(*revoked(agent, [TokenRecord(*row) for row in found], at_ms, by))
    return [token_id for token_id, *_ in found]


def find_tokens(db: sqlite3.Connection) -> list[TokenRecord]:
    """Return every token."""
    return [TokenRecord(*row) for row in db.execute(_ALL)]
