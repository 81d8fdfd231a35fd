"""What the servers offer besides tools: listed through the eyes of the policies, and whose a prompt or a URI is."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.names import canonical_name, wire_names
from gateway.catalog.uris import MAX_URI, Offered, own_uri, servers_of, shown_uri, split_own
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import Definitions, Offer
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.identity import Identity
from gateway.pipeline.rules import RulesInForce
from gateway.policy import Outlook, may

__all__ = ["Directory", "Place"]

_LOG = logging.getLogger(__name__)
_PROMPTS: Final = "prompts/list"
_RESOURCES: Final = "resources/list"
_TEMPLATES: Final = "resources/templates/list"
_KEYS: Final = {_PROMPTS: "name", _RESOURCES: "uri", _TEMPLATES: "uriTemplate"}
_ACTS: Final = {_PROMPTS: "prompts/get", _RESOURCES: "resources/read", _TEMPLATES: "resources/read"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: the server, and what the server itself calls it."""

    server: str
    name: str


class Directory:
    """Asks the servers when somebody lists, and remembers the answers to tell whose a name is.

    A server that does not answer empties and delays nobody's list: it is left out of this one.
    """

    def __init__(self, upstreams: Upstreams, rules: RulesInForce) -> None:
        self._upstreams = upstreams
        self._rules = rules
        self._known: dict[tuple[str, str], Definitions] = {}

    def forget(self, server: str) -> None:
        """Take note that what a server offers has changed."""
        for method in _KEYS:
            self._known.pop((server, method), None)

    def offers(self, endpoint: str) -> Mapping[str, Offer]:
        """Return what each server of an endpoint says of itself."""
        return {name: self._upstreams.get(name).offer() for name in self._servers(endpoint)}

    def has(self, capability: str, endpoint: str) -> bool:
        """Tell whether a server of an endpoint has a capability, such as `prompts`."""
        return any(self._has(name, capability) for name in self._servers(endpoint))

    def tells(self, server: str) -> bool:
        """Tell whether a server takes subscriptions to its resources."""
        resources = self._upstreams.get(server).offer().capabilities.get("resources")
        return isinstance(resources, dict) and resources.get("subscribe") is True

    async def listed(self, method: str, identity: Identity, endpoint: str) -> Sequence[Mapping[str, Any]]:
        """Answer `prompts/list`, `resources/list` or `resources/templates/list`, as one agent sees it."""
        found = await self._ask_all(method, endpoint)
        if method == _PROMPTS:
            names = self._prompt_names(found, endpoint)
            return [
                {**prompt, "name": names[server, prompt["name"]]}
                for server, prompts in found.items()
                for prompt in prompts
                if self._visible(identity, method, server, prompt["name"])
            ]
        key = _KEYS[method]
        counted = Counter(item[key] for items in found.values() for item in items)
        shared = {uri for uri, times in counted.items() if times > 1}
        return [
            shown_uri(server, item, key, shared)
            for server, items in found.items()
            for item in items
            if self._visible(identity, method, server, item[key])
        ]

    async def prompt(self, name: str, endpoint: str) -> Place:
        """Return whose prompt this is. Raises `RequestFault`: nobody's."""
        found = await self._remembered(_PROMPTS, endpoint)
        for (server, own), wire in self._prompt_names(found, endpoint).items():
            if name in {wire, canonical_name(server, own)}:
                return Place(server, own)
        raise RequestFault(f"There is no prompt {name[:80]!a}. List the prompts again.", code="unknown_tool")

    async def resource(self, uri: str, endpoint: str) -> Place:
        """Return whose resource this is.

        Raises:
            RequestFault: nobody's, or several servers': then the text says which URIs tell them apart.
        """
        if len(uri) > MAX_URI:
            raise RequestFault("The URI is too long.", code="too_large")
        servers = [name for name in self._servers(endpoint) if self._has(name, "resources")]
        own = split_own(uri)
        if own is not None and own[0] in servers:
            return Place(*own)
        candidates = servers
        if len(servers) > 1:
            candidates = servers_of(uri, await self._offered(endpoint))
        if len(candidates) == 1:
            return Place(candidates[0], uri)
        if not candidates:
            raise RequestFault(f"There is no resource {uri[:200]!a}.", code="unknown_tool")
        either = ", ".join(own_uri(server, uri[:200]) for server in candidates[:5])
        raise RequestFault(f"Several servers may have this resource; name one: {either}.", code="invalid_arguments")

    def uri_seen(self, place: Place, asked: str, answered: str) -> str:
        """Return the URI that an answer about `asked` shows for `answered`, as the server called it."""
        return own_uri(place.server, answered) if split_own(asked) is not None else answered

    async def _offered(self, endpoint: str) -> Mapping[str, Offered]:
        resources, templates = await asyncio.gather(
            self._remembered(_RESOURCES, endpoint), self._remembered(_TEMPLATES, endpoint)
        )
        return {
            server: Offered(
                frozenset(item["uri"] for item in resources.get(server, ())),
                tuple(item["uriTemplate"] for item in templates.get(server, ())),
            )
            for server in self._servers(endpoint)
            if self._has(server, "resources")
        }

    async def _remembered(self, method: str, endpoint: str) -> Mapping[str, Definitions]:
        wanted = [name for name in self._servers(endpoint) if self._has(name, _capability(method))]
        if any((name, method) not in self._known for name in wanted):
            await self._ask_all(method, endpoint)
        return {name: self._known.get((name, method), ()) for name in wanted}

    async def _ask_all(self, method: str, endpoint: str) -> Mapping[str, Definitions]:
        wanted = [name for name in self._servers(endpoint) if self._has(name, _capability(method))]
        answers = await asyncio.gather(*(self._ask(name, method) for name in wanted))
        return {name: found for name, found in zip(wanted, answers, strict=True) if found is not None}

    async def _ask(self, server: str, method: str) -> Definitions | None:
        try:
            found = await self._upstreams.get(server).listed(method)
        except ConnectorFault as fault:
            _LOG.warning("%s: %s could not be listed: %s", server, method, fault.message)
            return None
        key = _KEYS[method]
        fit = [item for item in found if isinstance(item.get(key), str) and len(item[key]) <= MAX_URI]
        self._known[server, method] = fit
        return fit

    def _servers(self, endpoint: str) -> list[str]:
        wanted = self._rules.current.servers_at(endpoint)
        return [name for name in self._upstreams.names() if wanted is None or name in wanted]

    def _has(self, server: str, capability: str) -> bool:
        return capability in self._upstreams.get(server).offer().capabilities

    def _visible(self, identity: Identity, method: str, server: str, name: str) -> bool:
        return may(self._rules.current.bundle, identity, _ACTS[method], server, name) is not Outlook.NEVER

    def _prompt_names(self, found: Mapping[str, Definitions], endpoint: str) -> Mapping[tuple[str, str], str]:
        """Return server and own name → the name agents see: the prompt's own where the endpoint has bare names."""
        places = [(server, str(prompt["name"])) for server, prompts in found.items() for prompt in prompts]
        wires = wire_names(canonical_name(*place) for place in places)
        times = Counter(own for _, own in places)
        bare = self._rules.current.bare_names_at(endpoint)
        return {
            (server, own): own if bare and times[own] == 1 else wires[canonical_name(server, own)]
            for server, own in places
        }


def _capability(method: str) -> str:
    return method.partition("/")[0]
