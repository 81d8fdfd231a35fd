"""How fast a server is listened to."""

from typing import Final

__all__ = ["Tempo"]

_THING_S: Final = 0.0002
_AHEAD_S: Final = 0.05


class Tempo:
    """Says when to rest from a server that says more than 5,000 things a second, in however small pieces they come.

    Whoever says more takes the time of everybody else's calls. Ahead of that it may be by 50 ms.
    """

    __slots__ = ("_at", "_owed")

    def __init__(self) -> None:
        self._owed = self._at = 0.0

    def rest_after(self, said: int, now: float) -> float:
        """Return for how many seconds to hear nothing, now that so many things more were said; `now` is in seconds."""
        self._owed = max(self._owed - (now - self._at), 0.0) + said * _THING_S
        self._at = now
        return self._owed if self._owed > _AHEAD_S else 0.0
