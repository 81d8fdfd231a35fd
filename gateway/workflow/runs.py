"""Which run a call belongs to. The gateway mints run ids; callers never have to name one."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from gateway.model.clock import Clock, IdSource
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.request import Caller
from gateway.store.ports import RunStore

__all__ = ["CACHED", "IDLE_MS", "Runs", "owner_of"]

IDLE_MS: Final = 30 * 60_000
CACHED: Final = 10_000
_MAX_NAME: Final = 256
_MAX_KEY: Final = 200
_PREFIX: Final = "run_"
_BELIEVED_MS: Final = 1_000
K = TypeVar("K")
V = TypeVar("V")


def owner_of(identity: Identity) -> str:
    """Return who owns the runs of this caller: `agent`, or `agent/user` when it acts for a user."""
    return identity.agent if identity.on_behalf_of is None else f"{identity.agent}/{identity.on_behalf_of}"


def _never(run: RunRef) -> None:
    del run


class _Recent(OrderedDict[K, V]):
    """Remembers the `size` entries that were used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def keep(self, key: K, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._size:
            self.popitem(last=False)


@dataclass(slots=True)
class _Slot:
    """What names a run for its owner, and when it was last used."""

    run: RunRef
    used_ms: int


class Runs:
    """Finds or opens the run of a call (LEDGER.md §2) and counts its calls.

    The store decides which of two parallel first calls opens a run; memory, bounded, only spares reads. A conversation
    is the legacy session, else the trace, else all the caller's calls; `run.start` binds it in one process's memory.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        ids: IdSource,
        stopped: Callable[[RunRef], None] = _never,
        *,
        cached: int = CACHED,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._stopped = stopped
        self._slots: _Recent[tuple[str, str], _Slot] = _Recent(cached)
        self._started: _Recent[tuple[str, str], _Slot] = _Recent(cached)
        self._steps: _Recent[str, int] = _Recent(cached)
        self._opening: dict[tuple[str, str], asyncio.Task[RunRef]] = {}

    async def resolve(
        self, identity: Identity, caller: Caller, explicit: str | None, key: tuple[str, str] | None
    ) -> RunRef:
        """Return the run of a call.

        `explicit` is a run id or the caller's own name for a piece of work; `key` is (workflow, value of its key
        argument). Sessions, traces and names only group the calls of one owner: they open nobody else's run.

        Raises:
            RequestFault: `explicit` is a run id that is not an open run of this caller, or is no usable name.
            LimitFault: an operator has stopped the run.
            StoreFault: the store cannot answer.
        """
        owner = owner_of(identity)
        if explicit is not None:
            run = await self._explicit(owner, explicit)
        elif key is not None:
            run = await self._named(owner, "key", _key("key", *key))
        else:
            run = self._started_here(owner, caller) or await self._conversation(owner, caller)
        self._stopped(run)
        await self._load_steps(run.id)
        return run

    async def of(self, run_id: str) -> RunRef:
        """Return a run by its id, open or not, whoever owns it. Raises `RequestFault`, `StoreFault`."""
        run = await self._store.find_run(run_id)
        if run is None:
            raise RequestFault("There is no such run.")
        await self._load_steps(run.id)
        return run

    async def start(self, identity: Identity, caller: Caller) -> RunRef:
        """Open a new run and let the caller's conversation continue in it. Raises `StoreFault`."""
        owner = owner_of(identity)
        run = RunRef(self._ids.new("run"), owner, "handle")
        now = self._clock.now_ms()
        run = await self._store.open_run(run, _key("start", run.id), now)
        self._started.keep((owner, _conversation_key(caller)), _Slot(run, now))
        self._steps.keep(run.id, 0)
        return run

    def steps(self, run_id: str) -> int:
        """Return how many calls the run held before this one. The run must have been resolved just now."""
        return self._steps.get(run_id, 0)

    def count(self, run_id: str) -> None:
        """Note that a call of this run was recorded."""
        if run_id in self._steps:
            self._steps[run_id] += 1

    async def close(self) -> None:
        """Wait until no run is being opened any more."""
        if self._opening:
            await asyncio.wait(self._opening.values())

    async def _explicit(self, owner: str, name: str) -> RunRef:
        if not name.startswith(_PREFIX):
            if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
                raise RequestFault(f"A run's name has 1 to {_MAX_NAME} printable characters.")
            return await self._named(owner, "meta", _key("name", name))
        run = await self._find(owner, name) if len(name) <= _MAX_NAME else None
        if run is None or run.status != "open":
            raise RequestFault(
                "There is no open run of yours with this id. Start one with run.start, use a name of your own, "
                "or leave the run out.",
                detail="unknown, closed, or another owner's run",
            )
        return run

    async def _find(self, owner: str, run_id: str) -> RunRef | None:
        """Return the owner's run, as the store had it within the last second."""
        now = self._clock.now_ms()
        slot = self._slots.get((owner, run_id))
        if slot is not None and 0 <= now - slot.used_ms < _BELIEVED_MS:
            return slot.run
        run = await self._store.find_run(run_id)
        if run is None or run.owner != owner:
            return None
        run = replace(run, source="handle")
        self._slots.keep((owner, run_id), _Slot(run, now))
        return run

    def _started_here(self, owner: str, caller: Caller) -> RunRef | None:
        place = (owner, _conversation_key(caller))
        slot = self._started.get(place)
        if slot is None:
            return None
        now = self._clock.now_ms()
        if caller.session is None and now - slot.used_ms > IDLE_MS:
            del self._started[place]
            return None
        slot.used_ms = now
        self._started.move_to_end(place)
        return slot.run

    async def _conversation(self, owner: str, caller: Caller) -> RunRef:
        if caller.session is not None:
            return await self._named(owner, "session", _conversation_key(caller))
        place = (owner, _conversation_key(caller))
        now = self._clock.now_ms()
        slot = self._slots.get(place)
        if slot is not None and now - slot.used_ms <= IDLE_MS:
            slot.used_ms = now
            self._slots.move_to_end(place)
            return slot.run
        # A run that went idle is left at least one period after it opened, so the period makes a new key; and a
        # process that was restarted meanwhile finds the run of the current period again.
        return await self._open(place, "open", f"{place[1]}:{now // IDLE_MS}")

    async def _named(self, owner: str, source: str, key: str) -> RunRef:
        slot = self._slots.get((owner, key))
        if slot is None:
            return await self._open((owner, key), source, key)
        self._slots.move_to_end((owner, key))
        return slot.run

    async def _open(self, place: tuple[str, str], source: str, key: str) -> RunRef:
        """Open the run at `place` once, however many calls wait for it and whichever of them goes away."""
        task = self._opening.get(place)
        if task is None:
            task = self._opening[place] = asyncio.create_task(self._mint(place, source, key))
            task.add_done_callback(lambda done: self._opened(place, done))
        return await asyncio.shield(task)

    async def _mint(self, place: tuple[str, str], source: str, key: str) -> RunRef:
        minted = RunRef(self._ids.new("run"), place[0], source)
        now = self._clock.now_ms()
        run = replace(await self._store.open_run(minted, key, now), source=source)
        if run.id == minted.id:
            self._steps.keep(run.id, 0)
        self._slots.keep(place, _Slot(run, now))
        return run

    def _opened(self, place: tuple[str, str], task: asyncio.Task[RunRef]) -> None:
        del self._opening[place]
        if not task.cancelled():
            task.exception()  # whoever still waits has got it; if nobody does, it is nobody's

    async def _load_steps(self, run_id: str) -> None:
        if run_id in self._steps:
            self._steps.move_to_end(run_id)
            return
        held = await self._store.count_steps(run_id)
        if run_id not in self._steps:  # else another call loaded it meanwhile, and may have counted on
            self._steps.keep(run_id, held)


def _conversation_key(caller: Caller) -> str:
    if caller.session is not None:
        return _key("session", caller.session)
    return _key("trace", caller.trace) if caller.trace is not None else _ALL


def _key(kind: str, *parts: str) -> str:
    """Return an unambiguous key; one that would be long is a digest."""
    text = json.dumps([kind, *parts])
    return text if len(text) <= _MAX_KEY else f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"


_ALL: Final = _key("all")
"""The key of everything a caller does without saying what belongs together."""
