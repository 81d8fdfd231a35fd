"""What follows an agent: read from the ledger, remembered for a second, marked by what its calls are answered."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.model.clock import Clock
from gateway.store.taints import TaintStore

__all__ = ["Follower", "Taints"]

_REMEMBERED: Final = 10_000
_BELIEVED_S: Final = 1.0
_GRAIN: Final = 16
"""A label is marked anew once a sixteenth of the window has gone by; it counts for as much longer."""


Follower = tuple[str, str, str]
"""Whom labels follow: a run, and the principal that makes a call in it (an agent; the user it acts for, or "")."""


class _Known(NamedTuple):
    labels: Mapping[str, int]
    read_at_s: float


_Both = tuple[Mapping[str, int], Mapping[str, int]]
"""Of a run and of a principal: when which label was marked (Unix ms)."""


class Taints:
    """The taint of runs and principals, as the ledger has it; memory, bounded, only spares reads."""

    def __init__(self, store: TaintStore, clock: Clock, *, remembered: int = _REMEMBERED) -> None:
        self._store = store
        self._clock = clock
        self._remembered = remembered
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()
        self._together: dict[Follower, tuple[_Both, float]] = {}
        self._writes = 0

    def known(self, follower: Follower, window_ms: int) -> tuple[str, ...] | None:
        """Return the labels that bear on a call where they are remembered; None means: await `seen`."""
        found = self._remembered_of(follower)
        if found is None:
            return None
        return self._bearing(*found, window_ms) if found[0] or found[1] else ()

    async def seen(self, follower: Follower, window_ms: int) -> tuple[str, ...]:
        """Return the labels that bear on a call: those of its run, and of its principal within the window.

        Raises:
            StoreFault: the store cannot answer.
            LedgerTampered: what it answers is not what was written.
        """
        known = self.known(follower, window_ms)
        return self._bearing(*await self._read(follower), window_ms) if known is None else known

    def _bearing(self, run: Mapping[str, int], principal: Mapping[str, int], window_ms: int) -> tuple[str, ...]:
        if not (run or principal):
            return ()
        oldest = self._clock.now_ms() - window_ms - window_ms // _GRAIN
        labels = {*run, *(label for label, at_ms in principal.items() if at_ms >= oldest)}
        return tuple(sorted(labels))

    def are_news(self, follower: Follower, labels: Sequence[str], window_ms: int) -> bool:
        """Tell whether labels have to be marked: they do not follow yet, were not marked lately, or nobody knows.

        After a call of more than a second nobody knows: a person may have let go of them meanwhile.
        """
        found = self._remembered_of(follower)
        if found is None:
            return True
        run, principal = found
        oldest = self._clock.now_ms() - window_ms // _GRAIN
        return any(label not in run or principal.get(label, oldest) <= oldest for label in labels)

    def changed(self, follower: Follower) -> None:
        """Forget what was known of a run and a principal: the ledger knows more now."""
        self._writes += 1
        self._together.clear()
        for key in _keys(follower):
            self._known.pop(key, None)

    async def _read(self, follower: Follower) -> _Both:
        writes, now = self._writes, self._clock.monotonic()
        taint = await self._store.taint(*follower)
        if writes == self._writes:  # else what was read may be older than what was written meanwhile
            for key, labels in zip(_keys(follower), (taint.run, taint.principal), strict=True):
                self._known[key] = _Known(labels, now)
                self._known.move_to_end(key)
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return taint.run, taint.principal

    def _remembered_of(self, follower: Follower) -> _Both | None:
        oldest_s = self._clock.monotonic() - _BELIEVED_S
        together = self._together.get(follower)
        if together is not None and together[1] >= oldest_s:
            return together[0]  # nearly always
        run, principal = self._known.get(follower[0]), self._known.get(follower[1:])
        if run is None or principal is None:
            return None
        read_at_s = min(run.read_at_s, principal.read_at_s)
        if read_at_s < oldest_s:
            return None
        both = run.labels, principal.labels
        if len(self._together) >= self._remembered:
            self._together.clear()
        self._together[follower] = both, read_at_s
        return both


def _keys(follower: Follower) -> tuple[Hashable, Hashable]:
    return follower[0], follower[1:]
