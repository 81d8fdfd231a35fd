"""The way back to a client over HTTP: one JSON answer or, once anything is to be said before it, an event stream."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.types import Send

from gateway.codec import dump
from gateway.model.back import AskRefused, Back, Hear
from gateway.transport.sessions import Session
from gateway.transport.streams import EventStream, send_stream
from gateway.transport.wire import RpcRequest, send_json

__all__ = ["ASK_S", "LEVELS", "HttpBack", "LegacyBack", "OwnBack", "askable", "declared", "progress_token"]

ASK_S: Final = 600.0
"""How long a client may take to answer a server's question, in seconds."""

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_ASKABLE: Final = ("elicitation", "sampling", "roots")
_NOT_PASSED: Final = frozenset(
    {
        "io.modelcontextprotocol/oauth-client-credentials",
        "io.modelcontextprotocol/enterprise-managed-authorization",
    }
)
"""Extensions between a client and the gateway alone: how it authorises itself."""

_MOST_DECLARED: Final = 8192
_PRIMED_SINCE: Final = "2025-11-25"
_PROGRESS: Final = "notifications/progress"
_MESSAGE: Final = "notifications/message"


class HttpBack(Back):
    """What goes back on one POST. Without `streaming` (the client does not take event streams) only the answer does."""

    ask_s: float = ASK_S
    _sending: "asyncio.Task[None] | None" = None

    def __init__(self, send: Send, token: Any, log_level: str, streaming: bool, lane: str = "") -> None:
        self._send = send
        self._streaming = streaming
        self._token = token
        self.wants_progress = token is not None
        self.log_level = log_level
        self.lane = lane
        self._stream: EventStream | None = None
        self.logs_by_default = self.takes_input_required = self.begins_tasks = False  # not by way of the class: slower

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        if method == _PROGRESS:
            if self._token is None:
                return
            params = {**params, "progressToken": self._token}
        if method == _MESSAGE and not self._logs(params.get("level")):
            return
        stream = self.stream()
        if stream is not None:
            stream.say({"jsonrpc": "2.0", "method": method, "params": params}, droppable=True)

    def stream(self) -> EventStream | None:
        """Return the stream of this answer, begun if it was not; None where there is to be none."""
        if self._stream is None and self._streaming:
            self._stream = self._opened()
            self._sending = asyncio.ensure_future(send_stream(self._send, self._stream))
        return self._stream

    def is_whole(self) -> bool:
        """Tell whether no stream was begun, and begin none any more: the answer is all that is said."""
        if self._stream is not None:
            return False
        self._streaming = False
        return True

    async def answer(
        self,
        status: int,
        body: Any,
        headers: tuple[tuple[str, str], ...] = (),
        read: Callable[[], Awaitable[None]] | None = None,
    ) -> bool:
        """Send the answer: the stream's last event where one was begun, else a response of its own.

        What comes after it is lost. `read` is awaited once the client, perhaps come back, has got a stream's end;
        False where there is no stream.
        """
        self._streaming = False
        if self._stream is None or self._sending is None:
            await send_json(self._send, status, body, headers)
            return False
        self._stream.when_read = read
        self._stream.say(body)
        self._stream.close()
        await asyncio.wait({self._sending})
        return True

    def left(self) -> None:
        """The client closed the connection: what a lasting stream still gets is kept for its return."""
        self._streaming = False  # a stream nobody has seen the beginning of is one that nobody can come back to
        self._send = _to_nobody
        if self._stream is not None and self._sending is not None:
            self._sending.cancel()
            if not self._stream.id:
                self._stream.close()

    def _opened(self) -> EventStream:
        return EventStream()

    def _logs(self, level: object) -> bool:
        if not self.log_level:
            return self.logs_by_default
        return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(self.log_level)


async def _to_nobody(message: Any) -> None:
    del message


class LegacyBack(HttpBack):
    """The way back on one POST of a legacy session: its client is asked on the stream, and answers with a POST."""

    def __init__(self, send: Send, session: Session, request: RpcRequest, *, streaming: bool) -> None:
        super().__init__(send, progress_token(request.params), session.log_level, streaming, session.id)
        self._session = session
        self._request_id = request.id
        self.logs_by_default = streaming  # the specification leaves it to the server
        self.capabilities = session.capabilities if streaming else {}
        self.declares = session.declares

    def between(self) -> Back:
        return OwnBack(self._session)

    def lists_roots(self, server: str) -> None:
        self._session.roots_listed_by.add(server)

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        stream = self.stream()
        if stream is None or stream.closed or self._session.ended:
            raise AskRefused(-32001, "The client takes no event streams, or has gone, so it cannot be asked")
        request_id = f"ask-{secrets.token_hex(8)}"
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._session.asked[request_id] = answer
        if hear is not None:
            self._session.heard[request_id] = hear
            params = {**params, "_meta": {**params.get("_meta", {}), "progressToken": request_id}}
        stream.say({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        try:
            async with asyncio.timeout(self.ask_s):
                return result_of(await answer)
        except TimeoutError:
            _withdraw(stream, request_id)
            raise AskRefused(-32001, "The client did not answer in time") from None
        except asyncio.CancelledError:
            _withdraw(stream, request_id)
            raise
        finally:
            self._session.asked.pop(request_id, None)
            self._session.heard.pop(request_id, None)

    def _opened(self) -> EventStream:
        stream = self._session.streams.open(self._request_id)
        if self._session.version >= _PRIMED_SINCE:  # clients before that may take an event without data for a message
            stream.prime()
        return stream


class OwnBack(LegacyBack):
    """The way to the client of a legacy session between its requests, for logs and questions: its own stream."""

    def __init__(self, session: Session) -> None:
        super().__init__(_to_nobody, session, RpcRequest("", {}, None, {}), streaming=True)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        if method == _MESSAGE:  # what else belongs to no request is told otherwise
            self.log_level = self._session.log_level
            super().notify(method, params)

    def stream(self) -> EventStream | None:
        stream = self._session.own_stream
        return stream if stream is not None and not stream.closed else None


def _withdraw(stream: EventStream, request_id: str) -> None:
    params = {"requestId": request_id, "reason": "the server no longer asks"}
    stream.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


def result_of(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result in a client's answer. Raises `AskRefused` with the error that is in its place."""
    result, error = message.get("result"), message.get("error")
    if isinstance(result, dict) and error is None:
        return result
    if isinstance(error, dict) and type(error.get("code")) is int:
        raise AskRefused(error["code"], str(error.get("message", "")), error.get("data"))
    raise AskRefused(-32603, "The client's answer is neither a result nor an error")


def askable(said: Any) -> dict[str, Any]:
    """Return what of a client's capabilities is about being asked something."""
    if not isinstance(said, dict):
        return {}
    return {name: said[name] for name in _ASKABLE if isinstance(said.get(name), dict)}


def declared(said: Any) -> dict[str, Any]:
    """Return what of a client's capabilities says which extensions and experiments it knows; none over 8 KiB."""
    if not isinstance(said, dict):
        return {}
    found = {name: said[name] for name in ("extensions", "experimental") if isinstance(said.get(name), dict)}
    if "extensions" in found:
        found["extensions"] = {name: each for name, each in found["extensions"].items() if name not in _NOT_PASSED}
    found = {name: each for name, each in found.items() if each}
    return found if not found or len(dump(found)) <= _MOST_DECLARED else {}


def progress_token(params: Mapping[str, Any]) -> str | int | None:
    """Return the token a request's progress is to be told under, or None where it wants none."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if isinstance(token, str) or type(token) is int else None
