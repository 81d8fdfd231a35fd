"""`/mcp`: Streamable HTTP for 2026-07-28 and for the handshake eras before it, on one path.

The hot path is `tools/call`: one parse, the pipeline, one dump. The SDK is asked only what it publishes for servers:
the classification of modern requests and the rules for their routing headers (`mcp.shared.inbound`).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS as STATUS
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from starlette.types import Receive, Scope, Send

from gateway.model.errors import GatewayError, IdentityFault, RequestFault
from gateway.model.request import Caller
from gateway.transport.exchange import Exchange, client_info
from gateway.transport.guard import Guard
from gateway.transport.kernel import SERVER_INFO, Answer, Kernel
from gateway.transport.sessions import Session, Sessions
from gateway.transport.wire import (
    ClientGone,
    HttpRefusal,
    RpcError,
    RpcRequest,
    headers_of,
    read_body,
    read_message,
    send_json,
    send_status,
)

__all__ = ["Door", "McpEndpoint"]

_LOG = logging.getLogger(__name__)
_SERVER_INFO_META: Final = "io.modelcontextprotocol/serverInfo"
_CLIENT_INFO_META: Final = "io.modelcontextprotocol/clientInfo"
_METHOD_NOT_FOUND: Final = -32601
_UNAUTHENTICATED: Final = -32001  # outside the range the specification reserves for itself
_MIRROR_PREFIX: Final = "mcp-param-"
_SESSION_HEADER: Final = "mcp-session-id"
_INSTRUCTIONS: Final = (
    "Calls go through Toolgate, which checks each against the operator's policies. "
    "A refusal says what is missing: do that first, then repeat the call."
)


class Door:
    """What every request passes: guard, sessions, the challenge for strangers, a note of delivered answers."""

    def __init__(
        self,
        guard: Guard,
        sessions: Sessions,
        challenge: Callable[[IdentityFault, bool], str],
        delivered: Callable[[str], Awaitable[None]],
        *,
        body_limit: int = 4 * 1024 * 1024,
    ) -> None:
        self.guard = guard
        self.sessions = sessions
        self.challenge = challenge
        self.delivered = delivered
        self.body_limit = body_limit


class McpEndpoint:
    """The ASGI application behind `/mcp`."""

    def __init__(self, kernel: Kernel, door: Door) -> None:
        self._kernel = kernel
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        exchange = Exchange(scope, receive, send, headers, None)
        try:
            self._door.guard.check(scope["headers"], headers)
            if scope["method"] == "POST":
                await self._post(exchange)
            elif scope["method"] == "DELETE":
                await self._delete(exchange)
            else:
                await send_status(send, 405, (("allow", "POST, DELETE"),))
        except ClientGone:
            return
        except HttpRefusal as refusal:
            error = {"code": refusal.code, "message": refusal.message}
            await self._error(exchange, refusal.status, error, refusal.headers)
        except RpcError as error:
            modern = _is_modern(headers)
            body = {"code": error.code, "message": error.message}
            if error.data is not None:
                body["data"] = error.data
            await self._error(exchange, error.status if modern else 200, body)
        except IdentityFault as fault:
            body = {"code": _UNAUTHENTICATED, "message": fault.message, "data": {"code": fault.code}}
            challenge = self._door.challenge(fault, "authorization" in headers)
            await self._error(exchange, 401, body, (("www-authenticate", challenge),))
        except GatewayError as fault:
            await self._error(exchange, 503, {"code": -32603, "message": fault.message, "data": {"code": fault.code}})
        except Exception:  # noqa: BLE001 - the transport edge: the client gets an answer whatever it was
            _LOG.exception("the MCP endpoint failed in a way nobody foresaw")
            await self._error(exchange, 500, {"code": -32603, "message": "Internal error."})

    async def _post(self, exchange: Exchange) -> None:
        """Answer one message. What a known caller meant as a call, and is none, goes on record like a refused call."""
        self._door.guard.check_post(exchange.headers)
        try:
            exchange.request = request = read_message(
                await read_body(exchange.receive, exchange.headers, self._door.body_limit)
            )
            await (self._modern if _is_modern(exchange.headers) else self._legacy)(exchange, request)
        except (HttpRefusal, RpcError) as refusal:
            asked = exchange.request
            if asked is None or asked.method == "tools/call":
                name = asked.params.get("name") if asked is not None else None
                await self._kernel.refuse(exchange.caller(), name, _as_fault(refusal))
            raise

    async def _error(
        self, exchange: Exchange, status: int, error: Mapping[str, Any], headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        request_id = exchange.request.id if exchange.request is not None else None
        await send_json(exchange.send, status, {"jsonrpc": "2.0", "id": request_id, "error": error}, headers)

    # 2026-07-28: every request stands alone

    async def _modern(self, exchange: Exchange, request: RpcRequest) -> None:
        headers = exchange.headers
        caller = exchange.caller(headers["mcp-protocol-version"], client_info(exchange.meta.get(_CLIENT_INFO_META)))
        await self._kernel.identify(caller, request.method, request.params)
        if request.id is None:
            if headers["mcp-protocol-version"] not in MODERN_PROTOCOL_VERSIONS:
                raise RpcError(-32022, "Unsupported protocol version", data={"supported": [*MODERN_PROTOCOL_VERSIONS]})
            await send_status(exchange.send, 202)
            return
        verdict = classify_inbound_request(request.body, headers=headers)
        if isinstance(verdict, InboundLadderRejection):
            raise _rejected(verdict)
        answer = await self._answer_modern(exchange, request, caller)
        result = answer.result
        result.setdefault("resultType", "complete")
        meta = result.get("_meta")
        result["_meta"] = {**(meta if isinstance(meta, dict) else {}), _SERVER_INFO_META: SERVER_INFO}
        await self._send(exchange, answer, {"jsonrpc": "2.0", "id": request.id, "result": result})

    async def _answer_modern(self, exchange: Exchange, request: RpcRequest, caller: Caller) -> Answer:
        match request.method:
            case "tools/call":
                self._check_param_headers(exchange, request.params)
                return await exchange.watched(self._kernel.call_tool(caller, request.params, exchange.headers))
            case "tools/list":
                answer = await self._kernel.list_tools(caller, request.params)
                answer.result.update(ttlMs=0, cacheScope="private")
                return answer
            case "server/discover":
                return Answer(
                    {
                        "supportedVersions": [*MODERN_PROTOCOL_VERSIONS],
                        "capabilities": {"tools": {}},
                        "instructions": _INSTRUCTIONS,
                        "ttlMs": 0,
                        "cacheScope": "private",
                    }
                )
        raise RpcError(_METHOD_NOT_FOUND, "Method not found", status=404, data=request.method)

    def _check_param_headers(self, exchange: Exchange, params: Mapping[str, Any]) -> None:
        """Hold `Mcp-Param-*` headers against the arguments; the bridge speaks stdio, which has none."""
        arguments = params.get("arguments")
        if exchange.over_stdio or not isinstance(arguments, dict):
            return
        schema = self._kernel.header_schema(params.get("name"))
        if schema is not None:
            mirrors = [name for name, _ in exchange.header_lines() if name.startswith(_MIRROR_PREFIX)]
            if len(mirrors) != len(set(mirrors)):  # the SDK cannot see it: it is given each header once
                raise RpcError(-32020, "An Mcp-Param header appears more than once")
            rejection = validate_mcp_param_headers(schema, arguments, exchange.headers)
            if rejection is not None:
                raise _rejected(rejection)

    # 2024-11-05 to 2025-11-25: a handshake, then a session

    async def _legacy(self, exchange: Exchange, request: RpcRequest) -> None:
        if request.method == "initialize" and request.id is not None:
            await self._initialize(exchange, request)
            return
        session = await self._session(exchange, request.method, request.params)
        caller = exchange.caller(session.version, session=session.id)
        if request.id is None:
            await send_status(exchange.send, 202)
            return
        match request.method:
            case "tools/call":
                answer = await exchange.watched(self._kernel.call_tool(caller, request.params, exchange.headers))
                answer.result.pop("resultType", None)
            case "tools/list":
                answer = await self._kernel.list_tools(caller, request.params)
            case "ping":
                answer = Answer({})
            case _:
                raise RpcError(_METHOD_NOT_FOUND, "Method not found", data=request.method)
        await self._send(exchange, answer, {"jsonrpc": "2.0", "id": request.id, "result": answer.result})

    async def _initialize(self, exchange: Exchange, request: RpcRequest) -> None:
        params = request.params
        wanted = params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise RpcError(-32602, "initialize needs params.protocolVersion, a string.")
        version = wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
        identity = await self._kernel.identify(
            exchange.caller(version, client_info(params.get("clientInfo"))), "initialize", params
        )
        session = self._door.sessions.open(identity, version)
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": SERVER_INFO,
            "instructions": _INSTRUCTIONS,
        }
        body = {"jsonrpc": "2.0", "id": request.id, "result": result}
        await send_json(exchange.send, 200, body, ((_SESSION_HEADER, session.id),))

    async def _session(self, exchange: Exchange, method: str, params: Mapping[str, Any]) -> Session:
        version = exchange.headers.get("mcp-protocol-version", LATEST_HANDSHAKE_VERSION)
        identity = await self._kernel.identify(exchange.caller(version), method, params)
        session_id = exchange.headers.get(_SESSION_HEADER)
        if session_id is None:
            raise HttpRefusal(400, "Mcp-Session-Id is missing: initialize first.")
        session = self._door.sessions.find(session_id, identity)
        if session is None:
            raise HttpRefusal(404, "There is no such session: initialize again.")
        return session

    async def _delete(self, exchange: Exchange) -> None:
        self._door.sessions.end(await self._session(exchange, "DELETE", {}))
        await send_status(exchange.send, 204)

    async def _send(self, exchange: Exchange, answer: Answer, body: Mapping[str, Any]) -> None:
        """Send the answer and note that it was delivered, if it was."""
        claimed = answer.claimed_call
        gone = await exchange.client_gone() if claimed else False
        await send_json(exchange.send, 200, body)
        if claimed and not gone:
            await self._door.delivered(claimed)


def _is_modern(headers: Mapping[str, str]) -> bool:
    version = headers.get("mcp-protocol-version")
    return version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS


def _as_fault(refusal: HttpRefusal | RpcError) -> RequestFault:
    too_large = isinstance(refusal, HttpRefusal) and refusal.status == 413
    return RequestFault(refusal.message, code="too_large" if too_large else "invalid_arguments")


def _rejected(rejection: InboundLadderRejection) -> RpcError:
    return RpcError(rejection.code, rejection.message, status=STATUS.get(rejection.code, 400), data=rejection.data)
