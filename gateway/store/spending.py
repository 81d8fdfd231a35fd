"""What the transport asks of storage for things that are good for one use."""

from typing import Protocol

__all__ = ["SpentStore"]


class SpentStore(Protocol):
    """Remembers what has been used, also for the other processes and for those to come."""

    async def spend(self, item: str, until_ms: int, at_ms: int) -> bool:
        """Use something up, durably; False where it was used before. From `until_ms` on nobody asks for it again.

        `at_ms` is now: what has had its time is forgotten. Raises `StoreFault`.
        """
        ...
