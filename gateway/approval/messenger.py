"""Tells a webhook that people are asked. No call waits for it; what could not be told is told again."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.approval.approvals import Approvals
from gateway.approval.values import Approval, ApprovalRefused
from gateway.approval.webhook import signed
from gateway.codec import dump
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    import httpx2

__all__ = ["Messenger", "Receiver"]

_LOG = logging.getLogger(__name__)
_DELAYS_S: Final = (2.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""How long after each failed attempt the next one is made; after the last, nothing is told."""
_EVERYTHING: Final = 2**31 - 1
_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where it is told, and with which key it is signed."""

    url: str
    key: bytes = field(repr=False)


class Messenger:
    """Tells one receiver that people are asked, and that an answer is overdue.

    A message's id is the approval's (and `.overdue`), so that one that is told twice is known for what it is.

    Nothing is kept but ids: what is sent is read when it is sent, and what has been decided meanwhile is not told.
    """

    def __init__(
        self, receiver: Receiver, approvals: Approvals, clock: Clock, describe: Callable[[Approval], Mapping[str, Any]]
    ) -> None:
        self._receiver = receiver
        self._approvals = approvals
        self._clock = clock
        self._describe = describe
        self._new: asyncio.Queue[str] = asyncio.Queue()
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def tell(self, approval: Approval) -> None:
        """Have it told that people are asked, or are late. Never waits."""
        self._new.put_nowait(approval.id)

    async def run(self) -> None:
        """Tell, until cancelled: first what a gateway that stopped may have left untold."""
        import httpx2  # which only those gateways need that tell somebody something

        client = httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)
        async with client as http, asyncio.TaskGroup() as group:
            for approval_id in await self._left_over():
                group.create_task(self._deliver(http, approval_id))
            while True:
                group.create_task(self._deliver(http, await self._new.get()))

    async def _left_over(self) -> list[str]:
        try:
            return [approval.id for approval in await self._approvals.listed(limit=_EVERYTHING)]
        except GatewayError as error:
            _LOG.error("what people are asked cannot be read, so it is not told again: %s", error.detail)
            return []

    async def _deliver(self, http: "httpx2.AsyncClient", approval_id: str) -> None:
        for delay_s in (*_DELAYS_S, None):
            try:
                approval = await self._approvals.find(approval_id)
                if not approval.is_pending(self._clock.now_ms()):
                    return
                async with self._turn:
                    why = await self._attempt(http, approval)
            except (GatewayError, ApprovalRefused) as error:
                why = str(error)
            if not why:
                return
            if delay_s is None:
                _LOG.error("the webhook was not told of %s, and is not any more: %s", approval_id, why)
                return
            _LOG.warning("the webhook was not told of %s, again in %g s: %s", approval_id, delay_s, why)
            await self._clock.sleep(delay_s)

    async def _attempt(self, http: "httpx2.AsyncClient", approval: Approval) -> str:
        """Return why the receiver did not take the message, or nothing."""
        import httpx2

        now = self._clock.now_ms()
        at_ms = approval.due_ms if approval.overdue else approval.asked_ms
        when = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        what, message = "approval.asked", approval.id
        if approval.overdue:
            what, message = "approval.overdue", f"{approval.id}.overdue"
        body = dump({"type": what, "timestamp": when, "data": self._describe(approval)})
        try:
            reply = await http.post(
                self._receiver.url, content=body, headers=signed(self._receiver.key, message, now // 1000, body)
            )
        except httpx2.HTTPError as error:
            return type(error).__name__
        return "" if reply.is_success else f"it answered {reply.status_code}"
