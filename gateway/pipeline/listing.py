"""What an agent may see: the catalog through the eyes of the policies."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.identity.authenticator import Authenticator
from gateway.model.errors import GatewayError, IdentityFault
from gateway.model.identity import ClientInfo, Credential, Identity
from gateway.model.request import Caller, CallRequest
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.views import View, Views
from gateway.resilience.admission import Admission

__all__ = ["Listing", "Refused", "Sighted"]


Refused = Callable[[CallRequest, IdentityFault], Awaitable[None]]
"""Puts on record that somebody unknown asked for something."""

Sighted = Callable[[Identity, ClientInfo], None]
"""Notes for the inventory that an agent is there."""


class Listing:
    """Lists tools per agent: only those some call could be allowed on, and none in quarantine (see `Views`).

    `granted` tells the tools that people have opened to an agent for a while.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        admission: Admission,
        rules: RulesInForce,
        refused: Refused,
        sighted: Sighted,
    ) -> None:
        self.granted: Callable[[Identity], frozenset[str]] = lambda _: frozenset()
        self._authenticator = authenticator
        self._admission = admission
        self._rules = rules
        self._refused = refused
        self._sighted = sighted
        self._views = Views(rules.current)

    def known_now(self, credential: Credential) -> Identity | None:
        """Return who is calling where that takes no waiting, and note nothing; None means: await `identify`.

        For a tool call, which the pipeline notes. Raises `StoreFault`.
        """
        return self._authenticator.verified(credential)

    async def identify(self, caller: Caller, asked: str) -> Identity:
        """Return who is calling; `asked` names what was asked for, in the record of a refusal.

        Raises:
            IdentityFault: nobody knows the caller.
        """
        identity = self._authenticator.verified(caller.credential)
        if identity is None:
            try:
                identity = await self._authenticator.identify(caller.credential, loopback=caller.loopback)
            except IdentityFault as fault:
                await self._refused(CallRequest(asked, {}, caller), fault)
                raise
        self._sighted(identity, caller.client)  # not admitted yet: a call is counted in the pipeline, and only there
        return identity

    async def known(self, caller: Caller) -> Identity | None:
        """Return who a caller whose stream is open is by now, or None where that is nobody any more."""
        try:
            return await self._authenticator.identify(caller.credential, loopback=caller.loopback)
        except GatewayError:
            return None

    def admit(self, identity: Identity) -> None:
        """Let one listing in, and count it. Raises `LimitFault`."""
        self._admission.check(identity)

    def tools(self, identity: Identity, endpoint: str = "") -> list[Mapping[str, Any]]:
        """Return the MCP tool objects this agent is listed at an endpoint, under their wire names, by name.

        Raises `LimitFault`.
        """
        self._admission.check(identity)
        return self.view(identity, endpoint).listed

    def text(self, identity: Identity, endpoint: str = "") -> Any:
        """Return the same as JSON that `codec.dump` takes as it is. Raises `LimitFault`."""
        self._admission.check(identity)
        return self._current().text(identity, endpoint, self.granted(identity))

    def view(self, identity: Identity, endpoint: str = "") -> View:
        """Return what this agent may see at an endpoint."""
        return self._current().of(identity, endpoint, self.granted(identity))

    def _current(self) -> Views:
        if self._rules.current is not self._views.rules:
            self._views = Views(self._rules.current)
        return self._views
