"""More than a day in the life of a gateway, in seconds: everything that has its time ends, and nothing piles up."""

import asyncio
import gc
import sqlite3
import sys
from contextlib import closing
from itertools import count
from pathlib import Path

from gateway.identity.tokens import Tokens
from gateway.loop.rows import Rows
from gateway.model.clock import RandomIds
from gateway.model.recent import Recent
from gateway.transport.bounded import Familiar
from gateway.workflow.begun import Begun
from tests.live.inside import Inside, SetClock, inside
from tests.live.raw import Peer, probe_section, probes

HOUR = 3600
STEP = HOUR // 4
HOURS = 27  # retention keeps a day at least
WARM = 5
RUNS = 4
"""Each step begins so many runs, which are idle from then on, each with a call that waits for a person."""

SHORT = 30.0
MOST = 50
KEPT = """
SELECT (SELECT count(*) FROM events WHERE kind = 'bodies.removed'), (SELECT count(*) FROM events WHERE at_ms < {}
AND kind IN ('call.finished', 'call.recorded') AND body LIKE '%"removable":%')
"""
WAITING = "SELECT sum(kind = 'approval.asked') - sum(kind = 'approval.expired') FROM events"
RULES = """
@id("ask") @obligation("approval:owners")
forbid (principal, action == Gateway::Action::"probe.act", resource)
unless { context.base has approval && context.base.approval.argsMatch };
@id("may-approve") permit (principal in Gateway::Role::"owners", action == Gateway::Action::"approve", resource);
"""
MORE = """
tools:
  probe.odd: { effect: write }
  frail.act: { effect: read }
people:
  bob: { roles: [owners] }
approvals: { wait_s: 0, expires: 1h }
budgets: { tools: { probe.exact: { calls: 2/hour } } }
facts: { names: { seen: { type: number } } }
ledger: { sign_every: 1s, retention: { bodies: 1d } }
resilience: { max_attempts: 1, breaker_calls: 4, breaker_min_calls: 2, breaker_open_s: 60 }
policies: [rules]
"""


class LeapClock(SetClock):
    """Time that leaps when a test says so; whoever sleeps for less than half a minute does so for real."""

    def __init__(self) -> None:
        super().__init__()
        self._leapt = 0.0
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []
        self.monotonic = lambda: SetClock.monotonic() + self._leapt  # type: ignore[method-assign]  # as the real one

    async def sleep(self, seconds: float) -> None:
        if seconds < SHORT:
            await super().sleep(seconds)
            return
        woken = asyncio.get_running_loop().create_future()
        self._sleeping.append((self._leapt + seconds, woken))
        await woken

    def leap(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self._leapt += seconds
        due = [woken for at, woken in self._sleeping if at <= self._leapt]
        self._sleeping = [(at, woken) for at, woken in self._sleeping if at > self._leapt and not woken.done()]
        for woken in due:
            if not woken.done():
                woken.set_result(None)


class Day:
    """What happens in a step of the day, and what there is to see of it."""

    def __init__(self, gate: Inside, home: Path, clock: LeapClock) -> None:
        self.gate = gate
        self.home = home
        self.clock = clock
        self.numbers = count(1)
        self.peers = {agent: Peer(gate.url, token) for agent, token in gate.tokens.items()}
        self.seen: set[str] = set()
        self.hour = 0

    async def step(self, number: int) -> None:
        """Leap, and have agents do what they do, each time in runs of their own."""
        self.clock.leap(STEP)
        gateway = self.gate.gateway
        for picture in (gateway.tokens, gateway.pauses, gateway.runs):
            await picture.refresh()
        for _ in range(RUNS):
            run = {"io.toolgate/run": f"work-{next(self.numbers)}"}
            code = await self._call("probe_echo", {"n": number}, run)
            assert code == "ok"
            assert await self._call("probe_odd", {"n": number}, run) == "ok"
            fact = {"scope": "run", "name": "seen", "value": number, "ttl_s": 1800}
            assert await self._call("facts_put", fact, run) == "ok"
            assert await self._call("probe_act", {"n": next(self.numbers)}, run) == "needs_approval"
        codes = [await self._call("probe_exact", {"number": each}) for each in range(3)]
        hour, self.hour = self.hour, self.clock.ms // (HOUR * 1000)
        assert codes == (["ok", "ok"] if hour != self.hour else ["budget_exceeded"] * 2) + ["budget_exceeded"]
        await self._session()
        if number % 8 == 0:
            await self._breaker()
            await self._token()
        self.seen |= set(codes)

    async def _call(self, tool: str, arguments: object, meta: object = None, agent: str = "payer") -> str:
        answer = await self.peers[agent].call(tool, arguments, meta)
        if answer.code == -32602:
            print(answer.body)
        return str(answer.code)

    async def _session(self) -> None:
        """Open a session of a client of 2025-11-25, and end it."""
        known = await Peer(self.gate.url, self.gate.tokens["payer2"], "legacy").connect()
        assert (await known.call("probe_echo")).code == "ok"
        gone = await known.ask("DELETE", "/mcp", MCP_Session_Id=known.session, MCP_Protocol_Version="2025-11-25")
        assert gone.status in {200, 204}
        assert (await known.rpc("tools/list")).status == 404

    async def _breaker(self) -> None:
        """Have a server die until nobody asks it any more, and later answer again."""
        while self._breaker_state() != "open":
            (self.home / "frail" / "immortal").unlink(missing_ok=True)
            self.seen.add(f"frail {await self._call('frail_die_read', {'n': next(self.numbers)})}")
        self.clock.leap(61)
        (self.home / "frail" / "immortal").touch()
        for picture in (self.gate.gateway.tokens, self.gate.gateway.pauses):
            await picture.refresh()
        while self._breaker_state() != "closed":
            await self._call("frail_echo", {"n": next(self.numbers)})

    def _breaker_state(self) -> str:
        return str(self.gate.gateway.status()["servers"]["frail"]["breaker"])

    async def _token(self) -> None:
        """Rotate a token: what is over is refused."""
        old = self.peers["payer2"].token
        tokens = Tokens(self.gate.gateway.store, self.clock, RandomIds(), "os:ann")
        new = await tokens.rotate("payer2", ttl_ms=9 * STEP * 1000, overlap_ms=1000)
        self.gate.tokens["payer2"] = self.peers["payer2"].token = new.token
        self.clock.leap(2)
        await self.gate.gateway.tokens.refresh()
        await self.gate.gateway.pauses.refresh()
        async with asyncio.timeout(60):  # a reading of the tokens that began before may end after ours
            while (await Peer(self.gate.url, old).call("probe_echo")).status != 401:
                await asyncio.sleep(0.05)
        assert await self._call("probe_echo", {}, agent="payer2") == "ok"

    async def settled(self) -> int:
        """Wait until what has had its time is on record as over; return how many calls wait for a person."""
        desk = self.gate.gateway.approving.desk
        async with asyncio.timeout(60):
            while (waiting := len(await desk.listed())) != table(self.home, WAITING)[0][0]:
                await asyncio.sleep(0.05)
        return waiting


def blocks() -> int:
    """Return how much of the interpreter's memory is in use, in blocks of the allocator.

    The heads of requests are let go of first: so many are kept, whoever sent them.
    """
    for held in gc.get_objects():
        if type(held) is Familiar:
            held._known.clear()
    gc.collect()
    return sys.getallocatedblocks()


def tightened() -> None:
    """Have memories that are bounded by thousands of runs reach their bound within a day of few calls."""
    for held in gc.get_objects():
        if type(held) is Recent:
            held._size = min(held._size, MOST)
        elif type(held) is Begun:
            held._most = held._left = MOST
        elif type(held) is Rows:
            held._kept = MOST


def table(home: Path, sql: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(home / "data" / "gateway.db")) as db:
        return list(db.execute(sql))


async def test_more_than_a_day_ends_what_has_its_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "ask.cedar").write_text(RULES, encoding="utf-8")
    sections = probe_section(tmp_path / "probe") + probe_section(tmp_path / "frail", name="frail")
    clock = LeapClock()
    used: list[int] = []
    tasks: list[int] = []
    async with inside(tmp_path, probes(sections, more=MORE), clock=clock) as gate:
        day = Day(gate, tmp_path, clock)
        tightened()
        for number in range(1, HOURS * 4 + 1):
            await day.step(number)
            if number in {WARM * 4, HOURS * 4}:
                await day.settled()
                used.append(blocks())
                tasks.append(len(asyncio.all_tasks()))
        facts = await gate.gateway.store.list_facts("run", "", clock.now_ms(), 10_000)
        assert RUNS <= len(facts) <= RUNS * 3  # those of the last half an hour
        assert RUNS <= await day.settled() <= RUNS * HOUR // STEP  # those of the last hour
        assert await gate.gateway.store.verify() > RUNS * HOURS * 4 * 5
    more = (HOURS - WARM) * 4 * RUNS  # runs that are idle now, each with an approval that was waited for
    assert used[1] - used[0] < 15 * more, f"{(used[1] - used[0]) / more} blocks for each"
    assert tasks[1] <= tasks[0] + 2
    assert table(tmp_path, "SELECT count(*) FROM sessions") == [(0,)]
    assert table(tmp_path, "SELECT count(*) FROM runs WHERE status = 'open'")[0][0] >= RUNS * HOURS * 4
    [(removed, old)] = table(tmp_path, KEPT.format(clock.ms - 25 * HOUR * 1000))
    assert removed > 0
    assert old == 0
