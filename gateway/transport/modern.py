"""2026-07-28 and later: every request stands alone, and brings what the handshake said before."""

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from gateway.codec import dump
from gateway.model.back import Back
from gateway.model.identity import Identity, principal_of
from gateway.model.light import maker
from gateway.model.operation import TOOL_CALL
from gateway.model.request import Caller
from gateway.pipeline.notices import Notices, Subscriber
from gateway.transport.back import HttpBack, progress_token
from gateway.transport.envelope import MODERN_VERSIONS, STATUS, check_envelope
from gateway.transport.exchange import Exchange
from gateway.transport.input import INPUT_REQUIRED, Inputs, ModernBack
from gateway.transport.kernel import SERVER_INFO, Answer, Asked, Kernel
from gateway.transport.said import CAPABILITIES, CLIENT, LEAST
from gateway.transport.streams import EventStream, send_stream
from gateway.transport.tasks import TASK_REQUESTS, TaskDesk, TaskNews
from gateway.transport.welcome import Welcome
from gateway.transport.wire import RpcError, RpcRequest, send_status

__all__ = ["Modern"]

_ENVELOPE: Final = "io.modelcontextprotocol/"
_OWN_META: Final = {f"{_ENVELOPE}serverInfo": SERVER_INFO}
_SUBSCRIPTION_META: Final = f"{_ENVELOPE}subscriptionId"
_MIRROR_PREFIX: Final = "mcp-param-"
_PROGRESS: Final = "progressToken"
_GOODBYE_S: Final = 2.0
_asked: Final = maker(Asked)
_MAX_URIS: Final = 1000
_MAX_LISTENED: Final = 256 * 1024
_INTERACTIVE: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
_CACHED: Final = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read", "server/discover"}
)
_FLAGS: Final = {"toolsListChanged": "tools", "promptsListChanged": "prompts", "resourcesListChanged": "resources"}
_NOT_FOUND: Final = -32002
"""What the eras before said of a resource that is not there; here it is -32602."""


class Modern:
    """Answers the POSTs of the era without sessions."""

    def __init__(self, kernel: Kernel, inputs: Inputs, notices: Notices, welcome: Welcome, desk: TaskDesk) -> None:
        self._kernel = kernel
        self._desk = desk
        self._inputs = inputs
        self._notices = notices
        self._welcome = welcome

    async def post(self, exchange: Exchange, request: RpcRequest) -> tuple[Answer, Mapping[str, Any]] | None:
        """Return the answer to one message and its JSON-RPC body, or None where everything has been said.

        Raises `RpcError`, `HttpRefusal`, `GatewayError`, `ClientGone`.
        """
        method, agreed = request.method, exchange.agreed(request)
        caller = agreed or exchange.caller(exchange.headers["mcp-protocol-version"], exchange.said.client)
        known = self._kernel.known_now(caller.credential, exchange.endpoint) if method == TOOL_CALL else None
        identity = known or await self._kernel.identify(caller, method, request.params, exchange.endpoint)
        if request.id is None:
            if caller.era not in MODERN_VERSIONS:
                raise RpcError(-32022, "Unsupported protocol version", data={"supported": [*MODERN_VERSIONS]})
            await send_status(exchange.send, 202)
            return None
        if agreed is None:
            _check_agreement(exchange, request, caller)
        if method == "subscriptions/listen":
            await self._listen(exchange, request, identity, caller)
            return None
        work, asked = self._work(exchange, request, caller, (identity, known))
        exchange.watch(until_gone=True)
        try:
            answer = await work
        except asyncio.CancelledError:
            exchange.explain()
            raise
        except RpcError as error:
            if error.code == _NOT_FOUND:
                error.code, error.status = -32602, STATUS[-32602]
            raise
        finally:
            exchange.unwatch()
        if asked is not None and (answer.page or answer.result.get("resultType") == INPUT_REQUIRED):
            self._inputs.sealed(answer, asked, principal_of(identity))
        return answer, {"jsonrpc": "2.0", "id": request.id, "result": _dressed(answer.result, method)}

    def _work(
        self, exchange: Exchange, request: RpcRequest, caller: Caller, who: tuple[Identity, Identity | None]
    ) -> tuple[Coroutine[Any, Any, Answer], Asked | None]:
        """Return what answers a request, and the request where that may end with questions that have to be sealed.

        `who` makes it, and whether that is known from just now.
        """
        method, said, head = request.method, exchange.said, exchange.head
        identity, known = who
        if method == "server/discover":
            return self._discover(exchange.endpoint, identity), None
        params, capabilities, level = request.params, said.capabilities, said.level
        if method == TOOL_CALL and self._kernel.mirrors(exchange.endpoint):
            self._check_param_headers(exchange, params)
        token = progress_token(params) if _PROGRESS in said.meta else None
        lane = _lane(identity, capabilities, level) if capabilities or level else ""
        way = HttpBack(exchange.send, token, level, head.takes_streams, lane)
        way.declares, way.capabilities = said.declares, LEAST
        exchange.goes_back(way)
        plain = head.plain and said.plain
        if method in _INTERACTIVE:
            if capabilities or "requestState" in params or "inputResponses" in params:
                back = ModernBack(way, capabilities)
                asked = _asked(method, params, caller, head.headers, back, exchange.endpoint, plain)
                return self._inputs.conduct(asked, identity, self._kernel.answer), None
            way.takes_input_required = True
            asked = _asked(method, params, caller, head.headers, way, exchange.endpoint, plain, known)
            return self._kernel.answer(asked), asked
        asked = _asked(method, params, caller, head.headers, way, exchange.endpoint, plain)
        if method not in TASK_REQUESTS:
            return self._kernel.answer(asked), None
        _check_task_header(exchange, params)
        way.capabilities = capabilities
        return self._desk.answer(asked), None

    async def _discover(self, endpoint: str, identity: Identity) -> Answer:
        await self._welcome.settled()
        return Answer(
            {
                "supportedVersions": [*MODERN_VERSIONS],
                "capabilities": self._welcome.capabilities(endpoint, modern=True),
                "instructions": self._welcome.instructions(endpoint, identity),
            }
        )

    async def _listen(self, exchange: Exchange, request: RpcRequest, identity: Identity, caller: Caller) -> None:
        """Serve one subscription: its response is the stream, until the client closes it."""
        wanted = request.params.get("notifications")
        if not isinstance(wanted, dict) or not exchange.head.takes_streams:
            raise RpcError(-32602, "subscriptions/listen needs params.notifications, and an Accept of event streams.")
        back = Back()
        back.capabilities, back.declares = exchange.said.capabilities, exchange.said.declares
        asked = Asked(request.method, request.params, caller, exchange.headers, back, exchange.endpoint)
        places = {uri: await self._kernel.subscribe(asked, uri) for uri in _uris(wanted)}
        offered = self._welcome.capabilities(exchange.endpoint, modern=True)
        flags = {flag: True for flag, name in _FLAGS.items() if wanted.get(flag) is True and name in offered}
        stream = EventStream()
        meta = {_SUBSCRIPTION_META: request.id}

        def tell(method: str, params: Mapping[str, Any]) -> None:
            said = params.get("_meta")
            about = {**said, **meta} if isinstance(said, Mapping) else meta
            stream.say({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": about}}, droppable=True)

        lists = frozenset(_FLAGS[flag] for flag in flags)
        subscriber = Subscriber(caller, identity, exchange.endpoint, lists, tell)
        news = TaskNews(self._desk, asked, tell)
        subscriber.tasks = news.changed
        heard = {"resourceSubscriptions": [*places], "taskIds": await news.agree(wanted.get("taskIds"))}
        agreed: dict[str, Any] = {**flags, **{name: each for name, each in heard.items() if each}}
        tell("notifications/subscriptions/acknowledged", {"notifications": agreed})
        self._notices.join(subscriber)
        sending = asyncio.ensure_future(send_stream(exchange.send, stream))
        leaving = asyncio.ensure_future(exchange.until_gone())
        try:
            await self._notices.add(subscriber, places)
            await self._notices.while_open(subscriber, {sending, leaving})
            stream.say({"jsonrpc": "2.0", "id": request.id, "result": {"resultType": "complete", "_meta": meta}})
            stream.close()
            await asyncio.wait({sending, leaving}, timeout=_GOODBYE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)
            await self._notices.leave(subscriber)
            await news.close()

    def _check_param_headers(self, exchange: Exchange, params: Mapping[str, Any]) -> None:
        """Hold `Mcp-Param-*` headers against the arguments; the bridge speaks stdio, which has none."""
        schema, arguments = self._kernel.header_schema(params.get("name"), exchange.endpoint), params.get("arguments")
        if schema is not None and not exchange.head.over_stdio and isinstance(arguments, dict):
            mirrors = [name for name, _ in exchange.header_lines() if name.startswith(_MIRROR_PREFIX)]
            if len(mirrors) != len(set(mirrors)):  # the SDK cannot see it: it is given each header once
                raise RpcError(-32020, "An Mcp-Param header appears more than once")
            from mcp.shared.inbound import validate_mcp_param_headers  # loaded by the connector that found the tool

            rejection = validate_mcp_param_headers(schema, arguments, exchange.headers)
            if rejection is not None:
                raise RpcError(rejection.code, rejection.message, status=STATUS[rejection.code], data=rejection.data)


def _uris(wanted: Mapping[str, Any]) -> list[str]:
    """Return the resources that a client wants news of. Raises `RpcError`: they are out of shape, or too many."""
    uris = wanted.get("resourceSubscriptions") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise RpcError(-32602, "resourceSubscriptions must be a list of URIs.")
    if len(uris) > _MAX_URIS or sum(map(len, uris)) > _MAX_LISTENED:
        most = f"{_MAX_URIS} URIs, of {_MAX_LISTENED} characters together"
        raise RpcError(-32602, f"resourceSubscriptions must be at most {most}.")
    return list(dict.fromkeys(uris))


def _check_task_header(exchange: Exchange, params: Mapping[str, Any]) -> None:
    """Hold `Mcp-Name` against the task that a request is about, which is not in the table of names."""
    name = exchange.headers.get("mcp-name")
    if name is not None and name != params.get("taskId"):
        raise RpcError(-32020, "Mcp-Name does not match params.taskId")


def _dressed(result: dict[str, Any], method: str) -> dict[str, Any]:
    """Return a result with what this era puts into every one."""
    kind = result.setdefault("resultType", "complete")
    if method in _CACHED and kind == "complete":
        result.setdefault("ttlMs", 0)
        result["cacheScope"] = "private"  # what one agent may see is nobody else's
    meta = result.get("_meta")
    result["_meta"] = {**meta, **_OWN_META} if isinstance(meta, dict) else _OWN_META
    return result


def _lane(identity: Identity, capabilities: Mapping[str, Any], level: str) -> str:
    """Return the lane of requests that come of one principal with the same state."""
    return hashlib.sha256(dump([principal_of(identity), dict(capabilities), level])).hexdigest()


def _check_agreement(exchange: Exchange, request: RpcRequest, caller: Caller) -> None:
    """Hold the head of a request against its body. Raises `RpcError`.

    Where those of a call say the same in the plainest way, that is remembered; `check_envelope` judges every other.
    """
    said, head = exchange.said, exchange.head
    is_plain = head.calls is not None and said.well_formed and said.version == caller.era
    if is_plain and request.method == TOOL_CALL and request.params.get("name") == head.calls:
        if said is head.said:
            head.agreed = said, caller
        return
    check_envelope(request, exchange.headers)
    _check_objects(said.meta)


def _check_objects(meta: Mapping[str, Any]) -> None:
    for name in (CAPABILITIES, CLIENT):
        if not isinstance(meta.get(name, {}), dict):
            raise RpcError(-32602, f"{name} must be an object.")
