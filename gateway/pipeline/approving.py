"""Approvals, put together: what decides about them, what parks calls for them, what people do with them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.approval.approvals import Approvals, Kept
from gateway.approval.config import ApprovalsSection, WebhookSection
from gateway.approval.messenger import Messenger, Receiver
from gateway.approval.own_tools import ESCALATE_TOOL, EXECUTE_TOOL, WAIT_TOOL
from gateway.approval.ring import Ring
from gateway.approval.values import Approval
from gateway.approval.webhook import key_of
from gateway.credentials.site import Site
from gateway.ledger.entries import Redact
from gateway.model.clock import Clock, IdSource
from gateway.model.duration import milliseconds
from gateway.model.errors import GatewayError
from gateway.pipeline.autonomy import Autonomy
from gateway.pipeline.consent import Consents
from gateway.pipeline.desk import Desk, described
from gateway.pipeline.drafting import Drafting
from gateway.pipeline.eliciting import Eliciting
from gateway.pipeline.open_access import OpenAccess
from gateway.pipeline.parking import Parking, Parlour
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.safe import Safe
from gateway.store.ports import Store

__all__ = ["Approving", "Ground"]

_LOG = logging.getLogger(__name__)
_SWEEP_S: Final = 5.0
OwnTool = Callable[[Any], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What approvals stand on."""

    store: Store
    rules: RulesInForce
    clock: Clock
    ids: IdSource
    redact: Redact


class Approving:
    """The approvals of one gateway, by the `approvals:` section it started with."""

    def __init__(self, ground: Ground, section: ApprovalsSection) -> None:
        expires = milliseconds(section.expires)
        due = expires if section.answer_within is None else milliseconds(section.answer_within)
        kept = Kept(expires, milliseconds(section.use_within), due)
        self._clock = ground.clock
        self.approvals = Approvals(ground.store, ground.clock, ground.ids, Ring(), kept)
        self.consents = Consents(ground.rules, self.approvals)
        self.access = OpenAccess(ground.rules, self.approvals, ground.clock)
        self._parlour = Parlour(ground.rules, self.approvals, ground.clock, ground.redact, ground.store)
        self.desk = Desk(self._parlour)
        self.eliciting = Eliciting(self._parlour, self.desk, section.elicitation)
        self.parking = Parking(self._parlour, section.wait_s, self.eliciting.ask if section.elicitation else None)
        self.autonomy = Autonomy(ground.store, self.approvals, self.desk.through("local-cli"), section.autonomy)
        self.drafting = Drafting(self._parlour, self.parking)
        self._messenger = self._messenger_to(section.webhook) if section.webhook is not None else None
        if self._messenger is not None:
            self.tell(self._messenger.tell)

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries the gateway's own tools out, by name."""
        return {
            WAIT_TOOL: self.parking.wait,
            EXECUTE_TOOL: self.drafting.execute,
            ESCALATE_TOOL: self.parking.answer,
        }

    def keeps_drafts_in(self, safe: Safe) -> None:
        """Have what drafts call with, where it holds secrets, be kept there."""
        self._parlour.safe = safe

    def found_at(self, site: Site) -> None:
        """Have people be sent to the pages there."""
        self._parlour.site = site

    def tell(self, told: Callable[[Approval], None]) -> None:
        """Have `told` hear of every approval that is opened from now on."""
        self._parlour.told = told

    def _messenger_to(self, webhook: WebhookSection) -> Messenger:
        receiver = Receiver(webhook.url, key_of(webhook.secret.get_secret_value()))
        return Messenger(receiver, self.approvals, self._clock, self._told)

    def _told(self, approval: Approval) -> Mapping[str, Any]:
        url = self._parlour.page_of(approval.id)
        return {**described(approval, self._clock.now_ms()), **({"url": url} if url else {})}

    async def watch(self) -> None:
        """Put on record what ends unused or undeserved, and tell the webhook of what is asked, until cancelled.

        And see which access is open.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            group.create_task(self.access.watch())
            if self._messenger is not None:
                group.create_task(self._messenger.run())

    async def _sweep(self) -> None:
        while True:
            try:
                await self.approvals.expire()
                for late in await self.approvals.overdue():
                    self._parlour.told(late)
                await self.autonomy.demote()
            except GatewayError as error:
                _LOG.error("which approvals have ended cannot be put on record: %s %s", error.code, error.detail)
            await self._clock.sleep(_SWEEP_S)
