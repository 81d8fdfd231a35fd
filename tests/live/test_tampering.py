"""Whoever changes the file of a stopped gateway is found out: it does not serve, and says which row it was."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.inside import inside
from tests.live.raw import Peer, probe_section, probes, received
from tests.live.running import Running, environment

CANARY = "pay 250.00 to ACME"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gateway that made some calls and was stopped."""
    home: Path = tmp_path_factory.mktemp("stopped")

    async def live() -> None:
        async with inside(home, probes(probe_section(home / "probe"))) as gate:
            for era in ("modern", "legacy"):
                known = await Peer(gate.url, gate.tokens["payer"], era).connect()
                for number in range(4):
                    assert (await known.call("probe_act", {"n": number, "for": CANARY})).code == "ok"
                    assert (await known.call("probe_echo", {"n": number})).code == "ok"
                    assert (await known.call("nothing")).code == "unknown_tool"

    asyncio.run(live())
    assert not (home / "data" / "gateway.db-wal").exists()
    shutil.copy(home / "data" / "gateway.db", home / "older.db")
    (home / ".toolgate" / "run.json").unlink()
    assert "payer2" in toolgate(home, "pause", "agent:payer2").communicate(timeout=60)[0]
    assert Running(home).start().stop() == 0
    return home


def toolgate(home: Path, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *command],
        cwd=home,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def flip_a_byte(path: Path) -> int:
    """Change one letter of a call's arguments, in the file itself."""
    with sqlite3.connect(path) as db:
        query = "SELECT max(seq) FROM events WHERE kind = 'call.claimed' AND body LIKE ?"
        seq = int(db.execute(query, (f"%{CANARY}%",)).fetchone()[0])
        body = str(db.execute("SELECT body FROM events WHERE seq = ?", (seq,)).fetchone()[0])
    db.close()
    raw = bytearray(path.read_bytes())
    at = raw.index(body.encode()) + body.encode().index(b"250.00")
    raw[at] ^= 1
    path.write_bytes(raw)
    return seq


def an_older_copy(path: Path) -> int:
    """Put an older copy, which holds in itself, in the place of the file."""
    with sqlite3.connect(path) as db:
        seq = int(db.execute("SELECT max(seq) FROM events").fetchone()[0])
    db.close()
    shutil.copy(path.parent.parent / "older.db", path)
    return seq


def a_new_file(path: Path) -> int:
    """Take the file away, so that a new one would be made."""
    seq = an_older_copy(path)
    path.unlink()
    return seq


def a_pause_lifted(path: Path) -> int:
    """Let an agent go on that a person has stopped."""
    with sqlite3.connect(path) as db:
        seq = int(db.execute("SELECT max(seq) FROM events WHERE body LIKE '%\"paused\"%'").fetchone()[0])
        assert db.execute("DELETE FROM pauses").rowcount == 1
    db.close()
    return seq


def by_sql(seq: int, *statements: str) -> Callable[[Path], int]:
    def tamper(path: Path) -> int:
        with sqlite3.connect(path) as db:
            for statement in statements:
                assert db.execute(statement).rowcount > 0, statement
        db.close()
        return seq

    return tamper


COLUMNS = "at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, body, prev_hash, hash"
TAMPERINGS: dict[str, Callable[[Path], int]] = {
    "a flipped byte": flip_a_byte,
    "a row deleted": by_sql(7, "DELETE FROM events WHERE seq = 7"),
    "the last rows deleted": by_sql(11, "DELETE FROM events WHERE seq > 10"),
    "two rows exchanged": by_sql(
        5,
        "UPDATE events SET seq = -5 WHERE seq = 5",
        "UPDATE events SET seq = 5 WHERE seq = 6",
        "UPDATE events SET seq = 6 WHERE seq = -5",
    ),
    "a row inserted": by_sql(
        9,
        "UPDATE events SET seq = -(seq + 1) WHERE seq >= 9",
        "UPDATE events SET seq = -seq WHERE seq < 0",
        f"INSERT INTO events (seq, {COLUMNS}) SELECT 9, {COLUMNS} FROM events WHERE seq = 8",
    ),
    "an older copy": an_older_copy,
    "a new file": a_new_file,
    "a pause lifted": a_pause_lifted,
    "another agent": by_sql(4, "UPDATE events SET agent = 'payer2' WHERE seq = 4"),
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_ledger_that_was_changed_is_not_served_and_the_row_is_named(
    stopped: Path, tmp_path: Path, tamper: Callable[[Path], int]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(stopped, home)
    seq = tamper(home / "data" / "gateway.db")
    before = len(received(stopped / "probe"))
    up, verify = toolgate(home, "up"), toolgate(home, "verify")
    refused, found = up.communicate(timeout=60)[0], verify.communicate(timeout=60)[0]
    assert (up.returncode, verify.returncode) == (1, 1)
    for said in (refused, found):
        assert "ledger_tampered" in said
        assert f"event {seq}" in said, said
    assert not (home / ".toolgate" / "run.json").exists()
    assert len(received(stopped / "probe")) == before


def test_a_ledger_that_was_not_changed_verifies(stopped: Path) -> None:
    verify = toolgate(stopped, "verify")
    assert "the chain holds" in verify.communicate(timeout=60)[0]
    assert verify.returncode == 0
