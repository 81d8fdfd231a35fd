"""What people have opened for a while, as far as lists show it: a call is held to what the store says just then."""

from collections.abc import Callable, Sequence
from typing import Final

from gateway.approval.approvals import Approvals
from gateway.approval.values import Approval
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError
from gateway.model.identity import Identity
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import RulesInForce

__all__ = ["OpenAccess"]

_POLL_S: Final = 1.0
_NOTHING: Final[frozenset[str]] = frozenset()


class OpenAccess:
    """The grants that can be used, read once a second; nothing is read where no policy asks for any."""

    def __init__(self, rules: RulesInForce, approvals: Approvals, clock: Clock) -> None:
        self._changed: Callable[[], None] = lambda: None
        self._rules = rules
        self._approvals = approvals
        self._clock = clock
        self._open: Sequence[Approval] = ()

    def shown_in(self, listing: Listing, changed: Callable[[], None]) -> None:
        """Have lists show what is open; `changed` hears that it is something else."""
        listing.granted, self._changed = self.to, changed

    def to(self, identity: Identity) -> frozenset[str]:
        """Return the tools of which some calls are open to an agent, for the user it acts for."""
        if not self._open:
            return _NOTHING
        now, users = self._clock.now_ms(), {"", identity.on_behalf_of or ""}
        return frozenset(
            tool
            for grant in self._open
            if grant.agent == identity.agent and grant.on_behalf_of in users and grant.is_usable(now)
            for tool in grant.asked["tools"]
        )

    async def refresh(self) -> None:
        """Read which grants there are; where they cannot be read there are none."""
        found: Sequence[Approval] = ()
        if self._rules.current.bundle.reads_grants:
            try:
                found = await self._approvals.standing(access=True)
            except GatewayError:
                found = ()
        before, self._open = self._open, found
        if [one.id for one in before] != [one.id for one in found]:
            self._changed()

    async def watch(self) -> None:
        """Keep the picture fresh until cancelled."""
        while True:
            await self.refresh()
            await self._clock.sleep(_POLL_S)
