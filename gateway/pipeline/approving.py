"""Approvals, put together: what decides about them, what parks calls for them, what people do with them."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.approval.approvals import Approvals, Kept
from gateway.approval.config import ApprovalsSection, milliseconds
from gateway.approval.own_tools import WAIT_TOOL
from gateway.approval.ring import Ring
from gateway.approval.values import Approval
from gateway.ledger.entries import Redact
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import GatewayError
from gateway.pipeline.consent import Consents
from gateway.pipeline.desk import Desk
from gateway.pipeline.parking import Parking, Parlour
from gateway.pipeline.rules import RulesInForce
from gateway.store.approvals import ApprovalStore

__all__ = ["Approving", "Ground"]

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 5.0
OwnTool = Callable[[Any], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What approvals stand on."""

    store: ApprovalStore
    rules: RulesInForce
    clock: Clock
    ids: IdSource
    redact: Redact


class Approving:
    """The approvals of one gateway. `told` hears of each that is opened."""

    def __init__(self, ground: Ground, section: ApprovalsSection) -> None:
        kept = Kept(milliseconds(section.expires), milliseconds(section.use_within))
        self._clock = ground.clock
        self.approvals = Approvals(ground.store, ground.clock, ground.ids, Ring(), kept)
        self.consents = Consents(ground.rules, self.approvals)
        self._parlour = Parlour(ground.rules, self.approvals, ground.clock, ground.redact)
        self.parking = Parking(self._parlour, section.wait_s)
        self.desk = Desk(ground.rules, self.approvals, ground.clock, ground.redact)

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries the gateway's own tool out, by its name."""
        return {WAIT_TOOL: self.parking.wait}

    def tell(self, told: Callable[[Approval], None]) -> None:
        """Have `told` hear of every approval that is opened from now on."""
        self._parlour.told = told
        self.desk.told = told

    async def watch(self) -> None:
        """Put on record what ends unused, until cancelled."""
        while True:
            with contextlib.suppress(GatewayError):
                await self.approvals.expire()
            await self._clock.sleep(_SWEEP_S)
