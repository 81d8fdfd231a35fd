"""What is asked of storage for things that are good for one use."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.store.ports import Record

__all__ = ["SpentStore"]


class SpentStore(Protocol):
    """Remembers what has been used, also for the other processes and for those to come."""

    async def spend(self, item: str, until_ms: int, at_ms: int) -> bool:
        """Use something up, durably; False where it was used before. From `until_ms` on nobody asks for it again.

        `at_ms` is now: what has had its time is forgotten. Raises `StoreFault`.
        """
        ...

    async def record_once(self, record: "Record", item: str, until_ms: int) -> bool:
        """Append an event for which `item` is used up, as `spend` does at its time; both or neither.

        False where it was used before: then nothing is appended. Raises `StoreFault`.
        """
        ...
