"""A ledger that breaks when it is told to."""

from collections.abc import Sequence
from typing import Any

from gateway.model.errors import StoreFault
from gateway.model.facts import RunRef, Step
from gateway.store.memory import MemoryStore
from gateway.store.ports import Claimed, Ending, Intent, Record, Recorded, StepLookup

__all__ = ["BreakingStore"]


class BreakingStore(MemoryStore):
    """`before` and `after` say which transitions fail, before or after they were written."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.before: dict[str, BaseException] = {}
        self.after: dict[str, BaseException] = {}

    def breaks(self, name: str, error: BaseException | None = None, *, written: bool = False) -> None:
        """Let a transition fail from now on."""
        how = error or StoreFault("The ledger does not answer.", detail="disk full")
        (self.after if written else self.before)[name] = how

    def heal(self) -> None:
        """Let everything work again."""
        self.before.clear()
        self.after.clear()

    def _fail(self, name: str, wanted: dict[str, BaseException]) -> None:
        if name in wanted:
            raise wanted[name]

    async def claim(self, intent: Intent) -> Claimed:
        self._fail("claim", self.before)
        claimed = await super().claim(intent)
        self._fail("claim", self.after)
        return claimed

    async def open_run(self, run: RunRef, key: str, at_ms: int) -> RunRef:
        self._fail("open_run", self.before)
        return await super().open_run(run, key, at_ms)

    async def finish(self, ending: Ending) -> None:
        self._fail("finish", self.before)
        await super().finish(ending)
        self._fail("finish", self.after)

    async def settle(self, ending: Ending) -> None:
        self._fail("settle", self.before)
        await super().settle(ending)

    async def in_doubt(self) -> list[Recorded]:
        self._fail("in_doubt", self.before)
        return await super().in_doubt()

    async def made(self, call_id: str) -> Recorded | None:
        self._fail("made", self.before)
        return await super().made(call_id)

    async def record(self, record: Record, *, durable: bool = True) -> None:
        self._fail("record", self.before)
        await super().record(record, durable=durable)

    async def steps(self, lookups: Sequence[StepLookup]) -> list[Step | None]:
        self._fail("steps", self.before)
        return await super().steps(lookups)

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        self._fail("recorded", self.before)
        return await super().recorded(agent, tool, step_key)
