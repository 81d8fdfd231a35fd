"""A gateway that cannot take up a change says so, and takes it up as soon as it can."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.live.raw import probe_section, probes
from tests.live.running import Running, environment, refusal

LOOKS_BACK = """
@id("act-first")
@prior("act: probe.act in run")
forbid (principal, action == Gateway::Action::"probe.echo", resource) unless { context.prior has act };
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    (tmp_path / "policies").mkdir()
    section = probes(probe_section(tmp_path / "probe"), more="policies: [policies]")
    (tmp_path / "gateway.yaml").write_text(section, encoding="utf-8")
    up = Running(tmp_path, environment()).start()
    try:
        yield up
    finally:
        assert up.stop() == 0


def wait_until_status(running: Running, says: str) -> None:
    give_up = time.monotonic() + 30
    while (
        says != (told := json.loads(running.command("status", "--json").stdout)["files_problem"])[: len(says) or None]
    ):
        assert time.monotonic() < give_up, (told, running.log())


def test_a_change_that_met_a_locked_ledger_is_told_and_taken_up_once_the_lock_is_gone(running: Running) -> None:
    token = running.token("payer")
    assert "isError" not in running.call(token, "probe_echo", {})
    [ledger] = running.home.rglob("*.db")
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        (running.home / "policies" / "new.cedar").write_text(LOOKS_BACK, encoding="utf-8")
        wait_until_status(running, "changes to the files have no effect at the moment (store_unavailable: ")
        assert "the files are not in force" in running.command("status").stdout
        other.execute("ROLLBACK")
    wait_until_status(running, "")
    assert refusal(running.call(token, "probe_echo", {}))["policies"] == ["act-first"]
