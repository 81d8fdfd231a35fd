"""What a plugin's own HTTP client is answered, told to the call that asked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.connector.measure import Measure

if TYPE_CHECKING:
    import httpx2

__all__ = ["Scales"]


class _Weighing:
    """The answers to one call that may still be coming in."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._open: list[httpx2.Response] = []

    def take(self, answer: "httpx2.Response") -> None:
        self._measure.add(0, answer.status_code)
        ended = [each for each in self._open if each.is_closed]
        self._open = [each for each in self._open if not each.is_closed] + [answer]
        self._weigh(ended)

    def end(self) -> None:
        self._weigh(self._open)

    def _weigh(self, answers: "list[httpx2.Response]") -> None:
        for each in answers:
            self._measure.add(each.num_bytes_downloaded)


class Scales:
    """Knows by its task which call an answer is for; one that a plugin asks for in another task is nobody's."""

    def __init__(self) -> None:
        self._weighings: dict[asyncio.Task[Any] | None, _Weighing] = {}

    @contextmanager
    def held(self, measure: Measure) -> Iterator[None]:
        """Tell `measure` of all that the current task is answered within."""
        task = asyncio.current_task()
        weighing = self._weighings[task] = _Weighing(measure)
        try:
            yield
        finally:
            del self._weighings[task]
            weighing.end()

    async def weigh(self, answer: "httpx2.Response") -> None:
        """Take an answer whose body has not come in yet: a response hook of the client."""
        weighing = self._weighings.get(asyncio.current_task())
        if weighing is not None:
            weighing.take(answer)
