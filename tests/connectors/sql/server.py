"""A real PostgreSQL server of the test's own, in a temporary folder, spoken to over its socket file only."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

__all__ = ["PASSWORD", "PostgresServer", "installed", "running"]

PASSWORD = "correct-horse-battery"
_ACCESS = "local all locked scram-sha-256\nlocal all all trust\n"


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `agent` may read and write tables, `root` may do anything, `locked` needs its password."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    def url(self, user: str = "agent", database: str = "shop") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the superuser; return what the last one answers."""

        async def work() -> list[Any]:
            connection = await asyncpg.connect(self.url("root"))
            try:
                for statement in statements[:-1]:
                    await connection.execute(statement)
                return [tuple(row) for row in await connection.fetch(statements[-1])]
            finally:
                await connection.close()

        return asyncio.run(work())


def installed() -> Path | None:
    """Return the folder of PostgreSQL's programs: those on PATH, or the newest that Debian has."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def running(programs: Path) -> Iterator[PostgresServer]:
    """Start a server and stop it; run as root, it runs as `nobody`, for it refuses to run as root."""
    with tempfile.TemporaryDirectory(prefix="toolgate-pg-") as made:
        folder = Path(made)
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(folder, user)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "root", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        made_so = subprocess.run([*initdb, "--locale=C"], user=user, cwd=folder, capture_output=True, check=False)
        assert made_so.returncode == 0, made_so.stderr
        (data / "pg_hba.conf").write_text(_ACCESS)
        settings = [f"unix_socket_directories={folder}", "listen_addresses=", "fsync=off", "max_connections=40"]
        options = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], user=user, cwd=folder, stdout=log, stderr=log
            )
        try:
            asyncio.run(_answers(folder, process))
            yield PostgresServer(folder, process)
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for clients
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _answers(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await asyncpg.connect(f"postgresql://root@/postgres?host={folder}")
            except (OSError, asyncpg.PostgresError):
                assert process.poll() is None, (folder / "log").read_text()
                await asyncio.sleep(0.05)
            else:
                await connection.execute("CREATE DATABASE shop")
                await connection.close()
                return
