"""Stage 1: who is calling."""

from gateway.identity.authenticator import Authenticator
from gateway.model.call import Call

__all__ = ["Identify"]


class Identify:
    """Sets `call.identity`; an unknown caller is refused with IdentityFault.

    Whoever names a run in which work was handed on to it is a child there: it may do that work and nothing else.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, call: Call) -> None:
        promised = call.request.promised
        if promised is not None and promised.identity is not None:
            call.identity = self._authenticator.in_force(promised.identity)
            return
        itself = call.request.undoes or call.request.repeats or call.request.dry_run
        if itself is not None and itself.identity is not None:
            call.identity = self._authenticator.stored(itself.identity)
            return
        caller = call.request.caller
        known = self._authenticator.verified(caller.credential)
        if known is None:
            known = await self._authenticator.identify(caller.credential, loopback=caller.loopback)
        call.identity = known if call.request.run is None else self._authenticator.in_run(known, call.request.run)
