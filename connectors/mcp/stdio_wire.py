"""MCP's stdio transport, client side: one JSON-RPC message per line over a child's pipes."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.mcp.awaited import Awaited
from connectors.mcp.ears import Ears
from connectors.mcp.error_log import ErrorLog
from connectors.mcp.process import Child, Command
from connectors.mcp.tempo import Tempo
from connectors.mcp.wire import Ear, answer_to, encode, messages_in
from gateway.connector import CodecError, ConnectorFault, Notice, TimedOut, Unavailable, dump, parse

__all__ = ["Noise", "StdioWire"]

_MAX_UNSENT: Final = 16 * 1024 * 1024
_MAX_NOISE: Final = 1000
_NOT_RUNNING: Final = "The server is not running."
_ID_FIRST: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,')
_ID_LAST: Final = re.compile(rb'[,{]\s*"id"\s*:\s*(\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_HEAD: Final = 256
_MUTE_S: Final = 30.0
"""A server that lets a call time out and then says nothing at all for so long is stuck."""


@dataclass(slots=True)
class Noise:
    """What a server wrote that answers nothing: counted, and otherwise ignored."""

    garbage: int = 0
    foreign: int = 0
    oversized: int = 0


class StdioWire:
    """Speaks MCP to a child process. Answers are matched by id, so one call's trouble is its own.

    `alone` says that all requests are of one client.
    """

    own_streams = False
    begin = None

    def __init__(self, command: Command, line_bytes: int, log: ErrorLog, *, alone: bool = False) -> None:
        self._command = command
        self._limit = line_bytes
        self._log = log
        self._ears = Ears(alone=alone)
        self.standing = self._ears.standing
        self.on_between = self._ears.on_between
        self._awaited = Awaited(self._ears, self._tell_cancelled)
        self._lost: Callable[[], None] = lambda: None
        self._child: Child | None = None
        self._line = bytearray()
        self._skipping = False
        self._noise_run = 0
        self._burst = 0
        self._tempo = Tempo()
        self._gone = _NOT_RUNNING
        self._begun: dict[int, float] = {}
        self._heard_at = 0.0
        self._mute_s = _MUTE_S
        self.noise = Noise()

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.running

    async def open(self) -> None:
        await self.close()
        self._line = bytearray()
        self._skipping = False
        self._noise_run = 0
        self._gone = _NOT_RUNNING
        child = self._child = Child(self._output, self._log.feed, self._ended)
        await child.start(self._command)
        if self._child is not child:  # closed while it was starting
            await child.stop()
            raise Unavailable("The server was stopped.", sent=False)

    async def close(self) -> None:
        child, self._child = self._child, None
        self._fail_all("The server was stopped.")
        if child is not None:
            await asyncio.shield(child.stop())  # a caller that gives up must not leave a process behind

    def settle(self, headers: bytes, *, legacy: bool) -> None:
        """One pipe carries everything."""

    def on_notice(self, listener: Notice) -> None:
        self._ears.on_notice(listener)

    def on_lost(self, listener: Callable[[], None]) -> None:
        self._lost = listener

    async def notify(self, method: str, params: Mapping[str, Any], headers: bytes) -> None:
        self._write(dump({"jsonrpc": "2.0", "method": method, "params": params}))

    async def request(
        self, method: str, params: Mapping[str, Any], headers: bytes, timeout_s: float, ear: Ear | None = None
    ) -> Any:
        number = self._awaited.begin()
        self._begun[number] = asyncio.get_running_loop().time()
        try:
            self._write(encode(number, method, params, ear))
            return await self._awaited.result(number, timeout_s, ear)
        except TimedOut:
            self._doubt(self._begun[number])
            raise
        finally:
            del self._begun[number]
            self._awaited.forget(number)

    def _doubt(self, began: float) -> None:
        """Nothing was heard of the server since a call began that has timed out: see whether it says anything."""
        child = self._child
        if child is not None and self._heard_at < began:
            self._say(dump({"jsonrpc": "2.0", "id": self._awaited.unawaited(), "method": "ping"}))
            asyncio.get_running_loop().call_later(self._mute_s, self._end_if_mute, child, began)

    def _end_if_mute(self, child: Child, began: float) -> None:
        """End a server that is stuck, so that the next call finds another; it may still be busy with an older call."""
        is_busy = any(begun <= began for begun in self._begun.values())
        if self._child is child and self._heard_at < began and not is_busy:
            self._give_up("The server answered nothing any more, and was ended.")

    def _write(self, message: bytes) -> None:
        child = self._child
        if child is None or not child.running:
            raise Unavailable(self._gone, detail=self._log.tail(), sent=False)
        if child.unsent > _MAX_UNSENT:
            raise Unavailable("The server has stopped reading its requests.", sent=False)
        child.write(message + b"\n")

    def _tell_cancelled(self, number: int) -> None:
        if self.alive and self._child is not None:
            params = {"requestId": number, "reason": "the caller no longer waits"}
            self._child.write(dump({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}) + b"\n")

    def _ended(self) -> None:
        self._fail_all("The server's process ended in the middle of the call.")
        self._lost()

    def _fail_all(self, why: str) -> None:
        self._awaited.fail_all(Unavailable(why, detail=self._log.tail()))

    def _output(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        first, *others = data.split(b"\n")
        self._extend(first)
        for following in others:
            self._end_line()
            if self._noise_run > _MAX_NOISE:
                self._silence()
                return
            self._extend(following)
        if self._burst:
            rest_s = self._tempo.rest_after(self._burst, asyncio.get_running_loop().time())
            self._burst = 0
            if rest_s and self._child is not None:
                self._child.rest(rest_s)

    def _extend(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > self._limit:
            self._skipping = True
        if self._skipping:  # keep what may name the call, drop the rest
            self._line = self._line[:_HEAD] + self._line[_HEAD:][-_HEAD:]

    def _end_line(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        self._noise_run += 1  # until it proves to be something
        if self._skipping:
            self._skipping = False
            self.noise.oversized += 1
            self._unusable(
                line, f"The server's answer is too large: more than {self._limit} bytes (max_message_bytes)."
            )
        elif line.strip():
            self._message(line)

    def _message(self, line: bytes) -> None:
        try:
            messages = messages_in(parse(line))
        except CodecError as error:
            self.noise.garbage += 1
            self._unusable(line, f"The server's answer is not JSON ({error}).")
            return
        if not messages:
            self.noise.garbage += 1
        for message in messages:
            self._take(message, len(line))

    def _take(self, message: Mapping[str, Any], size: int) -> None:
        method = message.get("method")
        if method is None:
            self._response(message, size)
            return
        self._noise_run = 0
        self._burst += 1
        if "id" not in message:
            self._ears.hear(message)
            return
        ear = self._ears.asked()
        if method == "ping" or ear is None or not ear.ask(message, self._reply):
            self._say(answer_to(message))

    async def _reply(self, message: bytes) -> None:
        self._say(message)

    def _say(self, message: bytes) -> None:
        if self._child is not None and self._child.unsent <= _MAX_UNSENT:
            self._child.write(message + b"\n")

    def _response(self, message: Mapping[str, Any], size: int) -> None:
        if self._awaited.answered(message, size):
            self._noise_run = 0
        else:
            self.noise.foreign += 1

    def _silence(self) -> None:
        """End a server that floods the gateway with lines that answer nothing: reading them would starve the others."""
        self._give_up("The server wrote a flood of what is not MCP, and was ended.")

    def _give_up(self, why: str) -> None:
        self._gone = why
        self._fail_all(why)
        if self._child is not None:
            self._child.kill()

    def _unusable(self, line: bytes, why: str) -> None:
        """End the one call that a line which cannot be read says it answers, if it says so where only its id can be."""
        named = _ID_FIRST.match(line) or _ID_LAST.search(line)
        if named:
            self._awaited.fail(int(named[1]), ConnectorFault(why, code="contract_broken"))
