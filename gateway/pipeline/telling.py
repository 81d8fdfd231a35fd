"""Tells other systems something until they take it."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from gateway.model.clock import Clock

if TYPE_CHECKING:
    import httpx2

__all__ = ["Telling", "posted"]

_LOG: Final = logging.getLogger(__name__)
_FIRST_S: Final = 1.0
_LONGEST_S: Final = 300.0
_REFUSALS: Final = 8
"""So often a receiver may refuse something for what it is before the next is told."""

_PASSING: Final = frozenset({408, 425, 429})


class Telling:
    """Tries again, ever more slowly. `problems` says which receivers take nothing at the moment, and why."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.problems: dict[str, str] = {}

    async def until_taken(self, name: str, what: str, attempt: Callable[[], Awaitable[str]]) -> None:
        """Make the attempt until it returns nothing, or `refused …` too often."""
        wait_s, refusals = _FIRST_S, 0
        while why := await attempt():
            refusals += why.startswith("refused")
            if refusals >= _REFUSALS:
                _LOG.error("%s is not told to %s: %s %d times", what, name, why, refusals)
                break
            if self.problems.get(name) != why:
                _LOG.warning("%s is not taken by %s, again until it is: %s", what, name, why)
            self.problems[name] = why
            await self._clock.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_S)
        self.problems.pop(name, None)


async def posted(sending: "Awaitable[httpx2.Response]") -> str:
    """Return why what is being posted was not taken, or nothing."""
    import httpx2

    try:
        reply = await sending
    except httpx2.HTTPError as error:
        return type(error).__name__
    if reply.is_success:
        return ""
    passing = reply.status_code not in range(400, 500) or reply.status_code in _PASSING
    return f"{'answered' if passing else 'refused'} with {reply.status_code}"
