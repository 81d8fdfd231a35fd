"""What the gateway says of itself: the capabilities and instructions of everything behind it, as one server."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.catalog.screening import hidden_characters
from gateway.connector.pool import Upstreams
from gateway.model.identity import Identity
from gateway.model.task import TASKS_EXTENSION
from gateway.pipeline.directory import Directory
from gateway.task.forms import LEGACY, offers

__all__ = ["Welcome"]

_SETTLE_S: Final = 2.0
_MAX_INSTRUCTIONS: Final = 4000
_OWN: Final = (
    "Calls go through Toolgate, which checks each against the operator's policies. "
    "A refusal says what is missing: do that first, then repeat the call."
)


class Welcome:
    """Merges what the servers of an endpoint offer. A capability is claimed where some server has it."""

    def __init__(self, upstreams: Upstreams, directory: Directory) -> None:
        self._upstreams = upstreams
        self._directory = directory

    async def settled(self) -> None:
        """Wait a little for servers that have not been reached yet: what they offer would be missing."""
        await self._upstreams.settle(_SETTLE_S)

    def capabilities(self, endpoint: str, *, modern: bool) -> dict[str, Any]:
        """Return the merged server capabilities, in the form of an era: the same for every agent."""
        found = [offer.capabilities for offer in self._directory.offers(endpoint).values()]
        merged: dict[str, Any] = {"tools": {"listChanged": True}}
        if any("prompts" in each for each in found):
            merged["prompts"] = {"listChanged": True}
        if any("resources" in each for each in found):
            merged["resources"] = {"listChanged": True}
            if any(_subscribes(each) for each in found):
                merged["resources"]["subscribe"] = True
        for name in ("completions", "logging"):
            if any(name in each for each in found):
                merged[name] = {}
        extensions = _extensions(found)
        if not modern:
            extensions.pop(TASKS_EXTENSION, None)  # tasks have another form in sessions
        elif self._directory.asks_people or any(offers(each, LEGACY) for each in found):
            # a call waits for people as a task, and what is only a task at its server is one here too
            extensions = {TASKS_EXTENSION: {}, **extensions}
        if extensions:
            merged["extensions"] = extensions
        return merged

    def instructions(self, endpoint: str, identity: Identity) -> str:
        """Return the gateway's own instructions and those of each server that an agent may use, under its name.

        Those with text that is not what it looks like are left out.
        """
        parts = [_OWN]
        for server, offer in self._directory.offers(endpoint, identity).items():
            if offer.instructions and not hidden_characters({"instructions": offer.instructions}):
                parts.append(f"## {server}\n{offer.instructions[:_MAX_INSTRUCTIONS]}")
        return "\n\n".join(parts)


def _subscribes(capabilities: Mapping[str, Any]) -> bool:
    resources = capabilities.get("resources")
    return isinstance(resources, dict) and resources.get("subscribe") is True


def _extensions(found: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for each in found:
        extensions = each.get("extensions")
        if isinstance(extensions, dict):
            merged.update(extensions)
    return merged
