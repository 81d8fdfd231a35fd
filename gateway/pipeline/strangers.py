"""How much whom nobody knows may have put on record: a flood of bad tokens is counted, not kept."""

from collections import Counter, OrderedDict
from collections.abc import Awaitable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Protocol

from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.store.ports import EventKind, Record

__all__ = ["Strangers"]

_BURST: Final = 100
_A_MINUTE: Final = 10
"""Refusals that one address may have on record: so many at once, and so many more each minute."""

_IN_ALL: Final = 10
"""All addresses together may have so many times that."""

_TELL_S: Final = 60.0
_MOST_KNOWN: Final = 1000
_MOST_NAMED: Final = 20
_OTHERS: Final = "others"


class Book(Protocol):
    """Where is put on record how many were left out."""

    def record(self, record: Record) -> Awaitable[None]:
        """Write it. Raises `StoreFault`."""
        ...


class Strangers:
    """Counts what is refused to strangers, by address; an IPv6 address stands for its network of 64 bits.

    What is refused of a credential that was good once is counted by that, and beside all others: who shows a stolen one
    cannot have it drowned. One event a minute tells how many were left out, and of which addresses.
    """

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._left: Counter[str] = Counter()
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._all = float(_BURST * _IN_ALL), clock.monotonic()

    def may(self, address: str, credential: str = "") -> bool:
        """Tell whether one more refusal of this address is put on record; one that is not is counted.

        With the name of a `credential` that was good once, one more refusal of that.
        """
        place, now = credential or _network(address), self._clock.monotonic()
        tokens = _refilled(self._known.pop(place, (float(_BURST), now)), now, 1)
        total = _refilled(self._all, now, _IN_ALL)
        is_kept = tokens >= 1 and (total >= 1 or bool(credential))
        self._known[place] = tokens - is_kept, now
        self._all = total - (is_kept and not credential), now
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        if not is_kept:
            self._left[place if place in self._left or len(self._left) < _MOST_NAMED else _OTHERS] += 1
        return is_kept

    async def watch(self) -> None:
        """Tell what was left out, until cancelled, and then once more."""
        try:
            while True:
                await self._clock.sleep(_TELL_S)
                await self.tell()
        finally:
            await self.tell()

    async def tell(self) -> None:
        """Put on record how many were left out since that was told last; nothing where none were."""
        left, self._left = self._left, Counter()
        if not left:
            return
        told: dict[str, Any] = {"what": "refusals left out", "left_out": left.total(), "from": dict(left)}
        try:
            await self._book.record(Record("", self._clock.now_ms(), "", "", "", "", told, EventKind.ADMIN))
        except StoreFault:  # it is told with the next
            self._left += left


def _refilled(bucket: tuple[float, float], now: float, times: int) -> float:
    tokens, then = bucket
    return min(float(_BURST * times), tokens + (now - then) * _A_MINUTE * times / 60)


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped  # as what listens on `::` hears of it
    return str(found) if found.version == 4 else str(IPv6Network((found, 64), strict=False))
