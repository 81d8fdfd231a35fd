"""Which run a call belongs to. The gateway mints run ids; callers never have to name one."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from gateway.model.clock import Clock, IdSource
from gateway.model.errors import RequestFault, StoreFault
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.recent import Recent
from gateway.model.request import Caller, CallRequest
from gateway.store.runs import RunStatus, RunStore
from gateway.workflow.attempts import Attempts
from gateway.workflow.begun import Begun
from gateway.workflow.places import IDLE_MS, Here, Places

__all__ = ["CACHED", "POLL_S", "Joins", "Runs", "nobody_joins", "owner_of"]

CACHED: Final = 10_000
POLL_S: Final = 0.4
_MAX_NAME: Final = 256
_MAX_KEY: Final = 200
_PREFIX: Final = "run_"
_BELIEVED_MS: Final = 1_000
_STANDING: Final = 1_024
_OPEN: Final = RunStatus.OPEN
Joins = Callable[[RunRef], bool]
"""Tells whether the policies let the caller join a run that is another's."""


def owner_of(identity: Identity) -> str:
    """Return who owns the runs of this caller: `agent`, or `agent/user` when it acts for a user."""
    return identity.agent if identity.on_behalf_of is None else f"{identity.agent}/{identity.on_behalf_of}"


def _never(run: RunRef) -> None:
    del run


def nobody_joins(run: RunRef) -> bool:
    """Let no run be joined."""
    del run
    return False


def _anybody_joins(run: RunRef) -> bool:
    del run
    return True


@dataclass(slots=True)
class _Slot:
    """What names a run for its owner, and when it was last used."""

    run: RunRef
    used_ms: int


@dataclass(frozen=True, slots=True)
class _Standing:
    """A conversation that goes on in the first attempt at a run, and what says so: an entry of `among` at `place`."""

    run: RunRef
    used: _Slot | Here
    among: Recent[tuple[str, str], Any]
    place: tuple[str, str]
    label: str | None


class Runs:
    """Finds or opens the run of a call (LEDGER.md §2) and counts its calls.

    The store decides which of two parallel first calls opens a run; memory, bounded, only spares reads. A conversation
    is the legacy session, else the trace, else all the caller's calls; `run.start` and `run.resume` place it in a run.
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
        self._slots: Recent[tuple[str, str], _Slot] = Recent(cached)
        self._steps: Recent[str, int] = Recent(cached)
        self._standing: dict[tuple[str, str | None, str | None, str | None], _Standing] = {}
        self._places = Places(store, clock, cached, self._standing.clear)
        self._attempts = Attempts(store, clock, cached, self._standing.clear)
        self._begun = Begun()
        self._opening: dict[tuple[str, str], asyncio.Task[RunRef]] = {}
        self._seen = 0

    async def resolve(
        self, identity: Identity, request: CallRequest, key: tuple[str, str] | None, joins: Joins = nobody_joins
    ) -> RunRef:
        """Return the run of a call, and the attempt at it that its caller is in.

        The request may name a run id or the caller's own name for a piece of work; `key` is (workflow, value of its
        key argument). Sessions, traces and names only group the calls of one owner: they open nobody else's run.
        A child works in the run in which it was made; only a workflow's key can name another.

        Raises:
            RequestFault: the run named is not an open run of this caller, nor one it may join; or it is no usable
                name; or the run was cancelled; or this attempt at it was superseded.
            LimitFault: an operator has stopped the run.
            StoreFault: the store cannot answer.
        """
        owner, child = owner_of(identity), identity.child
        if child is not None and request.run not in {None, child.run}:
            raise _unknown()
        handed = joins if child is None else _anybody_joins  # it is the run of whoever handed the work on
        if request.run is not None:
            run = await self._explicit(owner, request.run, handed)
        elif key is not None:
            run = await self._named(owner, "key", _key("key", *key))
        elif child is not None:
            run = await self._explicit(owner, child.run, handed)
        else:
            known = self._remembered(owner, request.caller, self._clock.now_ms())
            run = known or await self._conversation(owner, request.caller)
        _check_open(run)
        self._stopped(run)
        label = request.attempt if child is None else None  # whoever made it says when the work is begun anew
        attempt = self._attempts.known(run.id, owner, label) or await self._attempts.of(run.id, owner, label)
        if not self._holds_steps(run.id):
            await self._load_steps(run.id)
        return run if attempt.number == 1 else replace(run, attempt=attempt.number, since=attempt.seq)

    def here(self, identity: Identity, request: CallRequest, now_ms: int) -> RunRef | None:
        """Return the run of a call that names none, where all about it is remembered; None means: await `resolve`.

        Raises as that does.
        """
        if request.run is not None or identity.child is not None:
            return None
        caller = request.caller
        known = self._standing.get((identity.agent, identity.on_behalf_of, caller.session, caller.trace))
        if known is None or (request.attempt is not None and request.attempt != known.label):
            return self._looked_up(identity, request, now_ms)
        used, run = known.used, known.run
        if caller.session is None and now_ms - used.used_ms > IDLE_MS:
            return self._looked_up(identity, request, now_ms)
        try:
            known.among.move_to_end(known.place)
            self._steps.move_to_end(run.id)
        except KeyError:  # it has made room for others
            return self._looked_up(identity, request, now_ms)
        used.used_ms = now_ms
        self._stopped(run)
        return run

    def _looked_up(self, identity: Identity, request: CallRequest, now_ms: int) -> RunRef | None:
        """As `here`, which finds it at once from now on."""
        owner, caller = owner_of(identity), request.caller
        run = self._remembered(owner, caller, now_ms)
        if run is None or not self._holds_steps(run.id):
            return None
        attempt = self._attempts.known(run.id, owner, request.attempt)
        if attempt is None or attempt.number != 1:
            return None
        _check_open(run)
        self._stopped(run)
        place = owner, _conversation_key(caller)
        said = self._places.held[place]
        among: Recent[tuple[str, str], Any] = self._slots if said.run is None else self._places.held
        if len(self._standing) >= _STANDING:
            self._standing.clear()
        key = identity.agent, identity.on_behalf_of, caller.session, caller.trace
        self._standing[key] = _Standing(run, among[place], among, place, attempt.label)
        return run

    async def of(self, run_id: str) -> RunRef:
        """Return a run by its id, open or not, whoever owns it. Raises `RequestFault`, `StoreFault`."""
        run = await self._store.find_run(run_id)
        if run is None:
            raise RequestFault("There is no such run.")
        await self._load_steps(run.id)
        return run

    async def going_on(self, run_id: str) -> RunRef:
        """Return a run by its id, whoever owns it, if it may go on. Raises as `resolve`."""
        run = await self.of(run_id)
        _check_open(run)
        self._stopped(run)
        return run

    async def start(self, identity: Identity, caller: Caller) -> RunRef:
        """Open a new run and let the caller's conversation continue in it. Raises `StoreFault`."""
        owner = owner_of(identity)
        run = RunRef(self._ids.new("run"), owner, "handle")
        run = await self._store.open_run(run, _key("start", run.id), self._clock.now_ms())
        await self._places.put(owner, _conversation_key(caller), run)
        self._steps.keep(run.id, 0)
        self._begun.opened(run.id)
        return run

    async def resume(self, identity: Identity, request: CallRequest, run_id: str, joins: Joins) -> RunRef:
        """Begin a run anew and let the caller's conversation continue in it. Raises as `resolve`."""
        owner = owner_of(identity)
        if not run_id.startswith(_PREFIX):
            raise _unknown()
        run = await self._explicit(owner, run_id, joins)
        _check_open(run)
        self._stopped(run)
        attempt = await self._attempts.anew(run.id, owner, request.attempt)
        await self._places.put(owner, _conversation_key(request.caller), run)
        return replace(run, attempt=attempt.number, since=attempt.seq)

    async def refresh(self) -> None:
        """Take in what others made of runs since the last time. Raises `StoreFault`."""
        changes = await self._store.run_changes(self._seen)
        if changes:
            self._seen = changes[-1].seq
            runs = {change.run_id for change in changes}
            self._slots.drop(place for place, slot in self._slots.items() if slot.run.id in runs)
            self._standing.clear()
            self._places.forget(changes)
            self._attempts.forget(changes)

    async def watch(self) -> None:
        """Take in what others make of runs, until cancelled."""
        while True:
            with contextlib.suppress(StoreFault):
                await self.refresh()
            await self._clock.sleep(POLL_S)

    def steps(self, run_id: str) -> int:
        """Return how many calls the run held before this one. The run must have been resolved just now."""
        return self._steps.get(run_id, 0)

    def is_new(self, run_id: str, step: Hashable) -> bool:
        """Tell whether a step cannot be on record, and take note that it may be from now on.

        That is known of runs that this process, the only one on its store, opened. A claim is checked all the same.
        """
        return self._begun.is_new(run_id, step)

    def count(self, run_id: str) -> None:
        """Note that a call of this run was recorded."""
        if run_id in self._steps:
            self._steps[run_id] += 1

    async def close(self) -> None:
        """Wait until no run is being opened any more."""
        if self._opening:
            await asyncio.wait(self._opening.values())

    async def _explicit(self, owner: str, name: str, joins: Joins) -> RunRef:
        if not name.startswith(_PREFIX):
            if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
                raise RequestFault(f"A run's name has 1 to {_MAX_NAME} printable characters.")
            return await self._named(owner, "meta", _key("name", name))
        run = await self._find(owner, name) if len(name) <= _MAX_NAME else None
        if run is None or (run.owner != owner and not joins(run)):
            raise _unknown()
        return run

    async def _find(self, owner: str, run_id: str) -> RunRef | None:
        """Return a run, as the store had it within the last second."""
        now = self._clock.now_ms()
        slot = self._slots.get((owner, run_id))
        if slot is not None and 0 <= now - slot.used_ms < _BELIEVED_MS:
            return slot.run
        run = await self._store.find_run(run_id)
        if run is None:
            return None
        run = replace(run, source="handle")
        self._slots.keep((owner, run_id), _Slot(run, now))
        return run

    def _remembered(self, owner: str, caller: Caller, now: int) -> RunRef | None:
        """Return the run of a conversation where that takes no waiting; None means: await `_conversation`."""
        key = _conversation_key(caller)
        if not self._places.knows(owner, key):
            return None
        return self._places.known(owner, key, caller, now) or self._going_on_here((owner, key), caller, now)

    def _going_on_here(self, place: tuple[str, str], caller: Caller, now: int) -> RunRef | None:
        slot = self._slots.get(place)
        if slot is None:
            return None
        if caller.session is None:
            if now - slot.used_ms > IDLE_MS:
                return None
            slot.used_ms = now
        self._slots.move_to_end(place)
        return slot.run

    async def _conversation(self, owner: str, caller: Caller) -> RunRef:
        key = _conversation_key(caller)
        place = (owner, key)
        run = await self._places.run(owner, key, caller)
        now = self._clock.now_ms()
        run = run or self._going_on_here(place, caller, now)
        if run is not None:
            return run
        if caller.session is not None:
            return await self._open(place, "session", key)
        # A run that went idle is left at least one period after it opened, so the period makes a new key; and a
        # process that was restarted meanwhile finds the run of the current period again.
        return await self._open(place, "open", f"{key}:{now // IDLE_MS}")

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
            self._begun.opened(run.id)
        self._slots.keep(place, _Slot(run, now))
        self._standing.clear()
        return run

    def _opened(self, place: tuple[str, str], task: asyncio.Task[RunRef]) -> None:
        del self._opening[place]
        if not task.cancelled():
            task.exception()  # whoever still waits has got it; if nobody does, it is nobody's

    def _holds_steps(self, run_id: str) -> bool:
        held = run_id in self._steps
        if held:
            self._steps.move_to_end(run_id)
        return held

    async def _load_steps(self, run_id: str) -> None:
        if self._holds_steps(run_id):
            return
        held = await self._store.count_steps(run_id)
        if run_id not in self._steps:  # else another call loaded it meanwhile, and may have counted on
            self._steps.keep(run_id, held)


def _check_open(run: RunRef) -> None:
    if run.status != _OPEN:
        raise RequestFault(
            f"The run was {run.status} by an operator: nothing more is done in it. Begin other work under a name of "
            "its own.",
            code="run_cancelled",
            detail=run.id,
        )


def _unknown() -> RequestFault:
    return RequestFault(
        "There is no run of yours with this id. Start one with run.start, use a name of your own, or leave the run "
        "out.",
        detail="unknown, or another owner's run",
    )


def _conversation_key(caller: Caller) -> str:
    if caller.session is not None:
        return _key("session", caller.session)
    return _key("trace", caller.trace) if caller.trace is not None else _ALL


@lru_cache(maxsize=1024)
def _key(kind: str, *parts: str) -> str:
    """Return an unambiguous key; one that would be long is a digest."""
    text = json.dumps([kind, *parts])
    return text if len(text) <= _MAX_KEY else f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"


_ALL: Final = _key("all")
"""The key of everything a caller does without saying what belongs together."""
