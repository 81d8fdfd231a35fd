"""Watches the shape of answers that no schema describes, where `tools:` asks for it (F3).

What was learnt is on record, so that it outlives the gateway; so is each way in which an answer drifted from it, once.
Nothing is written in the call: a task of its own does that.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.catalog.shapes import Learner, Shape
from gateway.ledger.parts import Redact
from gateway.model.answers import Label, Watch
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.model.tool import Tool
from gateway.store.bodies import load
from gateway.store.ports import Event, EventFilter, EventKind, Ledger, PauseRecord, PauseStore, Record

__all__ = ["ShapeStore", "Shaping", "about_shape", "known_shape"]

_LOG: Final = logging.getLogger(__name__)
_EVERY_S: Final = 2.0
_MOST_TOLD: Final = 100
_BY: Final = "gateway"


class ShapeStore(Ledger, PauseStore, Protocol):
    """Where shapes are on record, and tools can be stopped."""


@dataclass(slots=True)
class _Known:
    """What is known of one version of a tool's answers. `told` are the drifts on record since it was learnt."""

    digest: str
    shape: Shape | None = None
    learner: Learner = field(default_factory=Learner)
    told: set[tuple[str, ...]] = field(default_factory=set)


def about_shape(tool: str) -> str:
    """Return what events about the shape of a tool's answers have in the place of a call's id."""
    return f"shape.{tool}"


async def known_shape(ledger: Ledger, tool: Tool) -> tuple[Shape | None, list[Event]]:
    """Return the shape that was learnt of a tool as it is pinned now, and what drifted from it, in order.

    Raises:
        StoreFault: the ledger cannot be read.
    """
    shape, drifts = None, []
    async for event in ledger.events(EventFilter(call_id=about_shape(tool.name), limit=2**31 - 1)):
        if event.kind is EventKind.SHAPE_DRIFTED:
            drifts.append(event)
            continue
        body = load(event.body.encode())
        learnt = event.kind is EventKind.SHAPE_LEARNT and body["digest"] == tool.digest
        shape, drifts = Shape.told(body) if learnt else None, []
    return shape, drifts


def _is_whole(result: Mapping[str, Any]) -> bool:
    return result.get("isError") is not True and result.get("resultType", "complete") == "complete"


class Shaping:
    """Learns and watches in memory; `watch` puts on record what there is to tell. Servers in `own` are left out."""

    def __init__(self, store: ShapeStore, clock: Clock, redact: Redact, own: Collection[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._redact = redact
        self._own = own
        self._known: dict[str, _Known] = {}
        self._new: list[Record | PauseRecord] = []
        self._told = asyncio.Event()

    async def judge(self, call: Call) -> tuple[Label, ...]:
        """Return the label of an answer that drifted from what the tool's answers were like; learn from it before."""
        tool, result = call.tool, call.raw
        if tool.output_schema is not None or tool.contract is not None or tool.server in self._own:
            return ()
        if call.source is not None or not _is_whole(result):
            return ()
        known = await self._of(tool)
        if known.shape is None:
            known.shape = known.learner.learn(result)
            if known.shape is not None:
                body = {"what": "shape learnt", "digest": tool.digest, **known.shape.tell()}
                self._tell(self._record(tool, body, EventKind.SHAPE_LEARNT))
            return ()
        differences = tuple(known.shape.differences(result))
        if not differences:
            return ()
        if differences not in known.told and len(known.told) < _MOST_TOLD:
            known.told.add(differences)
            self._drifted(call, differences)
        return (Label.DRIFTED,)

    async def _of(self, tool: Tool) -> _Known:
        known = self._known.get(tool.name)
        if known is not None and known.digest == tool.digest:
            return known
        try:
            shape, drifts = await known_shape(self._store, tool)
        except StoreFault:
            return _Known(tool.digest)  # it is asked for again with the next answer
        fresh = _Known(tool.digest, shape)
        fresh.told.update(tuple(load(event.body.encode())["differences"]) for event in drifts[:_MOST_TOLD])
        known = self._known.get(tool.name)  # another call may have come first
        if known is None or known.digest != tool.digest:
            self._known[tool.name] = known = fresh
            self._told.set()  # there may be a drift to look after
        return known

    def _drifted(self, call: Call, differences: tuple[str, ...]) -> None:
        tool = call.tool
        _LOG.warning("the answers of %s have another shape than before (%s): %s", tool.name, call.id, differences)
        body = {"what": "shape drifted", "call": call.id, "differences": list(differences)}
        self._tell(self._record(tool, body, EventKind.SHAPE_DRIFTED))
        if tool.answers.shape is Watch.PAUSE:
            why = f"its answers have another shape than before: {'; '.join(differences)}"
            self._tell(PauseRecord(f"tool:{tool.name}", self._clock.now_ms(), _BY, why[:500]))

    def _record(self, tool: Tool, body: Mapping[str, Any], kind: EventKind) -> Record:
        now_ms = self._clock.now_ms()
        return Record(about_shape(tool.name), now_ms, "", "", "", tool.name, self._redact(body), kind)

    def _tell(self, record: Record | PauseRecord) -> None:
        self._new.append(record)
        self._told.set()

    async def watch(self) -> None:
        """Write what there is to tell, and forget shapes that a person says are no longer so; until cancelled."""
        while True:
            drifting = any(known.told for known in self._known.values())
            try:
                async with asyncio.timeout(_EVERY_S if drifting else None):
                    await self._told.wait()
            except TimeoutError:
                pass
            self._told.clear()
            try:
                await self._write()
                await self._forget()
            except StoreFault as fault:
                _LOG.error("the shapes of answers cannot be put on record yet: %s", fault.message)
                await self._clock.sleep(_EVERY_S)

    async def _write(self) -> None:
        while self._new:
            record = self._new[0]
            if isinstance(record, PauseRecord):
                await self._store.put_pause(record)
            else:
                await self._store.record(record)
            self._new.pop(0)

    async def _forget(self) -> None:
        """Begin anew with tools that drifted and whose present answers somebody accepted."""
        for name in [name for name, known in self._known.items() if known.told]:
            async for event in self._store.events(EventFilter(call_id=about_shape(name), limit=1, latest=True)):
                if event.kind is EventKind.ADMIN:
                    del self._known[name]
