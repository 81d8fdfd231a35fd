"""A session's client says that its roots changed: the servers that listed them may list them anew."""

import asyncio
from dataclasses import replace
from typing import Final

from gateway.model.errors import GatewayError
from gateway.model.operation import LIST_ROOTS, operation
from gateway.transport.back import OwnBack
from gateway.transport.kernel import Asked, Kernel
from gateway.transport.sessions import Session
from gateway.transport.wire import HttpRefusal, RpcError

__all__ = ["RootsNews"]

_SETTLE_S: Final = 0.2


class RootsNews:
    """Tells servers, of a burst of changes once; each time as far as a policy lets the server list the roots now."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def changed(self, session: Session, asked: Asked) -> None:
        """Take a client's word for it. One that did not say in the handshake that it would is not believed."""
        if not (session.roots_listed_by and session.capabilities.get("roots", {}).get("listChanged") is True):
            return
        if session.id in self._telling:
            self._again.add(session.id)
            return
        telling = asyncio.ensure_future(self._tell(session, replace(asked, back=OwnBack(session))))
        self._telling[session.id] = telling
        telling.add_done_callback(lambda _: self._telling.pop(session.id))

    def stop(self) -> None:
        """Tell of nothing more: the gateway stops."""
        for telling in self._telling.values():
            telling.cancel()

    async def _tell(self, session: Session, asked: Asked) -> None:
        self._again.add(session.id)
        while session.id in self._again:
            await asyncio.sleep(_SETTLE_S)
            self._again.discard(session.id)
            if not session.ended:
                await asyncio.gather(*(self._tell_one(asked, server) for server in sorted(session.roots_listed_by)))

    async def _tell_one(self, asked: Asked, server: str) -> None:
        try:
            await self._kernel.govern(asked, operation(server, LIST_ROOTS), {})
        except (RpcError, HttpRefusal, GatewayError):
            return  # it is on record
