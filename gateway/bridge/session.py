"""The session of a client that opened one with `initialize`; stateless clients have none."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.bridge.channel import Lost, NotSent
from gateway.bridge.launch import GatewayDown, Line
from gateway.bridge.messages import Message, header_value, is_answer_to, read

__all__ = ["Session"]

_RENEWAL_ID: Final = "toolgate-bridge-renewal"


class Session:
    """What `initialize` agreed on, kept so that it can be agreed on again with a gateway that has restarted.

    `extra` are headers that go with every message.
    """

    def __init__(self, path: str = "/mcp", extra: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._extra = dict(extra or {})
        self._lock = threading.Lock()
        self._opening: Message | None = None
        self._version = ""
        self.id = ""

    @property
    def is_open(self) -> bool:
        return self._opening is not None

    def headers(self, message: Message, bearer: str) -> dict[str, str]:
        """Return the headers `message` travels with (PROTOCOL.md: the two eras differ)."""
        headers = {
            "Authorization": f"Bearer {bearer}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Toolgate-Transport": "stdio",
            **self._extra,
        }
        modern = message.modern_version
        if modern:
            headers |= {"MCP-Protocol-Version": header_value(modern), "Mcp-Method": header_value(message.method)}
            if message.name:
                headers["Mcp-Name"] = header_value(message.name)
        elif message.method != "initialize":
            headers |= {"MCP-Protocol-Version": header_value(self._version)} if self._version else {}
            headers |= {"Mcp-Session-Id": self.id} if self.id else {}
        return headers

    def opened(self, opening: Message, session_id: str, answer: Mapping[str, Any]) -> None:
        """Note what an `initialize` led to; an error answer opens nothing."""
        result = answer.get("result")
        if isinstance(result, dict):
            version = result.get("protocolVersion")
            self._opening, self.id = opening, session_id
            self._version = version if isinstance(version, str) else ""

    def renew(self, line: Line, stale: str) -> None:
        """Open the session again unless another thread has since `stale` was refused.

        Raises:
            GatewayDown: the gateway does not agree to it.
            Lost: it went away meanwhile. NotSent: it was away already.
        """
        with self._lock:
            if self._opening is None or self.id != stale:
                return
            again = replace(self._opening, id=_RENEWAL_ID)
            request = {"jsonrpc": "2.0", "id": again.id, "method": again.method, "params": again.params}
            headers = self.headers(again, line.bearer)
            with line.channel.send("POST", self.path, headers, json.dumps(request).encode()) as exchange:
                said = (value for value in map(read, exchange.messages()) if value is not None)
                answer = next((value for value in said if is_answer_to(again, value)), {})
                self.opened(self._opening, exchange.header("Mcp-Session-Id"), answer)
            if self.id == stale:
                raise GatewayDown("The gateway restarted and refuses to open the session again: reconnect the client.")
            self._confirm(line)

    def _confirm(self, line: Line) -> None:
        done = Message(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', "notifications/initialized", None, {})
        with line.channel.send("POST", self.path, self.headers(done, line.bearer), done.raw) as exchange:
            exchange.body()

    def close(self, line: Line) -> None:
        """Tell the gateway that the client has left; nothing depends on the answer."""
        if not self.id:
            return
        headers = {"Authorization": f"Bearer {line.bearer}", "Mcp-Session-Id": self.id}
        try:
            with line.channel.send("DELETE", self.path, headers) as exchange:
                exchange.body()
        except (Lost, NotSent):
            return
