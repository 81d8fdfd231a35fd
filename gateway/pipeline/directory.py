"""What the servers offer besides tools: listed through the eyes of the policies, and whose a prompt or a URI is."""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalog.names import canonical_name, wire_names
from gateway.catalog.screening import hidden_characters
from gateway.catalog.uris import MAX_URI, Offered, own_uri, servers_of, shown_link, shown_uri, split_own
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import Definitions, Offer
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.identity import Identity
from gateway.pipeline.rules import RulesInForce
from gateway.policy import Outlook, may, visible

__all__ = ["Directory", "Place"]

_LOG = logging.getLogger(__name__)
_PATIENCE_S: Final = 3.0
_SETTLE_S: Final = 2.0
_PROMPTS: Final = "prompts/list"
_RESOURCES: Final = "resources/list"
_TEMPLATES: Final = "resources/templates/list"
_KEYS: Final = {_PROMPTS: "name", _RESOURCES: "uri", _TEMPLATES: "uriTemplate"}
_GET: Final = "prompts/get"
_READ: Final = "resources/read"
_ACTS: Final = {_PROMPTS: _GET, _RESOURCES: _READ, _TEMPLATES: _READ}


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: the server, and what the server itself calls it."""

    server: str
    name: str


class Directory:
    """Asks the servers when somebody lists, and remembers the answers to tell whose a name is.

    A server that does not answer within `patience_s` delays nobody's list longer than that: it is listed as it last
    answered.
    """

    def __init__(self, upstreams: Upstreams, rules: RulesInForce, patience_s: float = _PATIENCE_S) -> None:
        self._upstreams = upstreams
        self._rules = rules
        self._patience_s = patience_s
        self._known: dict[tuple[str, str], Definitions] = {}
        self._fresh: set[tuple[str, str]] = set()

    async def settled(self, endpoint: str) -> None:
        """Wait a little for servers of an endpoint that have not been reached yet, as after a start of the gateway.

        What they offer is not known before.
        """
        await self._upstreams.settle(_SETTLE_S, self._servers(endpoint))

    def forget(self, server: str) -> None:
        """Take note that what a server offers has changed."""
        self._fresh.difference_update((server, method) for method in _KEYS)

    def offers(self, endpoint: str, identity: Identity | None = None) -> Mapping[str, Offer]:
        """Return what each server of an endpoint says of itself; with an `identity`, those it may use anything of."""
        servers = self._servers(endpoint)
        if identity is not None:
            servers = self._usable(servers, identity, endpoint)
        return {name: self._upstreams.get(name).offer() for name in servers}

    @property
    def asks_people(self) -> bool:
        """Whether there is anybody whom calls can wait for."""
        return bool(self._rules.current.people)

    def has(self, capability: str, endpoint: str) -> bool:
        """Tell whether a server of an endpoint has a capability, such as `prompts`."""
        return any(self._has(name, capability) for name in self._servers(endpoint))

    def tells(self, server: str) -> bool:
        """Tell whether a server takes subscriptions to its resources."""
        resources = self._upstreams.get(server).offer().capabilities.get("resources")
        return isinstance(resources, dict) and resources.get("subscribe") is True

    async def listed(self, method: str, identity: Identity, endpoint: str) -> Sequence[Mapping[str, Any]]:
        """Answer `prompts/list`, `resources/list` or `resources/templates/list`, as one agent sees it."""
        found = await self._ask(method, self._with(_capability(method), endpoint))
        key = _KEYS[method]
        seen = {server: self._seen(identity, method, server, items) for server, items in found.items()}
        if method == _PROMPTS:
            names = self._prompt_names(found, endpoint)
            return [
                {**prompt, key: names[server, prompt[key]]} for server, prompts in seen.items() for prompt in prompts
            ]
        counted = Counter(item[key] for items in found.values() for item in items)
        shared = {uri for uri, times in counted.items() if times > 1}
        return [shown_uri(server, item, key, shared) for server, items in seen.items() for item in items]

    def prospect(self, capability: str, identity: Identity, endpoint: str) -> Mapping[str, str]:
        """Return what an agent can hope for of the `prompts` or `resources` of each server, to be compared.

        Where that is another than before, so may its list be.
        """
        bundle, act = self._rules.current.bundle, _GET if capability == "prompts" else _READ
        hopes = {server: may(bundle, identity, act, server, None) for server in self._with(capability, endpoint)}
        return {
            server: hope if hope is Outlook.ALWAYS else bundle.digest
            for server, hope in hopes.items()
            if hope is not Outlook.NEVER
        }

    async def prompt(self, name: str, endpoint: str) -> Place:
        """Return whose prompt this is. Raises `RequestFault`: nobody's."""
        place = self._prompt_called(name, await self._remembered(_PROMPTS, endpoint), endpoint)
        if place is None:  # it may be new, at a server that does not say so
            found = await self._ask(_PROMPTS, self._with("prompts", endpoint))
            place = self._prompt_called(name, found, endpoint)
        if place is None:
            raise RequestFault(f"There is no prompt {name[:80]!a}. List the prompts again.", code="unknown_tool")
        return place

    async def resource(self, uri: str, endpoint: str, identity: Identity) -> Place:
        """Return whose resource this is.

        Raises:
            RequestFault: nobody's, or several servers': then the text says which URIs tell them apart.
        """
        if len(uri) > MAX_URI:
            raise RequestFault("The URI is too long.", code="too_large")
        servers = self._with("resources", endpoint)
        own = split_own(uri)
        if own is not None and own[0] in servers:
            return Place(*own)
        if len(servers) == 1:  # it need not list what it has
            return Place(servers[0], uri)
        candidates = servers_of(uri, await self._offered(servers))
        if not candidates:  # it may be new, at a server that does not say so
            candidates = servers_of(uri, await self._offered(servers, anew=True))
        if len(candidates) == 1:
            return Place(candidates[0], uri)
        code, said = "invalid_arguments", "Several servers have this resource"
        if not candidates:
            code, said = "unknown_tool", f"No server lists a resource {uri[:200]!a}"
        readable = [name for name in candidates or servers if self._may(identity, _READ, name, uri)]
        either = ", ".join(own_uri(server, uri[:200]) for server in readable[:5])
        raise RequestFault(f"{said}. Name the server: {either}." if either else f"{said}.", code=code)

    def uri_seen(self, place: Place, asked: str, answered: str) -> str:
        """Return the URI that an answer about `asked` shows for `answered`, as the server called it."""
        return own_uri(place.server, answered) if split_own(asked) is not None else answered

    async def linked(self, server: str, endpoint: str, content: Sequence[Any]) -> list[Any]:
        """Return a server's content with links that lead back to it, where others there have resources too."""
        servers = self._with("resources", endpoint)
        if len(servers) < 2 or server not in servers:
            return [*content]
        offered = await self._offered(servers)
        return [shown_link(server, block, offered) for block in content]

    async def _offered(self, servers: Collection[str], *, anew: bool = False) -> Mapping[str, Offered]:
        resources, templates = await asyncio.gather(
            self._ask(_RESOURCES, servers, anew=anew), self._ask(_TEMPLATES, servers, anew=anew)
        )
        return {
            server: Offered(
                frozenset(item["uri"] for item in resources[server]),
                tuple(item["uriTemplate"] for item in templates[server]),
            )
            for server in servers
        }

    async def _remembered(self, method: str, endpoint: str) -> Mapping[str, Definitions]:
        return await self._ask(method, self._with(_capability(method), endpoint), anew=False)

    async def _ask(self, method: str, servers: Iterable[str], *, anew: bool = True) -> Mapping[str, Definitions]:
        """Return what each server lists; what is remembered of it where it does not answer, or unless `anew`."""
        servers = list(servers)
        due = [name for name in servers if anew or (name, method) not in self._fresh]
        await asyncio.gather(*(self._learn(name, method) for name in due))
        return {name: self._known.get((name, method), ()) for name in servers}

    async def _learn(self, server: str, method: str) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                found = await self._upstreams.get(server).listed(method)
        except (ConnectorFault, TimeoutError) as fault:
            _LOG.warning("%s: %s could not be listed: %s", server, method, getattr(fault, "message", "no answer"))
            return
        key = _KEYS[method]
        fit = {item[key]: item for item in reversed(found) if isinstance(item.get(key), str)}
        hostile = [name for name, item in fit.items() if len(name) > MAX_URI or hidden_characters(item)]
        for name in hostile:
            _LOG.warning(
                "%s: %s: %a is not listed: too long, or its text is not what it looks like", server, method, name[:80]
            )
            del fit[name]
        self._known[server, method] = [*reversed(fit.values())]
        self._fresh.add((server, method))

    def _servers(self, endpoint: str) -> list[str]:
        wanted = self._rules.current.servers_at(endpoint)
        return [name for name in self._upstreams.names() if wanted is None or name in wanted]

    def _with(self, capability: str, endpoint: str) -> list[str]:
        return [name for name in self._servers(endpoint) if self._has(name, capability)]

    def _has(self, server: str, capability: str) -> bool:
        return capability in self._upstreams.get(server).offer().capabilities

    def _usable(self, servers: Iterable[str], identity: Identity, endpoint: str) -> list[str]:
        rules = self._rules.current
        tools = {tool.server for tool in rules.catalog_at(endpoint).tools() if visible(rules.bundle, identity, tool)}
        return [
            name
            for name in servers
            if name in tools or any(self._may(identity, method, name, None) for method in (_READ, _GET))
        ]

    def _may(self, identity: Identity, method: str, server: str, name: str | None) -> bool:
        return may(self._rules.current.bundle, identity, method, server, name) is not Outlook.NEVER

    def _seen(self, identity: Identity, method: str, server: str, items: Definitions) -> Definitions:
        """Return what of a server's list an agent may use."""
        act, key = _ACTS[method], _KEYS[method]
        any_of_them = may(self._rules.current.bundle, identity, act, server, None)
        if any_of_them in {Outlook.NEVER, Outlook.ALWAYS}:
            return items if any_of_them is Outlook.ALWAYS else ()
        return [item for item in items if self._may(identity, act, server, item[key])]

    def _prompt_called(self, name: str, found: Mapping[str, Definitions], endpoint: str) -> Place | None:
        for (server, own), wire in self._prompt_names(found, endpoint).items():
            if name in {wire, canonical_name(server, own)}:
                return Place(server, own)
        return None

    def _prompt_names(self, found: Mapping[str, Definitions], endpoint: str) -> Mapping[tuple[str, str], str]:
        """Return server and own name → the name agents see: the prompt's own where the endpoint has bare names."""
        places = [(server, str(prompt["name"])) for server, prompts in found.items() for prompt in prompts]
        wires = wire_names(canonical_name(*place) for place in places)
        taken = {*wires, *wires.values()}
        times = Counter(own for _, own in places)
        bare = self._rules.current.bare_names_at(endpoint)
        return {
            (server, own): own if bare and times[own] == 1 and own not in taken else wires[canonical_name(server, own)]
            for server, own in places
        }


def _capability(method: str) -> str:
    return method.partition("/")[0]
