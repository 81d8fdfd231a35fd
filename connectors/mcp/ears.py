"""Whom it is for, what a server says beside its answers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from connectors.mcp.wire import Ear, number_of
from gateway.connector import Notice

__all__ = ["ACKNOWLEDGED", "SUBSCRIPTION_ID", "Ears"]

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
_PROGRESS: Final = "notifications/progress"
_CANCELLED: Final = "notifications/cancelled"
_MESSAGE: Final = "notifications/message"
_COMPLETE: Final = "notifications/elicitation/complete"
_NOTICES: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tasks/status",
        "notifications/tasks",
    }
)


class Ears:
    """The requests under way on one connection, as far as they listen.

    On a connection of one client alone, what names no request is for the latest of that client's. On one that several
    share it could be for any of them, and is dropped.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self.listening: dict[int, Ear] = {}
        """Which ear listens for a request, and for the first one that it listened for."""
        self._standing: Ear | None = None
        self._notice: Notice = lambda method, params: None
        self._between: Notice = lambda method, params: None

    def on_notice(self, listener: Notice) -> None:
        """Have `listener` told of what belongs to no request."""
        self._notice = listener

    def on_between(self, listener: Notice) -> None:
        """Have `listener` told of log messages while no request listens."""
        self._between = listener

    def enter(self, number: int, ear: Ear) -> None:
        """Have `ear` listen for request `number`, and for the first one that it listened for."""
        self.listening[number] = ear
        if ear.number:
            self.listening[ear.number] = ear
        else:
            ear.number = number

    def leave(self, number: int) -> None:
        """End request `number`, and what its ear still has open."""
        ear = self.listening.pop(number, None)
        if ear is not None:
            if ear.number != number:
                self.listening.pop(ear.number, None)
            if ear.still_open:
                ear.end()

    @contextmanager
    def standing(self, ear: Ear) -> Iterator[None]:
        """Have `ear` take what names no request while no request listens."""
        self._standing = ear
        try:
            yield
        finally:
            self._standing = None
            ear.end()

    def hear(self, message: Mapping[str, Any], own: Ear | None = None) -> None:
        """Hand a notification to whom it is for; `own` is the request on whose stream it came, if it came on one."""
        method, params = message.get("method"), message.get("params")
        if not isinstance(method, str):
            return
        if not isinstance(params, dict):
            params = {}
        if method in _NOTICES:
            self._notice(method, params)
        elif method == _CANCELLED:
            self._withdraw(params.get("requestId"))
        elif (ear := own or self._named(method, params)) is not None:
            ear.hear(method, params)
        elif method == _COMPLETE:
            self._notice(method, params)
        elif method == _MESSAGE:
            self._between(method, params)

    def asked(self) -> Ear | None:
        """Return whom a request of the server is for that came on no request's stream."""
        return next(reversed(self.listening.values()), self._standing) if self._alone else None

    def _named(self, method: str, params: Mapping[str, Any]) -> Ear | None:
        number: object = None
        if method == ACKNOWLEDGED:
            meta = params.get("_meta")
            number = meta.get(SUBSCRIPTION_ID) if isinstance(meta, dict) else None
        elif method == _PROGRESS:
            number = params.get("progressToken")
        else:
            return self.asked()
        named = number_of(number)
        return None if named is None else self.listening.get(named)

    def _withdraw(self, identity: object) -> None:
        for ear in (*self.listening.values(), *((self._standing,) if self._standing else ())):
            if ear.withdraw(identity):
                return
