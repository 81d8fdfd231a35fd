"""A pause under load: from the first refusal on, not one more call in its scope reaches a server, and all others do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.pause.pauses import POLL_S
from gateway.store.ports import PauseRecord
from tests.live.inside import Inside, call, code, inside
from tests.live.running import PAYMENTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 6
ENOUGH = 5
LOADS = (("payer", "one", "fraud"), ("payer", "two", "mail"), ("payer2", "three", "fraud"))
SCOPES = {
    "all": {"one", "two", "three"},
    "agent:payer": {"one", "two"},
    "server:fraud": {"one", "three"},
    "tool:fraud.*": {"one", "three"},
    "run:one": {"one"},
}
_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("pausing")
    async with inside(home, PAYMENTS) as running:
        yield running


@dataclass
class Load:
    """Agents that call without a pause; `late` are the calls they began after the pause was seen to hold."""

    gate: Inside
    seen: asyncio.Event
    going: asyncio.Barrier

    def __post_init__(self) -> None:
        self.late: list[str] = []

    async def keep_on(self, agent: str, run: str, server: str, stopped: bool) -> None:
        """Call until enough was refused, or let through, after the pause was seen to hold."""
        told = 0
        async with self.gate.client("modern", agent) as client:
            await call(client, *asked(server, f"load-{next(_numbers)}"), run=run)
            await self.going.wait()
            while told < ENOUGH:
                name, is_late = f"load-{next(_numbers)}", self.seen.is_set()
                answered = code(await call(client, *asked(server, name), run=run))
                assert answered in ({"ok", "paused"} if stopped else {"ok"})
                if answered == "paused":
                    self.seen.set()
                if is_late:
                    told += 1
                    assert (answered == "paused") is stopped
                    self.late += [name] if stopped else []


def asked(server: str, name: str) -> tuple[str, dict[str, Any]]:
    if server == "mail":
        return "mail_send", {"recipient": "ann@acme.example", "subject": name, "body": ""}
    return "fraud_check", {"payment_id": name, "payee": "ACME", "amount": 1.0}


def reached(gate: Inside) -> set[str]:
    """Return what the servers themselves know of."""
    found: set[str] = set()
    for server, query in (("fraud", "SELECT payment_id FROM checks"), ("mail", "SELECT subject FROM sent")):
        with closing(sqlite3.connect(gate.database(server))) as file:
            found |= {name for (name,) in file.execute(query)}
    return found


async def scope_in(gate: Inside, scope: str) -> str:
    """Return a scope as operators write it: a run has an id that the gateway minted."""
    if scope != "run:one":
        return scope
    async with gate.client("modern") as client:
        await call(client, *asked("fraud", f"load-{next(_numbers)}"), run="one")
    return next(f"run:{run.run.id}" for run in await gate.gateway.store.runs("payer", 99) if "one" in run.key)


@pytest.mark.parametrize("scope", SCOPES)
async def test_what_is_stopped_under_load_is_stopped_and_nothing_else(gate: Inside, scope: str) -> None:
    assert POLL_S < 1  # the promise is a second; what is asserted here holds however slow the machine
    scope, stopped = await scope_in(gate, scope), SCOPES[scope]
    load = Load(gate, asyncio.Event(), asyncio.Barrier(AT_ONCE * len(LOADS) + 1))
    pause = PauseRecord(scope, gate.clock.now_ms(), "os:op", "drill")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for agent, run, server in LOADS:
            for _ in range(AT_ONCE):
                group.create_task(load.keep_on(agent, run, server, run in stopped))
        await load.going.wait()
        await gate.gateway.store.put_pause(pause)  # as another process would, of which this gateway is told nothing
    assert len(load.late) == ENOUGH * AT_ONCE * len(stopped)
    assert not reached(gate) & set(load.late)
    await gate.gateway.store.end_pause(pause)
    async with gate.client("modern") as client:
        async with asyncio.timeout(30):
            while code(await call(client, *asked("fraud", f"load-{next(_numbers)}"), run="one")) == "paused":
                await asyncio.sleep(0.05)
