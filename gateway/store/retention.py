"""What the end of a retention asks of storage: bodies go, events, rows and the chain stay.

Of a call that ended, and of an approval that is over, the removable part of every event goes once the last of them is
old enough. Nothing is taken from a call under way or in doubt, nor from an approval that can still be used. One event
says which bodies went; the audit takes no other for one that may be missing.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["Removal", "Removed", "RetentionStore"]


@dataclass(frozen=True, slots=True)
class Removal:
    """Which bodies may go: those of what ended before `before_ms`, looked for among `most` events after `after_seq`."""

    before_ms: int
    at_ms: int
    after_seq: int
    most: int = 500


class Removed(NamedTuple):
    """How far was looked, and how many bodies went. `through_seq` is `after_seq` where nothing more is old enough."""

    through_seq: int
    bodies: int


class RetentionStore(Protocol):
    """Lets go of what was to be kept for a time."""

    async def remove_bodies(self, removal: Removal) -> Removed:
        """Remove bodies, in one transaction, with the event `bodies.removed` that says which. Raises `StoreFault`."""
        ...
