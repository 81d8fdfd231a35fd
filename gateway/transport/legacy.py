"""2024-11-05 to 2025-11-25: a handshake, then a session, with a stream of its own and questions to the client."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from gateway.model.back import Back
from gateway.model.errors import GatewayError
from gateway.model.identity import Identity
from gateway.model.light import maker
from gateway.model.operation import ROOTS_CHANGED, TOOL_CALL
from gateway.pipeline.notices import LIST_CHANGED, UPDATED, Notices, Subscriber
from gateway.transport.back import LEVELS, LegacyBack, askable, declared
from gateway.transport.envelope import HANDSHAKE_VERSIONS
from gateway.transport.exchange import Exchange
from gateway.transport.kernel import LEGACY_TASKS_SINCE, SERVER_INFO, Answer, Asked, Kernel
from gateway.transport.roots import RootsNews
from gateway.transport.said import client_info
from gateway.transport.sessions import Session, Sessions, Told
from gateway.transport.streams import EventStream, request_of, send_stream
from gateway.transport.tasks import TASK_REQUESTS, TaskDesk
from gateway.transport.welcome import Welcome
from gateway.transport.wire import HttpRefusal, RpcError, RpcRequest, send_json, send_status

__all__ = ["Legacy"]

_SESSION_HEADER: Final = "mcp-session-id"
_INVALID_PARAMS: Final = -32602
_NOT_FOUND: Final = -32002
"""What these eras say of a resource that is not there; since 2026-07-28 it is -32602 with the URI in its data."""

_asked: Final = maker(Asked)
_GRACE_S: Final = 60.0
_GOODBYE_S: Final = 2.0
_GONE: Final = -31410
"""JSON-RPC code for an answer that cannot be had any more; outside the range the specification reserves."""

_OF_LATER_ERAS: Final = ("resultType", "ttlMs", "cacheScope")
_SERVER_INFO_META: Final = "io.modelcontextprotocol/serverInfo"
_OWN: Final = frozenset({"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""What the gateway answers without the pipeline."""

_ANY_TEXT: Final = frozenset({"*/*", "text/*"})
"""What says that streams are read, where nothing else could be the answer."""

_MAX_SUBSCRIPTIONS: Final = 1000
_MAX_SUBSCRIBED: Final = 256 * 1024
"""Characters of all the URIs a session has subscribed to: its record holds them, and is written anew with each."""


class Legacy:
    """Answers POST, GET and DELETE of the eras with sessions."""

    def __init__(self, kernel: Kernel, sessions: Sessions, notices: Notices, welcome: Welcome, desk: TaskDesk) -> None:
        self._kernel = kernel
        self._desk = desk
        self._sessions = sessions
        self._notices = notices
        self._welcome = welcome
        self._roots = RootsNews(kernel)

    def stop(self) -> None:
        """Tell servers nothing more by itself: the gateway stops."""
        self._roots.stop()

    async def post(self, exchange: Exchange, request: RpcRequest) -> tuple[Answer, Mapping[str, Any]] | None:
        """Return the answer to one message and its JSON-RPC body, or None where everything has been said.

        Raises `RpcError`, `HttpRefusal`, `GatewayError`, `ClientGone`.
        """
        if request.method == "initialize" and request.id is not None:
            await self._initialize(exchange, request)
            return None
        session, known = self._known(exchange) if request.method == TOOL_CALL else (None, None)
        if session is None:
            session, _ = await self._session(exchange, request.method, request.params)
        if request.id is None:
            self._notified(exchange, session, request)
            await send_status(exchange.send, 202)
            return None
        caller = exchange.caller(session.version, session.client, session.id)
        back = LegacyBack(exchange.send, session, request, streaming=exchange.head.takes_streams)
        back.begins_tasks = session.version >= LEGACY_TASKS_SINCE
        asked = _asked(
            request.method, request.params, caller, exchange.headers, back, session.endpoint, exchange.plain, known
        )
        if request.method in _OWN:
            answer = await self._answer_itself(session, asked)
        else:
            answer = await self._answer(exchange, session, request.id, (asked, back))
        return answer, {"jsonrpc": "2.0", "id": request.id, "result": _dressed(answer.result)}

    async def response(self, exchange: Exchange, message: Mapping[str, Any]) -> None:
        """Take a client's answer to a question it was asked."""
        session, _ = await self._session(exchange, "response", {})
        answer = session.asked.get(str(message.get("id")))
        if answer is not None and not answer.done():
            answer.set_result(message)
        await send_status(exchange.send, 202)

    async def get(self, exchange: Exchange) -> None:
        """Serve the session's own stream, or go on with one that broke off after `Last-Event-ID`.

        Where that event is not known any more, as after a restart, whoever waits for a request's answer is told so.
        """
        session, identity = await self._session(exchange, "GET", {})
        if not (exchange.head.takes_streams or _ANY_TEXT.intersection(_accepted(exchange.headers))):
            raise HttpRefusal(406, "Accept must include text/event-stream.")
        last = exchange.headers.get("last-event-id")
        found = session.streams.find(last) if last else None
        if found is None and last:
            found = _lost(last)
        if found is None or found[0] is session.own_stream:
            await self._own_stream(exchange, session, identity, found[1] if found is not None else None)
            return
        sending = asyncio.ensure_future(send_stream(exchange.send, *found))
        leaving = asyncio.ensure_future(exchange.until_gone())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(sending, leaving)

    async def delete(self, exchange: Exchange) -> None:
        """End the session: what was asked in it is called off, but for effects that are under way already."""
        session, _ = await self._session(exchange, "DELETE", {})
        await self._sessions.end(session)
        for back, task in [*session.under_way.values()]:
            if not back.acts:
                _call_off(back, task)
        if session.subscriber is not None:
            await self._notices.leave(session.subscriber)
        await send_status(exchange.send, 204)

    async def _answer_itself(self, session: Session, asked: Asked) -> Answer:
        """Answer what is about the session alone."""
        match asked.method:
            case "ping":
                return Answer({})
            case "logging/setLevel":
                return await self._set_level(session, asked.params)
        return await self._subscribe(session, asked)

    async def _answer(
        self, exchange: Exchange, session: Session, request_id: Any, asking: tuple[Asked, LegacyBack]
    ) -> Answer:
        asked, back = asking
        exchange.goes_back(back)
        task = asyncio.current_task()
        assert task is not None
        key = (type(request_id), request_id)
        if key in session.under_way:
            raise RpcError(-32600, "A request with this id is under way already.")
        session.under_way[key] = back, task
        exchange.watch(until_gone=False)
        try:
            return await (self._desk if asked.method in TASK_REQUESTS else self._kernel).answer(asked)
        except asyncio.CancelledError:
            exchange.explain()
            raise
        except RpcError as error:
            raise _as_this_era_says_it(error, asked.method) from None
        finally:
            exchange.unwatch()
            del session.under_way[key]

    async def _initialize(self, exchange: Exchange, request: RpcRequest) -> None:
        params = request.params
        wanted = params.get("protocolVersion")
        if not isinstance(wanted, str):
            raise RpcError(_INVALID_PARAMS, "initialize needs params.protocolVersion, a string.")
        version = wanted if wanted in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1]
        client = client_info(params.get("clientInfo"))
        endpoint = exchange.endpoint
        identity = await self._kernel.identify(exchange.caller(version, client), "initialize", params, endpoint)
        said = params.get("capabilities")
        session = await self._sessions.open(identity, version, endpoint, Told(askable(said), declared(said), client))
        await self._welcome.settled()
        capabilities = self._welcome.capabilities(endpoint, modern=False)
        tasks = self._desk.capability(endpoint) if version >= LEGACY_TASKS_SINCE else None
        result = {
            "protocolVersion": version,
            "capabilities": {**capabilities, "tasks": tasks} if tasks is not None else capabilities,
            "serverInfo": SERVER_INFO,
            "instructions": self._welcome.instructions(endpoint, identity),
        }
        body = {"jsonrpc": "2.0", "id": request.id, "result": result}
        await send_json(exchange.send, 200, body, ((_SESSION_HEADER, session.id),))

    def _known(self, exchange: Exchange) -> tuple[Session | None, Identity | None]:
        """Return the session of a tool call, and whose it is, where that takes no waiting; else neither."""
        identity = self._kernel.known_now(exchange.head.credential, exchange.endpoint)
        if identity is None:
            return None, None
        session = self._sessions.known(exchange.headers.get(_SESSION_HEADER, ""), identity)
        return (session, identity) if session is not None and session.endpoint == exchange.endpoint else (None, None)

    async def _session(self, exchange: Exchange, method: str, params: Mapping[str, Any]) -> tuple[Session, Identity]:
        credential, endpoint = exchange.head.credential, exchange.endpoint
        identity = self._kernel.known_now(credential, endpoint) if method == TOOL_CALL else None
        if identity is None:
            version = exchange.headers.get("mcp-protocol-version", HANDSHAKE_VERSIONS[-1])
            identity = await self._kernel.identify(exchange.caller(version), method, params, endpoint)
        session_id = exchange.headers.get(_SESSION_HEADER)
        if session_id is None:
            raise HttpRefusal(400, "Mcp-Session-Id is missing: initialize first.")
        session = await self._sessions.find(session_id, identity)
        if session is None or session.endpoint != exchange.endpoint:
            raise HttpRefusal(404, "There is no such session: initialize again.")
        return session, identity

    def _notified(self, exchange: Exchange, session: Session, request: RpcRequest) -> None:
        """Take a client's notification: a request is called off, a question has got further, its roots changed."""
        if request.method == "notifications/cancelled":
            request_id = request.params.get("requestId")
            if isinstance(request_id, str | int) and (found := session.under_way.get((type(request_id), request_id))):
                _call_off(*found)
        elif request.method == "notifications/progress":
            token = request.params.get("progressToken")
            if isinstance(token, str) and (hear := session.heard.get(token)):
                hear(request.params)
        elif request.method == ROOTS_CHANGED:
            caller = exchange.caller(session.version, session.client, session.id)
            self._roots.changed(session, Asked(request.method, {}, caller, exchange.headers, endpoint=session.endpoint))

    async def _set_level(self, session: Session, params: Mapping[str, Any]) -> Answer:
        level = params.get("level")
        if level not in LEVELS:
            raise RpcError(_INVALID_PARAMS, f"level must be one of {', '.join(LEVELS)}.")
        session.log_level = level
        await self._sessions.save(session)
        return Answer({})

    async def _subscribe(self, session: Session, asked: Asked) -> Answer:
        uri = asked.params.get("uri")
        if not isinstance(uri, str):
            raise RpcError(_INVALID_PARAMS, f"{asked.method} needs params.uri, a string.")
        place = None
        if asked.method == "resources/subscribe":
            _check_room(session, uri)
            place = await self._kernel.subscribe(asked, uri)
            _check_room(session, uri)  # others may have been made while this one was decided
        others = session.subscriptions - {uri}
        before, session.subscriptions = session.subscriptions, others if place is None else others | {uri}
        if session.subscriptions != before:
            await self._sessions.save(session)
        if session.subscriber is not None and place is not None:
            await self._notices.add(session.subscriber, {uri: place})
        elif session.subscriber is not None:
            await self._notices.drop(session.subscriber, uri)
        return Answer({})

    async def _own_stream(self, exchange: Exchange, session: Session, identity: Identity, position: int | None) -> None:
        """Serve the stream for what belongs to no request: lists that changed, resources that were updated.

        For a while after its client has gone, news is kept for its return.
        """
        stream = session.own_stream
        if stream is None or stream.closed:
            stream = session.own_stream = session.streams.open()

        def tell(method: str, params: Mapping[str, Any]) -> None:
            stream.say({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}, droppable=True)

        before = session.subscriber
        caller = exchange.caller(session.version, session.client, session.id)
        subscriber = Subscriber(caller, identity, session.endpoint, frozenset(LIST_CHANGED), tell)
        if session.version >= LEGACY_TASKS_SINCE:
            subscriber.tasks = self._desk.status_told(identity, tell)
        self._notices.join(subscriber, instead_of=before)
        session.subscriber = subscriber
        sending = asyncio.ensure_future(
            send_stream(exchange.send, stream, stream.unread if position is None else position)
        )
        leaving = asyncio.ensure_future(exchange.until_gone())
        try:
            if before is None:
                await self._subscribe_again(session, subscriber, exchange)
            await self._notices.while_open(subscriber, {sending, leaving})
            if leaving.done():
                await _cancelled(sending)
                await self._notices.while_open(subscriber, set(), _GRACE_S)
        finally:
            if session.subscriber is subscriber:
                session.subscriber = None
                stream.dismiss()
                await asyncio.wait({sending, leaving}, timeout=_GOODBYE_S, return_when=asyncio.FIRST_COMPLETED)
            await _cancelled(sending, leaving)
            await self._notices.leave(subscriber)

    async def _subscribe_again(self, session: Session, subscriber: Subscriber, exchange: Exchange) -> None:
        """Have news come of the resources that a session subscribed to before, as far as it still may.

        Each may have changed until then, and is told to have: what came meanwhile, nobody heard.
        """
        asked = Asked("resources/subscribe", {}, subscriber.caller, exchange.headers, endpoint=session.endpoint)
        for uri in sorted(session.subscriptions):
            try:
                await self._notices.add(subscriber, {uri: await self._kernel.subscribe(asked, uri)})
            except (RpcError, GatewayError):
                continue
            subscriber.tell(UPDATED, {"uri": uri})


def _call_off(back: Back, task: "asyncio.Task[Any]") -> None:
    """Have a request of a session end as its client's own word would have it."""
    back.cancelled = True
    (back.under_way or task).cancel()


def _check_room(session: Session, uri: str) -> None:
    """Raise `RpcError` where a session cannot have one more subscription."""
    wanted = session.subscriptions | {uri}
    if len(wanted) > _MAX_SUBSCRIPTIONS or sum(map(len, wanted)) > _MAX_SUBSCRIBED:
        most = f"{_MAX_SUBSCRIPTIONS} subscriptions, of {_MAX_SUBSCRIBED} characters together"
        raise RpcError(_INVALID_PARAMS, f"A session has at most {most}.")


def _accepted(headers: Mapping[str, str]) -> list[str]:
    """Return the media ranges that a client accepts (RFC 9110 §12.5.1)."""
    return [each.partition(";")[0].strip() for each in headers.get("accept", "").lower().split(",")]


async def _cancelled(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _lost(event_id: str) -> tuple[EventStream, int] | None:
    """Return a stream that answers for one that is not there any more, or None for a session's own stream.

    Raises `HttpRefusal`: nobody gave out such an event id.
    """
    told = request_of(event_id)
    if told is None:
        raise HttpRefusal(400, "Last-Event-ID is not the id of an event of this session.")
    if told[0] is None:
        return None
    message = (
        "The rest of this answer is no longer here. Whether the call was made is on record; do not repeat it blindly."
    )
    stream = EventStream()
    stream.say({"jsonrpc": "2.0", "id": told[0], "error": {"code": _GONE, "message": message}})
    stream.close()
    return stream, 0


def _as_this_era_says_it(error: RpcError, method: str) -> RpcError:
    """Return a server's error with the code that these eras have for a resource that is not there."""
    names_it = isinstance(error.data, dict) and "uri" in error.data
    if error.of_server and method == "resources/read" and error.code == _INVALID_PARAMS and names_it:
        error.code = _NOT_FOUND
    return error


def _dressed(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what these eras do not know."""
    for name in _OF_LATER_ERAS:
        result.pop(name, None)
    meta = result.get("_meta")
    if isinstance(meta, dict) and _SERVER_INFO_META in meta:
        kept = {name: value for name, value in meta.items() if name != _SERVER_INFO_META}
        if kept:
            result["_meta"] = kept
        else:
            del result["_meta"]
    return result
