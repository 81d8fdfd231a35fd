"""Three ordinary MCP servers, each with its own SQLite file. None of them knows of the gateway."""

import os
import sqlite3
from pathlib import Path

__all__ = ["database"]


def database(variable: str, schema: str) -> sqlite3.Connection:
    """Open the SQLite file that the environment variable names, with its one table."""
    path = Path(os.environ[variable])
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)  # sync tools run in threads
    connection.execute(schema)
    return connection
