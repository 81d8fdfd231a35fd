"""JSON-RPC as far as the bridge must read it: what a line is, and what it travels with."""

import base64
import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "Malformed",
    "Message",
    "addressed",
    "error",
    "header_value",
    "is_answer_to",
    "parse",
    "read",
    "refused",
    "tool_error",
]

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
_NAMED_BY: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_TOO_LARGE: Final = frozenset({413, 431})
_PASSING: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing against the request itself."""

_LASTING: Final = frozenset({"outcome_unknown", "rejected", "too_large"})
"""Codes of what another try would not change."""

_SENTINEL: Final = re.compile(r"=\?base64\?.*\?=")


class Malformed(Exception):
    """A line that is no JSON-RPC message; `code` is the JSON-RPC error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One JSON-RPC message. `raw` is what the host wrote and what the gateway receives, byte for byte.

    Only a byte order mark in front is left out, as RFC 8259 §8.1 has it: .NET writes one before all else.
    """

    raw: bytes = field(repr=False)
    method: str
    id: str | int | float | None
    params: Mapping[str, Any] = field(repr=False)

    @property
    def is_request(self) -> bool:
        return bool(self.method) and self.id is not None

    @property
    def modern_version(self) -> str:
        """The stateless protocol version the message names itself, or ""."""
        meta = self.params.get("_meta")
        version = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        return version if isinstance(version, str) else ""

    @property
    def name(self) -> str:
        """What the request is about (a tool, a prompt, a resource), or ""."""
        value = self.params.get(_NAMED_BY.get(self.method, ""))
        return value if isinstance(value, str) else ""


def parse(line: bytes) -> Message:
    """Read one line.

    Raises:
        Malformed: it is not JSON, or not a single JSON-RPC message.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise Malformed(-32700, "Parse error: the line is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed(-32600, "Invalid request: one JSON-RPC object per line is expected")
    method, identifier, params = value.get("method", ""), value.get("id"), value.get("params", {})
    if not isinstance(method, str) or isinstance(identifier, bool | dict | list):
        raise Malformed(-32600, "Invalid request: `method` must be text, and `id` text or a number")
    raw = line.strip().removeprefix(codecs.BOM_UTF8)
    return Message(raw, method, identifier, params if isinstance(params, dict) else {})


def header_value(value: str) -> str:
    """Return `value` as a header can carry it: in base64 unless it is printable ASCII without edge spaces."""
    if _PRINTABLE.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode('ascii')}?="


def read(payload: bytes) -> Mapping[str, Any] | None:
    """Return the message the gateway sent, or None when it is no JSON object."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_answer_to(message: Message, value: Mapping[str, Any]) -> bool:
    """Tell whether a message of the gateway is the result or the error of `message`."""
    return "method" not in value and "id" in value and value["id"] == message.id


def addressed(message: Message, value: Mapping[str, Any] | None) -> bytes | None:
    """Return the JSON-RPC error the gateway sent as the answer to `message`; None when it is no error.

    A refusal made before the body was read carries no id, and its reader would wait for ever.
    """
    if value is None or not isinstance(value.get("error"), dict):
        return None
    return json.dumps({**value, "id": message.id}).encode()


def error(identifier: str | float | None, code: int, text: str, reason: str = "") -> bytes:
    """Return a JSON-RPC error; `reason` is the stable code of ERRORS.md."""
    body: dict[str, Any] = {"code": code, "message": text}
    if reason:
        body["data"] = {"code": reason}
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "error": body}).encode()


def refused(message: Message, status: int) -> bytes:
    """Return the answer to a request that the gateway refused with an HTTP status alone."""
    why = f"The gateway answered with HTTP status {status}."
    if status >= 500 or status in _PASSING:
        return tool_error(message, "unavailable", why)
    if status in _TOO_LARGE:
        return tool_error(message, "too_large", f"{why} The message, or the name in it, is too long: send less.")
    return tool_error(message, "rejected", f"{why} Repeating the request unchanged will not help.")


def tool_error(message: Message, reason: str, text: str) -> bytes:
    """Return the answer to a failed request: a result the model reads for a tool call, else a JSON-RPC error."""
    if message.method != "tools/call":
        return error(message.id, -32603, text, reason)
    refusal = {"code": reason, "retryable": reason not in _LASTING}
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "structuredContent": refusal,
        "_meta": {"io.toolgate/refusal": refusal},  # the shape the gateway's own refusals have
    }
    if message.modern_version:
        result["resultType"] = "complete"
    return json.dumps({"jsonrpc": "2.0", "id": message.id, "result": result}).encode()
