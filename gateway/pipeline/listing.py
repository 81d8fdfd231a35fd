"""What an agent may see: the catalog through the eyes of the policies."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.identity.authenticator import Authenticator
from gateway.model.errors import IdentityFault
from gateway.model.identity import ClientInfo, Identity
from gateway.model.request import Caller, CallRequest
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.policy import visible
from gateway.resilience.admission import Admission

__all__ = ["Listing", "Refused", "Sighted"]


Refused = Callable[[CallRequest, IdentityFault], Awaitable[None]]
"""Puts on record that somebody unknown asked for something."""

Sighted = Callable[[Identity, ClientInfo], None]
"""Notes for the inventory that an agent is there."""


class Listing:
    """Lists tools per agent: only those some call could be allowed on, and none in quarantine."""

    def __init__(
        self,
        authenticator: Authenticator,
        admission: Admission,
        rules: RulesInForce,
        refused: Refused,
        sighted: Sighted,
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._rules = rules
        self._refused = refused
        self._sighted = sighted
        self._seen: dict[tuple[Identity, str], list[Mapping[str, Any]]] = {}
        self._seen_under: Rules | None = None

    async def identify(self, caller: Caller, asked: str) -> Identity:
        """Return who is calling; `asked` names what was asked for, in the record of a refusal.

        Raises:
            IdentityFault: nobody knows the caller.
        """
        try:
            identity = await self._authenticator.identify(caller.credential, loopback=caller.loopback)
        except IdentityFault as fault:
            await self._refused(CallRequest(asked, {}, caller), fault)
            raise
        self._sighted(identity, caller.client)  # not admitted yet: a call is counted in the pipeline, and only there
        return identity

    async def knows(self, caller: Caller) -> bool:
        """Tell whether a caller whose stream is open is still known."""
        try:
            await self._authenticator.identify(caller.credential, loopback=caller.loopback)
        except IdentityFault:
            return False
        return True

    def tools(self, identity: Identity, endpoint: str = "") -> list[Mapping[str, Any]]:
        """Return the MCP tool objects this agent may see at an endpoint, under their wire names, by name.

        Raises `LimitFault`.
        """
        self._admission.check(identity)
        rules = self._rules.current
        if rules is not self._seen_under:
            self._seen, self._seen_under = {}, rules
        listed = self._seen.get((identity, endpoint))
        if listed is None:
            listed = [
                {**tool.definition, "name": tool.wire_name}
                for tool in rules.catalog_at(endpoint).tools()
                if not tool.quarantined and visible(rules.bundle, identity, tool)
            ]
            if len(self._seen) > 1024:
                self._seen.clear()
            self._seen[identity, endpoint] = listed
        return listed
