"""Carrying messages between the host's pipes and the gateway, many at a time."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from gateway.bridge.channel import Exchange, Lost, NotSent
from gateway.bridge.crew import Crew
from gateway.bridge.launch import GatewayDown, Launcher, Line
from gateway.bridge.messages import Malformed, Message, addressed, error, is_answer_to, parse, read, refused, tool_error
from gateway.bridge.session import Session

__all__ = ["Output", "Relay"]

_ATTEMPTS: Final = 4  # one lost, one refused, one session renewed, one that gets through
_LISTEN_AGAIN_S: Final = 1.0
_LONGEST_NAME: Final = 10_000
"""Characters of a name, which also travels in the head of the request: four bytes each in base64 still fit there."""

_UNKNOWN: Final = (
    "The gateway went away while this call was under way, so its outcome is unknown: it may have taken effect. "
    "Do not simply repeat it. Check with a read, or ask an operator to look at `toolgate trace`."
)


class Output:
    """The host's end of a pipe: whole lines only, whichever thread writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, payload: bytes) -> None:
        """Write one line; a host that has gone is no error, its end of input follows."""
        rest = memoryview(payload + b"\n")
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except BrokenPipeError:
                return


class _Flight:
    """A request under way, and what is needed to call it off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None
        self._told = False
        self.cancelled = False

    @contextmanager
    def over(self, exchange: Exchange) -> Iterator[None]:
        """Fly over this exchange until the block ends: after it, the connection may serve another request."""
        with self._lock:
            self._exchange = exchange
            self._hang_up_if_told()
        try:
            yield
        finally:
            with self._lock:
                self._exchange = None

    def cancel(self, *, hang_up: bool) -> None:
        with self._lock:
            self.cancelled = True
            self._told = hang_up
            self._hang_up_if_told()

    def _hang_up_if_told(self) -> None:
        if self._told and self._exchange is not None:
            self._exchange.abort()


class Relay:
    """Takes the host's lines one by one and writes whatever the gateway says to them."""

    def __init__(
        self,
        launcher: Launcher,
        output: Output,
        limit: int = 256,
        path: str = "/mcp",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._launcher = launcher
        self._output = output
        self._limit = limit
        self._session = Session(path, extra)
        self._flights: dict[tuple[type, object], _Flight] = {}
        self._crew = Crew()
        self._changed = threading.Condition()
        self._initialized = False
        self._listening: str | None = None
        self._closing = threading.Event()

    def accept(self, line: bytes) -> None:
        """Deal with one line of the host; requests go on in other threads, all else is sent in order."""
        try:
            message = parse(line)
        except Malformed as fault:
            self.reject(fault)
            return
        if message.method == "notifications/cancelled":
            self._cancel(message)
        elif not message.is_request:
            self._tell(message)
        elif message.modern_version and len(message.name) > _LONGEST_NAME:
            why = f"The name of what is asked for is longer than {_LONGEST_NAME} characters: nothing was sent."
            self._output.write(tool_error(message, "too_large", why))
        elif message.method == "initialize":
            self._carry(message, _Flight())
        else:
            self._begin(message)

    def reject(self, fault: Malformed) -> None:
        """Answer what is no message."""
        self._output.write(error(None, fault.code, str(fault)))

    def finish(self, patience_s: float) -> None:
        """Let what is under way finish, for at most `patience_s`, and say goodbye."""
        with self._changed:
            self._changed.wait_for(lambda: not self._flights, patience_s)
        self._closing.set()
        self._crew.dismiss()
        line = self._launcher.current()
        if line is not None:
            self._session.close(line)
        self._launcher.leave()

    def _begin(self, message: Message) -> None:
        key = (type(message.id), message.id)
        flight = _Flight()
        with self._changed:
            busy = len(self._flights) >= self._limit
            if not busy:
                self._flights[key] = flight
        if busy:
            why = f"More than {self._limit} requests at once: repeat later."
            self._output.write(tool_error(message, "rate_limited", why))
            return

        def work() -> None:
            try:
                self._carry(message, flight)
            finally:
                with self._changed:
                    self._flights.pop(key, None)
                    self._changed.notify_all()

        self._crew.begin(work)

    def _carry(self, message: Message, flight: _Flight) -> None:
        """See that the request is answered: by the gateway, or with why it cannot be."""
        try:
            for _ in range(_ATTEMPTS):
                if self._attempt(message, flight):
                    return
            answer = tool_error(message, "unavailable", "The gateway goes away again and again: see `toolgate doctor`.")
        except GatewayDown as down:
            answer = tool_error(message, "unavailable", str(down))
        if not flight.cancelled:
            self._output.write(answer)

    def _attempt(self, message: Message, flight: _Flight) -> bool:
        """Send the request once. False: nothing came of it and it may be sent again."""
        line = self._launcher.line()
        if flight.cancelled:
            return True
        self._listen()
        stale = self._session.id
        forgotten = False
        headers = self._session.headers(message, line.bearer)
        try:
            sent = line.channel.send("POST", self._session.path, headers, message.raw)
            with flight.over(sent), sent as exchange:
                forgotten = exchange.status == 404 and bool(stale) and not message.modern_version
                if forgotten:
                    exchange.body()
                elif self._relay(message, exchange, flight) or flight.cancelled:
                    return True
        except NotSent:
            self._launcher.lost(line)
            return False
        except Lost:
            pass
        if forgotten:
            return self._renew(line, stale)
        return self._broke_off(message, flight)

    def _renew(self, line: Line, stale: str) -> bool:
        """Open a forgotten session again; False, as in `_attempt`: what was refused with it may be sent again."""
        try:
            self._session.renew(line, stale)
        except (NotSent, Lost):
            self._launcher.lost(line)
        return False

    def _relay(self, message: Message, exchange: Exchange, flight: _Flight) -> bool:
        """Pass on what the gateway says; True once the answer is among it.

        Over stdio there is no answer to a request that was called off.
        """
        if exchange.status >= 400:
            refusal = next((answer for p in exchange.messages() if (answer := addressed(message, read(p)))), None)
            self._output.write(refusal or refused(message, exchange.status))
            return True
        for payload in exchange.messages():
            value = read(payload)
            answered = value if value is not None and is_answer_to(message, value) else None
            if answered is not None and flight.cancelled:
                return True
            self._pass_on(payload, value)
            if answered is not None:
                if message.method == "initialize":
                    self._session.opened(message, exchange.header("Mcp-Session-Id"), answered)
                return True
        return False

    def _pass_on(self, payload: bytes, value: Mapping[str, Any] | None) -> None:
        """Write one message of the gateway; what is none must not reach the host's parser."""
        if value is None:
            _diagnose(f"the gateway sent {len(payload)} bytes that are no message")
        else:
            self._output.write(payload)

    def _broke_off(self, message: Message, flight: _Flight) -> bool:
        """Deal with an answer that never came: a call may have had its effect, all else may be asked again."""
        if flight.cancelled:
            return True
        if message.method != "tools/call":
            return False
        self._output.write(tool_error(message, "outcome_unknown", _UNKNOWN))
        return True

    def _tell(self, message: Message) -> None:
        """Send a notification, or the host's answer to a request of the gateway; nothing is answered to it."""
        try:
            for _ in range(_ATTEMPTS):
                if self._told(message):
                    break
            else:
                _diagnose(f"{message.method or 'an answer'} was not delivered: the gateway goes away again and again")
        except (Lost, GatewayDown) as fault:
            _diagnose(f"{message.method or 'an answer'} was not delivered: {fault}")
        if message.method == "notifications/initialized":
            self._initialized = True
            self._listen()

    def _told(self, message: Message) -> bool:
        line = self._launcher.line()
        stale = self._session.id
        try:
            with line.channel.send(
                "POST", self._session.path, self._session.headers(message, line.bearer), message.raw
            ) as exchange:
                exchange.body()
        except NotSent:
            self._launcher.lost(line)
            return False
        if exchange.status == 404 and stale:
            return self._renew(line, stale)
        if exchange.status >= 400:
            _diagnose(f"{message.method or 'an answer'} was refused with HTTP status {exchange.status}")
        return True

    def _cancel(self, message: Message) -> None:
        wanted = message.params.get("requestId")
        with self._changed:
            flight = self._flights.get((type(wanted), wanted))
        if flight is None:
            return
        flight.cancel(hang_up=False)
        if self._launcher.current() is None:
            return  # it was not sent yet, and now it will not be
        self._tell(message)
        flight.cancel(hang_up=not self._session.is_open)

    def _listen(self) -> None:
        """Open the stream on which the gateway speaks unasked, once for each session."""
        session_id = self._session.id
        with self._changed:
            if not self._initialized or self._listening == session_id:
                return
            self._listening = session_id
        threading.Thread(target=self._hear, args=(session_id,), daemon=True).start()

    def _hear(self, session_id: str) -> None:
        while not self._closing.is_set() and self._session.id == session_id:
            line = self._launcher.current()
            try:
                if line is None or not self._heard(line):
                    break
            except (Lost, NotSent):
                pass
            self._closing.wait(_LISTEN_AGAIN_S)
        with self._changed:
            if self._launcher.current() is None and self._listening == session_id:
                self._listening = None  # the gateway went away: the next request brings it back, and listens anew

    def _heard(self, line: Line) -> bool:
        """Pass on the stream until it ends; False when the gateway offers none."""
        unasked = Message(b"", "", None, {})
        headers = self._session.headers(unasked, line.bearer) | {"Accept": "text/event-stream"}
        with line.channel.send("GET", self._session.path, headers) as exchange:
            if exchange.status != 200:
                exchange.body()
                return False
            for payload in exchange.messages():
                self._pass_on(payload, read(payload))
        return True


def _diagnose(text: str) -> None:
    print(f"toolgate: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a host shows its servers' stderr
