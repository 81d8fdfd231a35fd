"""What a connector says of messages that other systems send to the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

__all__ = ["Delivery", "Receiver"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that came, and is who it says it is from.

    `key` is the same for a repetition of it, and only then: a repeated one is acknowledged and changes nothing, before
    `known_until_ms`, also after a restart. It must hang on nothing that is not signed. `payload` is the parsed body, a
    JSON value. `at_ms` is when it came.
    """

    id: str
    key: str
    at_ms: int
    payload: Any = field(repr=False)
    known_until_ms: int = 0


@runtime_checkable
class Receiver(Protocol):
    """An upstream that other systems send messages to, at `/hooks/SERVER/HOOK`.

    The gateway checks a message, keeps it in its ledger, acknowledges it, and only then has it taken in.
    """

    def hooks(self) -> Mapping[str, int]:
        """Return its hooks by name, and how many messages of each it wants back after a restart."""
        ...

    def check(self, hook: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> Delivery:
        """Return the message that a request is. Header names are lower-case.

        Raises:
            Rejected: it is not from who it has to be, or not of the form it has to have. The text is for the sender.
        """
        ...

    def take(self, hook: str, delivery: Delivery, *, again: bool = False) -> None:
        """Take a message in; `again` says that it was taken in before the gateway's last start."""
        ...
