"""Wakes whoever waits for an approval to change, in this process. Nothing is kept of those nobody waits for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Ring"]


class Ring:
    """Bells, each of one that waits for one approval."""

    def __init__(self) -> None:
        self._bells: dict[str, set[asyncio.Event]] = {}

    def strike(self, approval_id: str) -> None:
        """Wake all who wait for this approval."""
        for bell in self._bells.get(approval_id, ()):
            bell.set()

    @contextmanager
    def listening(self, approval_id: str) -> Iterator[asyncio.Event]:
        """Return what is set when the approval changes, for as long as the block lasts."""
        bell = asyncio.Event()
        self._bells.setdefault(approval_id, set()).add(bell)
        try:
            yield bell
        finally:
            others = self._bells[approval_id]
            others.discard(bell)
            if not others:
                del self._bells[approval_id]

    def __len__(self) -> int:
        return sum(map(len, self._bells.values()))
