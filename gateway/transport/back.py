"""The way back to a client over HTTP: one JSON answer or, once anything is to be said before it, an event stream."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.types import Send

from gateway.model.back import AskRefused, Back
from gateway.transport.sessions import Session
from gateway.transport.streams import EventStream, send_stream
from gateway.transport.wire import send_json

__all__ = ["ASK_S", "LEVELS", "HttpBack", "LegacyBack"]

ASK_S: Final = 600.0
"""How long a client may take to answer a server's question, in seconds."""

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_PROGRESS: Final = "notifications/progress"
_MESSAGE: Final = "notifications/message"


class HttpBack(Back):
    """What goes back on one POST. Without `streams` (the client does not accept them) only the answer does."""

    def __init__(self, send: Send, streams: Callable[[], EventStream] | None, token: Any, log_level: str) -> None:
        self._send = send
        self._streams = streams
        self._token = token
        self._stream: EventStream | None = None
        self._sending: asyncio.Task[None] | None = None
        self.wants_progress = token is not None
        self.log_level = log_level
        self.logs_by_default = False

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
        """Return the stream of this answer, begun if it was not; None where the client takes none."""
        if self._stream is None and self._streams is not None:
            self._stream = self._streams()
            self._stream.prime()
            self._sending = asyncio.ensure_future(send_stream(self._send, self._stream))
        return self._stream

    async def answer(self, status: int, body: Any, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Send the answer: the stream's last event where one was begun, else a response of its own."""
        if self._stream is None or self._sending is None:
            await send_json(self._send, status, body, headers)
            return
        self._stream.say(body)
        self._stream.close()
        await self._sending

    def left(self) -> None:
        """The client closed the connection: what a lasting stream still gets is kept for its return."""
        if self._sending is not None:
            self._sending.cancel()
        self._send = _to_nobody

    def _logs(self, level: object) -> bool:
        if not self.log_level:
            return self.logs_by_default
        return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(self.log_level)


async def _to_nobody(message: Any) -> None:
    del message


class LegacyBack(HttpBack):
    """The way back on one POST of a legacy session: its client is asked on the stream, and answers with a POST."""

    def __init__(self, send: Send, session: Session, token: Any, *, streaming: bool) -> None:
        super().__init__(send, session.streams.open if streaming else None, token, session.log_level)
        self._session = session
        self.logs_by_default = True  # the specification leaves it to the server
        self.capabilities = session.capabilities if streaming else {}
        self.lane = session.id

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        stream = self.stream()
        if stream is None:
            raise AskRefused(-32601, "The client takes no event streams, so it cannot be asked")
        request_id = f"ask-{secrets.token_hex(8)}"
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._session.asked[request_id] = answer
        stream.say({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        try:
            async with asyncio.timeout(ASK_S):
                message = await answer
        except TimeoutError:
            raise AskRefused(-32001, "The client did not answer in time") from None
        except asyncio.CancelledError:
            self._withdraw(stream, request_id)
            raise
        finally:
            self._session.asked.pop(request_id, None)
        return result_of(message)

    @staticmethod
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
