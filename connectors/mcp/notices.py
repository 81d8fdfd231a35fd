"""What a server says that belongs to no call, told to whoever listens, however often it is said."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.ears import SUBSCRIPTION_ID
from gateway.connector import Notice

__all__ = ["Notices"]

_QUIET_S: Final = 0.05
_MOST_KEYS: Final = 1024
_TOLD_BY: Final = ("uri", "elicitationId", "taskId")


class Notices:
    """Tells the first of several notices of the same thing at once, and the last of those within 50 ms after that.

    Notices of more than 1,024 different things within 50 ms are dropped.
    """

    def __init__(self) -> None:
        self._listeners: list[Notice] = []
        self._latest: dict[tuple[str, object], Mapping[str, Any] | None] = {}

    def on_notice(self, listener: Notice) -> None:
        """Have `listener` told."""
        self._listeners.append(listener)

    def put(self, method: str, params: Mapping[str, Any]) -> None:
        """Take a notice."""
        key = (method, next((params[name] for name in _TOLD_BY if isinstance(params.get(name), str)), None))
        if key in self._latest:
            self._latest[key] = params
        elif len(self._latest) < _MOST_KEYS or key[1] is None:
            self._latest[key] = None
            asyncio.get_running_loop().call_later(_QUIET_S, self._over, key)
            self._tell(method, params)

    def _over(self, key: tuple[str, object]) -> None:
        latest = self._latest.pop(key)
        if latest is not None:
            self.put(key[0], latest)

    def _tell(self, method: str, params: Mapping[str, Any]) -> None:
        meta = params.get("_meta")
        if isinstance(meta, dict) and SUBSCRIPTION_ID in meta:  # a number of this connection's
            params = {**params, "_meta": {name: value for name, value in meta.items() if name != SUBSCRIPTION_ID}}
        for listener in self._listeners:
            listener(method, params)
