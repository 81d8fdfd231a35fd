"""Whether a database has the tables and indexes that its migrations made, and nothing besides, and both agree."""

import re
import sqlite3
from typing import Final

from gateway.store.row_audit import untold
from gateway.store.sqlite.migrate import files, migrate
from gateway.store.sqlite.summing import Sums

__all__ = ["check_indexes", "check_schema", "check_values"]

_SCHEMA: Final = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
# The database keeps no tables of its own but those that somebody has it make, such as statistics that change its plans.
_OWN: Final = "SELECT type, name FROM sqlite_master WHERE name LIKE 'sqlite\\_%' ESCAPE '\\' AND sql IS NOT NULL"
_COMPARED: Final = ("chain_head", "run_steps", "approvals", "budget_counters", "facts", "migrations")
_DONE: Final = "SELECT number, name FROM migrations"
# What `index_steps` makes while the gateway runs (sqlite/lookups.py): it only makes lookups cheap. It is summed.
_STEPS: Final = re.compile(r"CREATE INDEX (steps_[0-9a-f]{24}) ON (calls|events) \(.*", re.DOTALL)


def check_schema(db: sqlite3.Connection) -> None:
    """Hold the schema against the one that the migrations make.

    Raises:
        LedgerTampered: naming what is there and should not be, or the other way round.
    """
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(fresh, 0, Sums())
        made = {row[:3]: row[3] for row in fresh.execute(_SCHEMA)}
    finally:
        fresh.close()
    for kind, name in db.execute(_OWN).fetchall():
        raise untold(f"the {kind} {name} of the database")
    for pragma in ("user_version", "application_id"):
        if db.execute(f"PRAGMA {pragma}").fetchone() != (0,):
            raise untold(f"the {pragma} of the database")
    for kind, name, table, sql in db.execute(_SCHEMA).fetchall():
        steps = _STEPS.fullmatch(sql) if kind == "index" and type(sql) is str else None
        if (steps is None or steps.groups() != (name, table)) and made.pop((kind, name, table), None) != sql:
            raise untold(f"the {kind} {name} of the database")
    for kind, name, _ in made:
        raise untold(f"a database without the {kind} {name}")
    if db.execute("SELECT count(*) FROM chain_head").fetchone() != (1,):
        raise untold("a second head of the chain")
    known = {(number, name) for number, name, _ in files()}
    for number, name in sorted(known.symmetric_difference(db.execute(_DONE).fetchall())):
        raise untold(f"the row {number} of migrations ({name}), or of a database without it")


def check_values(db: sqlite3.Connection) -> None:
    """Hold values that are compared by size against the types of their columns: the database keeps any.

    Raises:
        LedgerTampered: naming the row.
    """
    for table in _COMPARED:
        columns = db.execute(f"PRAGMA table_info({table})").fetchall()
        key = " || ' ' || ".join(name for _, name, *_, of_key in columns if of_key)
        other = " OR ".join(f"typeof({name}) <> '{kind.lower()}'" for _, name, kind, *_ in columns)
        for (row,) in db.execute(f"SELECT CAST({key} AS BLOB) FROM {table} WHERE {other} LIMIT 1").fetchall():  # noqa: S608 - constant names
            raise untold(f"the row {row.decode(errors='replace')} of {table}, which has a value of another type")


def check_indexes(db: sqlite3.Connection) -> None:
    """Hold every index against its table: a lookup would miss what only the table has.

    Raises:
        LedgerTampered: with what the database says of it.
    """
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise untold(f"a file like this: {found}")
