"""What a plugin's own HTTP client is answered, told to the call that asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from gateway.connector.measure import Measure

if TYPE_CHECKING:
    import httpx2

__all__ = ["Scales"]


class _Weighing:
    """The answers to one call that may still be coming in. What comes after its end is nobody's."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._open: list[httpx2.Response] = []
        self._ended = False

    def take(self, answer: "httpx2.Response") -> None:
        if self._ended:
            return
        self._measure.add(0, answer.status_code)
        ended = [each for each in self._open if each.is_closed]
        self._open = [each for each in self._open if not each.is_closed] + [answer]
        self._weigh(ended)

    def end(self) -> None:
        self._weigh(self._open)
        self._ended = True

    def _weigh(self, answers: "list[httpx2.Response]") -> None:
        for each in answers:
            self._measure.add(each.num_bytes_downloaded)


_WEIGHING: Final[ContextVar[_Weighing | None]] = ContextVar("weighing", default=None)
"""What is asked for here is asked for a call: also in tasks that the call begins, as `asyncio.gather` does."""


class Scales:
    """Knows by its context which call an answer is for; what is asked for outside of calls is nobody's."""

    @contextmanager
    def held(self, measure: Measure) -> Iterator[None]:
        """Tell `measure` of all that this task, and those it begins, are answered within."""
        weighing = _Weighing(measure)
        token = _WEIGHING.set(weighing)
        try:
            yield
        finally:
            _WEIGHING.reset(token)
            weighing.end()

    async def weigh(self, answer: "httpx2.Response") -> None:
        """Take an answer whose body has not come in yet: a response hook of the client."""
        weighing = _WEIGHING.get()
        if weighing is not None:
            weighing.take(answer)
