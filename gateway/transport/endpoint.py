"""`/mcp` and `/mcp/NAME`: Streamable HTTP for 2026-07-28 and for the handshake eras before it, on one path.

The hot path is `tools/call`: one parse, the pipeline, one dump.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from gateway.model.errors import GatewayError, IdentityFault, RequestFault
from gateway.model.operation import ACTION_OF, TOOL_CALL
from gateway.model.task import TASK_METHODS
from gateway.transport.exchange import Exchange
from gateway.transport.guard import Guard
from gateway.transport.head import Head
from gateway.transport.kernel import Answer, Kernel
from gateway.transport.legacy import Legacy
from gateway.transport.lookout import Lookout
from gateway.transport.modern import Modern
from gateway.transport.wire import (
    ClientGone,
    HttpRefusal,
    RpcError,
    RpcRequest,
    read_body,
    read_message,
    send_status,
)

__all__ = ["Door", "Eras", "McpEndpoint"]

_LOG = logging.getLogger(__name__)
_UNAUTHENTICATED: Final = -32001  # outside the range the specification reserves for itself
_ROOT: Final = "/mcp"
_GOVERNED: Final = frozenset({TOOL_CALL, *ACTION_OF, *TASK_METHODS, "subscriptions/listen"})
"""What a policy decides on."""


class Door:
    """What every request passes: guard, the challenge for strangers, a note of delivered answers."""

    def __init__(
        self,
        guard: Guard,
        challenge: Callable[[IdentityFault, bool], str],
        delivered: Callable[[str, int], Awaitable[None]],
        *,
        body_limit: int = 4 * 1024 * 1024,
    ) -> None:
        self.guard = guard
        self.challenge = challenge
        self.delivered = delivered
        self.body_limit = body_limit


class Eras:
    """Who answers in which era."""

    def __init__(self, modern: Modern, legacy: Legacy) -> None:
        self.modern = modern
        self.legacy = legacy


class McpEndpoint:
    """The ASGI application behind `/mcp` and what is below it."""

    def __init__(self, kernel: Kernel, eras: Eras, door: Door) -> None:
        self._kernel = kernel
        self._eras = eras
        self._door = door
        self._lookout = Lookout()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        exchange = Exchange(scope, receive, send, scope["path"][len(_ROOT) + 1 :].rstrip("/"), self._lookout)
        return self._post(exchange) if scope["method"] == "POST" else self._serve(exchange, scope["method"])

    async def _serve(self, exchange: Exchange, verb: str) -> None:
        try:
            self._door.guard.check(exchange.head)
            if verb in {"GET", "DELETE"} and not exchange.head.modern:
                legacy = self._eras.legacy
                await (legacy.get if verb == "GET" else legacy.delete)(exchange)
            else:
                await send_status(exchange.send, 405, (("allow", "GET, POST, DELETE"),))
        except Exception as error:  # noqa: BLE001 - the transport edge
            await self._failed(exchange, error)

    async def _post(self, exchange: Exchange) -> None:
        """Answer one message. What a known caller meant as something governed goes on record if it is refused here."""
        head = exchange.head
        try:
            if not head.cleared:
                self._clear(head)
            cycle, limit = exchange.cycle, self._door.body_limit
            if cycle is not None and len(cycle.body) <= limit:
                raw = cycle.take_body()
            else:
                raw = await read_body(exchange.receive, head.headers, limit)
            request = read_message(raw, responses=not head.modern)
            exchange.asks(request)
            if request.answers:
                await self._eras.legacy.response(exchange, request.body)
                return
            said = await (self._eras.modern if head.modern else self._eras.legacy).post(exchange, request)
            if said is None:
                return
            claimed = said[0].claimed_call()
            if claimed:
                await self._send(exchange, claimed, *said)
            elif not exchange.answered_now(said[1]):
                await exchange.answer(200, said[1])
        except Exception as error:  # noqa: BLE001 - the transport edge
            await self._failed(exchange, error)

    def _clear(self, head: Head) -> None:
        """Let a head pass as that of a POST, now and from now on. Raises `HttpRefusal`."""
        try:
            self._door.guard.check(head)
            self._door.guard.check_post(head.headers)
        except HttpRefusal as refusal:
            refusal.recorded = True  # who comes in this way is not even asked who they are
            raise
        head.cleared = True

    async def _failed(self, exchange: Exchange, error: Exception) -> None:
        """Answer with what went wrong. The client gets an answer whatever it was."""
        try:
            await self._raise(exchange, error)
        except ClientGone:
            return
        except HttpRefusal as refusal:
            body = {"code": refusal.code, "message": refusal.message}
            await self._error(exchange, refusal.status, body, refusal.headers)
        except RpcError as refusal:
            body = {"code": refusal.code, "message": refusal.message}
            if refusal.data is not None:
                body["data"] = refusal.data
            await self._error(exchange, refusal.status if exchange.head.modern else 200, body)
        except IdentityFault as fault:
            body = {"code": _UNAUTHENTICATED, "message": fault.message, "data": {"code": fault.code}}
            challenge = self._door.challenge(fault, "authorization" in exchange.headers)
            await self._error(exchange, 401, body, (("www-authenticate", challenge),))
        except GatewayError as fault:
            await self._error(exchange, 503, {"code": -32603, "message": fault.message, "data": {"code": fault.code}})
        except Exception:  # noqa: BLE001 - the transport edge: the client gets an answer whatever it was
            _LOG.exception("the MCP endpoint failed in a way nobody foresaw")
            await self._error(exchange, 500, {"code": -32603, "message": "Internal error."})
        finally:
            del error  # as in `_raise`

    async def _raise(self, exchange: Exchange, error: Exception) -> None:
        """Raise what went wrong, once it is on record that a POST was refused."""
        asked = exchange.request
        is_governed = exchange.scope["method"] == "POST" and (asked is None or asked.method in _GOVERNED)
        try:
            if is_governed and isinstance(error, HttpRefusal | RpcError) and not error.recorded:
                await self._kernel.refuse(exchange.caller(), _named(asked), _as_fault(error))
            raise error
        finally:
            del error  # it knows this frame, and would be kept by it

    async def _send(self, exchange: Exchange, claimed: str, answer: Answer, body: Mapping[str, Any]) -> None:
        """Send the answer to a claimed call, and note that it was delivered, if it was."""
        gone = await exchange.client_gone()
        read = partial(self._door.delivered, claimed, answer.attempt)
        if not exchange.answered_now(body) and await exchange.answer(200, body, read=read):
            return  # at the end of a stream, and noted when the client got that
        if not gone:
            await read()

    async def _error(
        self, exchange: Exchange, status: int, error: Mapping[str, Any], headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        request_id = exchange.request.id if exchange.request is not None else None
        await exchange.answer(status, {"jsonrpc": "2.0", "id": request_id, "error": error}, headers)


def _named(request: RpcRequest | None) -> Any:
    """Return what a refused message was about, as the ledger names it."""
    if request is None:
        return None
    return request.params.get("name") if request.method == TOOL_CALL else request.method


def _as_fault(refusal: HttpRefusal | RpcError) -> RequestFault:
    too_large = isinstance(refusal, HttpRefusal) and refusal.status == 413
    return RequestFault(refusal.message, code="too_large" if too_large else "invalid_arguments")
