"""Where a caller's conversation goes on: what `run.start`, `run.resume` and an operator have said."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from gateway.model.clock import Clock
from gateway.model.facts import RunRef
from gateway.model.recent import Recent
from gateway.model.request import Caller
from gateway.store.runs import ANYWHERE, RunChange, RunStore

__all__ = ["IDLE_MS", "Here", "Places"]

IDLE_MS: Final = 30 * 60_000
"""After so long without a call, what a caller does without naming anything is another piece of work."""


@dataclass(slots=True)
class Here:
    """The run in which a conversation goes on, None for its own; and when it was last used."""

    run: RunRef | None
    used_ms: int


class Places:
    """Remembers and finds where conversations go on. A place is a conversation's key.

    `held` is what is remembered, by owner and place; `changed` hears whenever that is something else than before.
    """

    def __init__(self, store: RunStore, clock: Clock, cached: int, changed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self.held: Recent[tuple[str, str], Here] = Recent(cached)

    async def put(self, owner: str, place: str, run: RunRef) -> None:
        """Have a conversation go on in a run. Raises `StoreFault`."""
        now = self._clock.now_ms()
        await self._store.place_run(owner, place, run.id, now)
        self.held.keep((owner, place), Here(run, now))
        self._changed()

    async def run(self, owner: str, place: str, caller: Caller) -> RunRef | None:
        """Return the run in which a conversation goes on, or None where nobody has said. Raises `StoreFault`."""
        if not self.knows(owner, place):
            self.held.keep((owner, place), Here(await self._said(owner, place, caller), self._clock.now_ms()))
            self._changed()
        return self.known(owner, place, caller, self._clock.now_ms())

    def knows(self, owner: str, place: str) -> bool:
        """Tell whether it is remembered where a conversation goes on: then it is `known`."""
        return (owner, place) in self.held

    def known(self, owner: str, place: str, caller: Caller, now_ms: int) -> RunRef | None:
        """As `run`, where that is remembered."""
        here = self.held[owner, place]
        self.held.move_to_end((owner, place))
        if here.run is not None and caller.session is None and now_ms - here.used_ms > IDLE_MS:
            here.run = None
        here.used_ms = now_ms
        return here.run

    async def _said(self, owner: str, place: str, caller: Caller) -> RunRef | None:
        """Ask the store. What was said last counts; but a session that has a run of its own already keeps it."""
        found = await self._store.placed_runs(owner, (place, ANYWHERE))
        after = self._clock.now_ms() - IDLE_MS
        live = {at: each for at, each in found.items() if each.active_ms >= after or (at == place and caller.session)}
        here, anywhere = live.get(place), live.get(ANYWHERE)
        if anywhere is None or (here is not None and here.at_ms > anywhere.at_ms):
            return None if here is None else here.run
        if caller.session is not None and here is None and await self._store.named_run(owner, place) is not None:
            return None
        return anywhere.run

    def forget(self, changes: Iterable[RunChange]) -> None:
        """Believe no more what is remembered of these runs and their callers."""
        runs = {change.run_id for change in changes}
        owners = {change.who for change in changes}
        self.held.drop(
            place
            for place, here in self.held.items()
            if place[0] in owners or (here.run is not None and here.run.id in runs)
        )
        self._changed()
