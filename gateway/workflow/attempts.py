"""How often a caller has begun a run: what it recorded before counts as the record, what it does now as new."""

from collections.abc import Callable, Iterable
from typing import Final

from gateway.model.clock import Clock
from gateway.model.errors import RequestFault
from gateway.model.recent import Recent
from gateway.store.runs import Attempt, AttemptBegin, RunChange, RunStore

__all__ = ["Attempts"]

_CALLER: Final = "the caller"


class Attempts:
    """The attempt each caller is in, remembered; `forget` has it read anew where somebody else changed it.

    `changed` hears whenever something else is remembered than before.
    """

    def __init__(self, store: RunStore, clock: Clock, cached: int, changed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._held: Recent[tuple[str, str], Attempt] = Recent(cached)

    def known(self, run_id: str, who: str, label: str | None) -> Attempt | None:
        """As `of`, where that is remembered and the label begins none; else None."""
        held = self._held.get((run_id, who))
        return held if held is not None and (label is None or label == held.label) else None

    async def of(self, run_id: str, who: str, label: str | None) -> Attempt:
        """Return the attempt a caller is in; a label it has not used in this run before begins a new one.

        Raises:
            RequestFault: `run_superseded`, another attempt has begun since the one that `label` names.
            StoreFault: the store cannot answer.
        """
        place = (run_id, who)
        held = self._held.get(place)
        if held is None:
            held = await self._store.attempt(run_id, who)
            self._held.keep(place, held)
        if label is None or label == held.label:
            return held
        begun = await self._begin(AttemptBegin(run_id, who, self._clock.now_ms(), _CALLER, label))
        if begun.label != label:
            raise RequestFault(
                "This run was begun again since: another process goes on with it. End this one.",
                code="run_superseded",
                detail=f"attempt {begun.number} ({begun.label!r}) has begun since {label!r}",
            )
        return begun

    async def anew(self, run_id: str, who: str, label: str | None) -> Attempt:
        """Begin a run anew for a caller, which goes on calling this attempt as it did. Raises `StoreFault`."""
        named = label if label is not None else (await self._store.attempt(run_id, who)).label
        return await self._begin(AttemptBegin(run_id, who, self._clock.now_ms(), _CALLER, named, anew=True))

    async def _begin(self, begin: AttemptBegin) -> Attempt:
        begun = await self._store.begin_attempt(begin)
        self._held.keep((begin.run_id, begin.who), begun)
        self._changed()
        return begun

    def forget(self, changes: Iterable[RunChange]) -> None:
        """Believe no more what is remembered of these runs."""
        runs = {change.run_id for change in changes}
        self._held.drop(place for place in self._held if place[0] in runs)
        self._changed()
