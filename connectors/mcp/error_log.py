"""A server's standard error, on its way to the log: bounded, redacted, one line at a time."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.connector import Clock, plain

__all__ = ["ErrorLog"]

_LOG: Final = logging.getLogger("toolgate.server")
_LINE: Final = 2000
_WINDOW_S: Final = 10.0
_LINES_PER_WINDOW: Final = 100
_KEPT: Final = 5


class ErrorLog:
    """Logs at most 100 lines in 10 seconds and says how many it dropped; keeps the last few to explain a crash."""

    def __init__(self, server: str, redact: Callable[[str], str], clock: Clock) -> None:
        self._server = server
        self._redact = redact
        self._clock = clock
        self._line = bytearray()
        self._last: deque[bytes] = deque(maxlen=_KEPT)
        self._window_from = clock.monotonic()
        self._logged = 0
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take what the server wrote."""
        first, *others = data.split(b"\n")
        self._extend(first)
        for following in others:
            self._end_line()
            self._extend(following)

    def tail(self) -> str:
        """Return the last lines, for the ledger."""
        return " | ".join(self._fit(line) for line in self._last)

    def _fit(self, line: bytes) -> str:
        """Redact before cutting: half a secret is not recognised."""
        return plain(self._redact(line.decode("utf-8", "replace")), _LINE)

    def _extend(self, part: bytes) -> None:
        self._line += part[: max(2 * _LINE - len(self._line), 0)]

    def _end_line(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        if not line.strip():
            return
        self._last.append(line)
        now = self._clock.monotonic()
        if now - self._window_from > _WINDOW_S:
            if self._dropped:
                _LOG.info("%s: %d more lines not logged", self._server, self._dropped)
            self._window_from, self._logged, self._dropped = now, 0, 0
        if self._logged >= _LINES_PER_WINDOW:
            self._dropped += 1
            return
        self._logged += 1
        _LOG.info("%s: %s", self._server, self._fit(line))
