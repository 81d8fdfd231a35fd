"""What a call costs as the gateway grows: counted, not timed, so that a busy machine counts the same.

Of a claim, the steps of SQLite's virtual machine beside a ledger of so many calls; of a decision, the functions called
(Python's and C's) and the policies looked at, with so many agents that were granted something and so many tools.
"""

import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.catalog.lock import Lock, Pin
from gateway.config import GatewayConfig
from gateway.model.clock import SystemClock
from gateway.model.facts import Facts, RunRef
from gateway.model.identity import Identity
from gateway.policy import decide, decision_input
from gateway.rulebook import build_rules
from gateway.store.sqlite.store import SqliteStore
from tests.store.making import T0, ending, intent, lookup, record, use

__all__ = ["DecisionWork", "decision_work", "steps_of_a_claim"]

_HASH = "0" * 64
_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
_EVENTS = f"""{_NUMBERS}
INSERT INTO events (seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, prev_hash, hash, body)
SELECT 2 * i - kind.claims, {T0} + i, kind.name, 'old_' || i, 'old_' || i / 20, 'agent_' || i % 50, '', 'fraud.check',
       '{_HASH}', '{_HASH}', '{{"arguments":{{"payment_id":"p_' || i || '"}}}}'
FROM n, (SELECT 1 AS claims, 'call.claimed' AS name UNION ALL SELECT 0, 'call.finished') AS kind
"""
_CALLS = f"""{_NUMBERS}
INSERT INTO calls (claim_seq, call_id, run_id, session, agent, on_behalf_of, tool, arguments_digest, step_key,
                   started_ms, status, ended_ms, end_seq, delivered)
SELECT 2 * i - 1, 'old_' || i, 'old_' || i / 20, '', 'agent_' || i % 50, '', 'fraud.check', 'sha256:' || i, 'key ' || i,
       {T0} + i, 'succeeded', {T0} + i, 2 * i, 1
FROM n
"""


async def steps_of_a_claim(folder: Path, calls: int) -> int:
    """Return how many steps it takes to look a precondition up, claim a payment that uses it up, and end it.

    And to record a read, all beside `calls` others.
    """
    path = folder / f"{calls}.db"
    store = SqliteStore(path, SystemClock())
    await store.open()
    await store.close()
    _fill(path, calls)
    await store.open()
    counted = 0

    def step() -> int:
        nonlocal counted
        counted += 1
        return 0

    asked = lookup(values=[("payment_id", "p_17")])
    try:
        await store.index_steps("fraud.check", ("payment_id",))
        await _checked(store, "check_1")
        for connection in (store._write_to, store._read_from):
            await connection.run(lambda db: db.set_progress_handler(step, 1))
        (found,) = await store.steps([asked])
        assert found is not None
        assert found.call_id == "check_1"
        claimed = await store.claim(intent("pay_1", step_key="key", uses=(use("check_1", asked),)))
        assert claimed.recorded is None
        await store.finish(ending("pay_1", output={"ok": True}))
        await store.record(record("read_1"))
        return counted
    finally:
        await store.close()


async def _checked(store: SqliteStore, call_id: str) -> None:
    await store.claim(intent(call_id, "fraud.check", {"payment_id": "p_17"}))
    await store.finish(ending(call_id, output={"result": "passed"}))


def _fill(path: Path, calls: int) -> None:
    """Put calls into a ledger, past the gateway: nothing here looks at their hashes."""
    db = sqlite3.connect(path)
    with db:
        for statement in (_EVENTS, _CALLS):
            db.execute(statement, (calls,))
        db.execute("UPDATE chain_head SET seq = ?, hash = ?", (2 * calls, _HASH))
    db.close()


@dataclass(frozen=True, slots=True)
class DecisionWork:
    """How many functions the first decision of a kind calls, how many the next, and how many policies are looked at."""

    first: int
    next: int
    policies: int


def decision_work(agents: int, tools: int) -> DecisionWork:
    """Return what a decision takes where so many agents were granted two of so many tools each."""
    schema = {"type": "object", "properties": {"value": {"type": "string"}}}
    pins = {f"tool_{n}": Pin.of({"name": f"tool_{n}", "inputSchema": schema}) for n in range(tools)}
    written = {
        "version": 1,
        "mcpServers": {"web": {"command": "sh"}},
        "agents": {f"agent-{n}": {"allow": [f"web.tool_{n % tools}", "web.tool_1"]} for n in range(agents)},
    }
    rules = build_rules(GatewayConfig.model_validate(written), (), Lock({"web": pins}), {})
    bundle, tool = rules.bundle, rules.catalog.find("web.tool_1")
    assert tool is not None
    identity = Identity("agent-2", "token", "t")
    facts = Facts(T0, RunRef("run_1", "agent-2", "open"))

    def decided() -> None:
        decision = decide(bundle, decision_input(bundle, identity, tool, {"value": "x"}, facts))
        assert decision.allowed

    first, following = _calls_in(decided), _calls_in(decided)
    return DecisionWork(first, following, len(bundle.situation(bundle.request(identity, tool)).policies))


def _calls_in(work: Callable[[], None]) -> int:
    """Return how many functions `work` calls."""
    calls = 0

    def saw(frame: object, event: str, argument: object) -> Any:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(saw)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls
