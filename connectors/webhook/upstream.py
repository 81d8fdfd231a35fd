"""Messages out: each place is a tool, each message is signed."""

from collections.abc import Mapping
from typing import Any, Final

from connectors.egress import Resolve, system_addresses
from connectors.rest.exchange import Exchange, Request
from connectors.webhook.config import WebhookConfig, WebhookTarget
from connectors.webhook.signing import message_id, signature
from gateway.connector import (
    Definitions,
    Effect,
    Failures,
    Rejected,
    Surroundings,
    ToolCall,
    ToolsOnly,
    ToolTraits,
    Unavailable,
    dump,
    plain,
)

__all__ = ["WebhookUpstream"]

_PREFIX: Final = "send_"
_MAX_ANSWER: Final = 1024 * 1024
_MAX_SAID: Final = 200
_SENT: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "message_id": {"type": "string", "description": "The `webhook-id` the receiver got."},
        "status": {"type": "integer"},
    },
    "required": ["message_id", "status"],
}


class WebhookUpstream(ToolsOnly):
    """An `Upstream` whose tools post messages to declared places."""

    def __init__(self, config: WebhookConfig, lent: Surroundings, resolve: Resolve = system_addresses) -> None:
        self._config = config
        self._clock = lent.clock
        self._redact = lent.redact
        self._version = lent.version
        self._tools = {f"{_PREFIX}{name}": target for name, target in config.targets.items()}
        self._exchange = Exchange(config.rules(), config.network(), _MAX_ANSWER, resolve)
        self._failures = Failures({})
        self._opened = False

    async def open(self) -> None:
        self._opened = True

    async def close(self) -> None:
        self._opened = False
        await self._exchange.close()

    async def tools(self) -> Definitions:
        return [_definition(name, target) for name, target in self._tools.items()]

    def traits(self, tool: str) -> ToolTraits | None:
        target = self._tools.get(tool)
        return _traits(target) if target else None

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        target = self._tools.get(call.tool)
        if target is None:
            raise Rejected(f"There is no webhook {plain(call.tool, 80)!r}.")
        if not self._opened:
            raise Unavailable("The webhooks are not open.", sent=False)
        data = call.arguments.get("data")
        if not isinstance(data, dict) or call.arguments.keys() != {"data"}:
            raise Rejected(f"{call.tool} takes `data`, an object, and nothing else.")
        message = message_id(call.idempotency_key or call.call_id)
        request = self._request(target, message, dump({"type": target.type, "data": data}))
        answer = await self._exchange.send(request, min(self._config.timeout_s, call.timeout_s), call.measure)
        if not 200 <= answer.status < 300:
            said = plain(self._redact(answer.body[: 4 * _MAX_SAID].decode("utf-8", "replace")), _MAX_SAID)
            raise self._failures.fault(answer.status, said, answer.headers.get("retry-after"))
        return _result({"message_id": message, "status": answer.status})

    def _request(self, target: WebhookTarget, message: str, body: bytes) -> Request:
        """Return the signed request (Standard Webhooks 1.0, "Webhook headers")."""
        now_s = self._clock.now_ms() // 1000
        secrets = [secret for secret in (target.secret, target.old_secret) if secret is not None]
        headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", f"toolgate/{self._version}"),
            ("webhook-id", message),
            ("webhook-timestamp", str(now_s)),
            ("webhook-signature", " ".join(signature(secret, message, now_s, body) for secret in secrets)),
        ]
        if target.idempotency_header is not None:
            headers.append((target.idempotency_header, message))
        return Request("POST", target.place, tuple(headers), body)


def _traits(target: WebhookTarget) -> ToolTraits:
    """What is sent cannot be taken back; a receiver that knows a repetition makes at least trying again safe."""
    if target.idempotency_header is None:
        return ToolTraits(Effect.IRREVERSIBLE)
    return ToolTraits(Effect.WRITE, idempotent=True)


def _definition(name: str, target: WebhookTarget) -> Mapping[str, Any]:
    traits = _traits(target)
    return {
        "name": name,
        "description": target.description or f"Send a message to {name.removeprefix(_PREFIX)}.",
        "inputSchema": {
            "type": "object",
            "properties": {"data": target.data},
            "required": ["data"],
            "additionalProperties": False,
        },
        "outputSchema": _SENT,
        "annotations": {
            "readOnlyHint": False,
            "destructiveHint": traits.effect is Effect.IRREVERSIBLE,
            "idempotentHint": traits.idempotent,
        },
    }


def _result(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"content": [{"type": "text", "text": dump(value).decode()}], "structuredContent": value}
