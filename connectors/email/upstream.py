"""Mail out: one tool, which only writes to whom it may."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from connectors.egress import Resolve, system_addresses
from connectors.email.config import EmailConfig
from connectors.email.delivery import MailServer
from connectors.email.message import Drafts
from gateway.connector import (
    Definitions,
    Effect,
    Rejected,
    Surroundings,
    ToolCall,
    ToolsOnly,
    ToolTraits,
    Unavailable,
    dump,
    plain,
)

__all__ = ["EmailUpstream"]

_OPEN_S: Final = 20.0
_TOOL: Final = "send"
_SENT: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"message_id": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["message_id", "answer"],
}


class EmailUpstream(ToolsOnly):
    """An `Upstream` over a mail server."""

    def __init__(self, config: EmailConfig, lent: Surroundings, resolve: Resolve = system_addresses) -> None:
        self._config = config
        self._clock = lent.clock
        self._server = MailServer(config, lent.redact, resolve)
        self._drafts = Drafts(config)
        self._opened = False

    async def open(self) -> None:
        await self._server.greet(_OPEN_S)
        self._opened = True

    async def close(self) -> None:
        self._opened = False

    async def tools(self) -> Definitions:
        return [_definition(self._config)]

    def traits(self, tool: str) -> ToolTraits | None:
        return ToolTraits(Effect.IRREVERSIBLE) if tool == _TOOL else None

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        if call.tool != _TOOL:
            raise Rejected(f"Mail has no tool {plain(call.tool, 80)!r}.")
        if not self._opened:
            raise Unavailable("The mail server is not open.", sent=False)
        draft = self._drafts.draft(call.arguments)
        name = sha256((call.idempotency_key or call.call_id).encode()).hexdigest()[:32]
        message_id = f"<{name}@{draft.sender.rpartition('@')[2]}>"
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        message = draft.written(message_id, now)
        said = await self._server.deliver(draft, message, call.timeout_s, call.measure)
        value = {"message_id": message_id, "answer": said}
        return {"content": [{"type": "text", "text": dump(value).decode()}], "structuredContent": value}


def _definition(config: EmailConfig) -> Mapping[str, Any]:
    return {
        "name": _TOOL,
        "description": f"Send a mail. Recipients: {', '.join(config.recipients)}.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "to": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": config.most_recipients},
                "subject": {"type": "string"},
                "text": {"type": "string", "description": "The message in plain text."},
                "html": {"type": "string", "description": "The same message in HTML."},
                "sender": {"type": "string", "enum": list(config.senders)},
            },
            "required": ["to", "subject", "text"],
            "additionalProperties": False,
        },
        "outputSchema": _SENT,
        "annotations": {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False},
    }
