"""The `sql` connector: SQLite and PostgreSQL, read-only by parser and by connection."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from connectors.sql.config import SqlConfig, Statement
from connectors.sql.database import Database
from connectors.sql.postgres import PostgresDatabase
from connectors.sql.reading import allowed_functions
from connectors.sql.sqlite import SqliteDatabase
from connectors.sql.upstream import SqlUpstream
from gateway.connector import Connector, Surroundings, Upstream

__all__ = ["SqlConfig", "SqlConnector", "Statement"]


class SqlConnector(Connector[SqlConfig]):
    """A database: agents read it with SQL, and do with it what declared statements do."""

    name = "sql"

    @classmethod
    def upstream(cls, config: SqlConfig, surroundings: Surroundings) -> Upstream:
        """Return the database's live form, not yet open."""
        return SqlUpstream(config, _database(config))


def _database(config: SqlConfig) -> Database:
    if config.dialect == "sqlite":
        path = Path(unquote(urlsplit(config.url).path[1:]))
        return SqliteDatabase(path, allowed_functions("sqlite", config.functions))
    return PostgresDatabase(config.url, config.password, config.connections, allow_superuser=config.allow_superuser)
