"""Stage 1: who is calling."""

from collections.abc import Coroutine
from typing import Any

from gateway.identity.authenticator import Authenticator
from gateway.model.call import Call
from gateway.model.identity import Identity

__all__ = ["Identify"]


class Identify:
    """Sets `call.identity`; an unknown caller is refused with IdentityFault.

    Whoever names a run in which work was handed on to it is a child there: it may do that work and nothing else.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def __call__(self, call: Call) -> Coroutine[Any, Any, None] | None:
        request = call.request
        known = request.known
        if known is not None:  # nearly always
            if request.run is None:
                call.identity = known
            else:
                self._found(call, known)
            return None
        promised = request.promised
        if promised is not None and promised.identity is not None:
            call.identity = self._authenticator.in_force(promised.identity)
            return None
        itself = request.undoes or request.repeats or request.dry_run
        if itself is not None and itself.identity is not None:
            call.identity = self._authenticator.stored(itself.identity)
            return None
        known = self._authenticator.verified(request.caller.credential)
        if known is None:
            return self._identify(call)
        self._found(call, known)
        return None

    async def _identify(self, call: Call) -> None:
        caller = call.request.caller
        self._found(call, await self._authenticator.identify(caller.credential, loopback=caller.loopback))

    def _found(self, call: Call, known: Identity) -> None:
        run = call.request.run
        task = call.request.task
        if run is None:
            call.identity = known
        elif call.request.promised is not None or (task is not None and task.handed):
            call.identity = self._authenticator.handed(known, run)  # it is work that was handed on, or nothing
        else:
            call.identity = self._authenticator.in_run(known, run)
