"""Whatever is done to a ledger, in whatever order: one key one effect, no end without a claim, one end at most."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from gateway.model.errors import StoreFault
from gateway.model.facts import StepStatus
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, Ending, EventFilter, EventKind, Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import ending, intent, lookup, record, use

KEYS = st.sampled_from(["k1", "k2", None])
DIGESTS = st.sampled_from(["sha256:a", "sha256:b"])
PAYMENTS = st.integers(1, 2)
ENDS = st.sampled_from([StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.UNKNOWN])


class LedgerMachine(RuleBasedStateMachine):
    """Does things to a ledger and keeps its own, much simpler books."""

    running = Bundle("running")

    def make(self) -> Store:
        return MemoryStore(FakeClock())

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.store = self.make()
        self.do(self.store.open())
        self.number = 0
        self.status: dict[str, StepStatus | None] = {}
        self.held: dict[str, tuple[str, str]] = {}
        self.used: dict[str, str] = {}
        self.uses: dict[str, str] = {}
        self.checks: dict[int, str] = {}

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def new_id(self) -> str:
        self.number += 1
        return f"call_{self.number}"

    @rule(target=running, payment=PAYMENTS)
    def check(self, payment: int) -> str:
        call_id = self.new_id()
        claimed = self.do(self.store.claim(intent(call_id, "fraud.check", {"payment": payment})))
        assert claimed.verdict is ClaimVerdict.CLAIMED
        self.status[call_id] = None
        self.checks[payment] = call_id
        return call_id

    @rule(target=running, key=KEYS, digest=DIGESTS, payment=PAYMENTS, based=st.booleans())
    def pay(self, key: str | None, digest: str, payment: int, based: bool) -> str:
        call_id = self.new_id()
        check = self.checks.get(payment) if based else None
        asked = lookup(values=[("payment", payment)])
        used = () if check is None else (use(check, asked),)
        claimed = self.do(self.store.claim(intent(call_id, step_key=key, arguments_digest=digest, uses=used)))
        assert claimed.verdict is self.expected(key, digest, check)
        if claimed.verdict is not ClaimVerdict.CLAIMED:
            return ""
        self.status[call_id] = None
        if key is not None:
            self.held[key] = (call_id, digest)
        if check is not None:
            self.used[check], self.uses[call_id] = call_id, check
        return call_id

    def expected(self, key: str | None, digest: str, check: str | None) -> ClaimVerdict:
        if key in self.held:
            holder, held = self.held[key]
            if held != digest:
                return ClaimVerdict.CONFLICT
            if self.status[holder] is not StepStatus.FAILED:
                return ClaimVerdict.RECORDED
        if check is None:
            return ClaimVerdict.CLAIMED
        if self.status[check] is not StepStatus.SUCCEEDED:
            return ClaimVerdict.STALE
        return ClaimVerdict.CONSUMED if check in self.used else ClaimVerdict.CLAIMED

    @rule(call_id=consumes(running), status=ENDS, release=st.booleans())
    def finish(self, call_id: str, status: StepStatus, release: bool) -> None:
        release = release and status is StepStatus.FAILED
        if call_id:
            self.do(self.ended(ending(call_id, status, release=release)))
            self.status[call_id] = status
        if call_id and release:
            self.held = {key: (holder, digest) for key, (holder, digest) in self.held.items() if holder != call_id}
            self.used.pop(self.uses.get(call_id, ""), None)

    @rule(number=st.integers(0, 40))
    def end_again(self, number: int) -> None:
        call_id = f"call_{number}"
        if self.status.get(call_id, StepStatus.UNKNOWN) is None:
            return  # it runs: to end it is no mistake
        with pytest.raises(StoreFault):
            self.do(self.ended(ending(call_id)))

    @rule(durable=st.booleans())
    def read(self, durable: bool) -> None:
        self.do(self.recorded(durable))

    @invariant()
    def the_books_agree(self) -> None:
        found = self.do(self.store.unfinished())
        assert {recorded.call_id for recorded in found} == {c for c, status in self.status.items() if status is None}
        for key in ("k1", "k2"):
            recorded = self.do(self.store.recorded("billing", "payments.pay", key))
            assert (recorded and recorded.call_id) == self.held.get(key, (None, ""))[0]

    def teardown(self) -> None:
        self.do(self.audited())
        self.do(self.store.close())
        self.loop.close()

    async def ended(self, told: Ending) -> None:
        await self.store.finish(told)

    async def recorded(self, durable: bool) -> None:
        await self.store.record(record(self.new_id()), durable=durable)

    async def audited(self) -> None:
        events = [event async for event in self.store.events(EventFilter(limit=10_000))]
        assert await self.store.verify() == len(events)
        claimed = [event.call_id for event in events if event.kind is EventKind.CALL_CLAIMED]
        ended = [event.call_id for event in events if event.kind is EventKind.CALL_FINISHED]
        assert len(set(claimed)) == len(claimed)
        assert len(set(ended)) == len(ended)
        assert set(ended) == {call_id for call_id, status in self.status.items() if status is not None}
        assert set(claimed) == set(self.status)


class SqliteMachine(LedgerMachine):
    """The same, in a file."""

    def make(self) -> Store:
        self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "ledger.db", FakeClock())

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
SqliteMachine.TestCase.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMemoryLedger = LedgerMachine.TestCase
TestSqliteLedger = SqliteMachine.TestCase
