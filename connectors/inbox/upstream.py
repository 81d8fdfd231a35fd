"""Messages that came, as resources that are updated when another one comes."""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from connectors.inbox.config import InboxConfig
from connectors.inbox.signatures import checked
from gateway.connector import (
    CodecError,
    Definitions,
    Delivery,
    Notice,
    Offer,
    Rejected,
    Surroundings,
    ToolCall,
    ToolsOnly,
    ToolTraits,
    dump,
    parse,
)

__all__ = ["InboxUpstream"]

_UPDATED: Final = "notifications/resources/updated"
_JSON: Final = "application/json"
_DAY_MS: Final = 86_400_000


class InboxUpstream(ToolsOnly):
    """One resource for each hook, `inbox://SERVER/HOOK`: its latest messages, the newest first."""

    def __init__(self, config: InboxConfig, lent: Surroundings) -> None:
        self._config = config
        self._ids = lent.ids
        self._messages = {name: deque[Delivery](maxlen=hook.keep) for name, hook in config.hooks.items()}
        self._uris = {f"inbox://{lent.server}/{name}": name for name in config.hooks}
        self._tell: Notice = lambda method, params: None

    async def open(self) -> None:
        """Nothing has to be reached."""

    async def close(self) -> None:
        """Nothing is held."""

    def offer(self) -> Offer:
        return Offer(capabilities={"resources": {"subscribe": True}})

    async def tools(self) -> Definitions:
        return ()

    def traits(self, tool: str) -> ToolTraits | None:
        del tool
        return None

    async def listed(self, method: str) -> Definitions:
        if method != "resources/list":
            return ()
        return [self._resource(uri, name) for uri, name in self._uris.items()]

    def _resource(self, uri: str, name: str) -> Mapping[str, Any]:
        said = self._config.hooks[name].description
        return {
            "uri": uri,
            "name": name,
            "description": said or f"The latest messages that came in at {name}.",
            "mimeType": _JSON,
        }

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        if call.method in {"resources/subscribe", "resources/unsubscribe"}:
            return {}
        if call.method != "resources/read":
            raise Rejected("An inbox has resources to read, and nothing else.")
        uri = call.arguments.get("uri")
        name = self._uris.get(uri) if isinstance(uri, str) else None
        if name is None:
            raise Rejected("There is no such resource.")
        messages = [
            {"id": each.id, "at_ms": each.at_ms, "payload": each.payload} for each in reversed(self._messages[name])
        ]
        text = dump({"messages": messages}).decode()
        return {"contents": [{"uri": uri, "mimeType": _JSON, "text": text}]}

    def on_notice(self, listener: Notice) -> None:
        self._tell = listener

    async def watch(self, uris: frozenset[str]) -> None:
        """Every message is told of; whoever did not ask for it does not hear of it."""

    def hooks(self) -> Mapping[str, int]:
        return {name: hook.keep for name, hook in self._config.hooks.items()}

    def check(self, hook: str, headers: Mapping[str, str], body: bytes, now_ms: int) -> Delivery:
        known = self._config.hooks[hook]
        signed = checked(known.signed, known.keys(), headers, body, now_ms // 1000)
        try:
            payload = parse(body)
        except CodecError:
            if headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON:
                raise Rejected("This message is refused: it is not JSON, though it says so.") from None
            payload = body.decode("utf-8", "replace")
        name = signed.id or self._ids.new("msg")
        return Delivery(name, signed.key, now_ms, payload, now_ms + known.known_days * _DAY_MS)

    def take(self, hook: str, delivery: Delivery, *, again: bool = False) -> None:
        self._messages[hook].append(delivery)
        uri = next(uri for uri, name in self._uris.items() if name == hook)
        if not again:
            self._tell(_UPDATED, {"uri": uri})
