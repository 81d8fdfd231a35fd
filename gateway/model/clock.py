"""Time and identifiers come from here, so that a test can replay a whole day from a seed."""

import asyncio
import secrets
import time
from typing import Final, Protocol

__all__ = ["Clock", "IdSource", "RandomIds", "SystemClock"]


class Clock(Protocol):
    """Where the gateway reads time."""

    def now_ms(self) -> int:
        """Wall-clock time, milliseconds since the Unix epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` on this clock."""
        ...


class IdSource(Protocol):
    """Where the gateway takes identifiers."""

    def new(self, prefix: str) -> str:
        """Return `prefix_` and at least 128 unguessable bits, in `[a-z0-9]`."""
        ...

    def fraction(self) -> float:
        """Return a uniform number in [0, 1), for jitter."""
        ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)  # not by way of a function of ours: it is asked nine times in a call

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_DRAWN: Final = 128
_GRAIN: Final = 26  # 67 ms: nine digits last until 2116


class RandomIds:
    """Identifiers from the operating system's random source, which is asked for many at once.

    Before what is random stands when that was: what comes later sorts later, but for the few that came together. So an
    index of them grows at its end, where each call would else change another page of it.
    """

    def __init__(self) -> None:
        self._pool = self._drawn = ""
        self._used = 0

    def new(self, prefix: str) -> str:
        start = self._used
        if start == len(self._pool):
            self._pool, start = secrets.token_hex(_DRAWN * 16), 0
            self._drawn = f"{time.time_ns() >> _GRAIN:09x}"
        self._used = end = start + 32
        return f"{prefix}_{self._drawn}{self._pool[start:end]}"

    def fraction(self) -> float:
        return secrets.randbelow(1 << 53) / (1 << 53)
