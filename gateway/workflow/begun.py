"""Which steps may be on record of the runs that were opened here: of any other step nobody needs to ask the store."""

from collections.abc import Hashable
from typing import Final

__all__ = ["Begun"]

_MOST: Final = 100_000
_OF_A_RUN: Final = 8
"""How many steps take as much memory as a run without any: agents open as many as they like."""


class Begun:
    """Remembers steps by their hash; two with the same one are taken for the same, and asked for."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._left = most
        self._steps: dict[str, set[int]] = {}

    def opened(self, run_id: str) -> None:
        """Note a run that has no steps yet."""
        self._take(_OF_A_RUN)
        self._steps[run_id] = set()

    def is_new(self, run_id: str, step: Hashable) -> bool:
        """Tell whether a run is one that was opened here and a step in it is seen for the first time."""
        steps = self._steps.get(run_id)
        if steps is None or hash(step) in steps:
            return False
        self._take(1)
        steps.add(hash(step))
        return True

    def _take(self, room: int) -> None:
        """Forget every run once there are too many steps: they are asked for, as those of another process are."""
        if self._left < room:
            self._steps.clear()
            self._left = self._most
        self._left -= room
