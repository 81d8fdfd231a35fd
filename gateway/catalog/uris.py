"""Which server a resource URI belongs to, and how one that two servers offer is told apart."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

__all__ = ["MAX_URI", "Offered", "links_in", "own_uri", "servers_of", "shown_link", "shown_uri", "split_own"]

MAX_URI: Final = 8192
_PAGE: Final = "ui://"
"""How URIs of pages begin (MCP Apps): hosts look for it, so the gateway's own for them begin so too."""

_OWN: Final = "toolgate://"
_OWN_PAGE: Final = f"{_PAGE}toolgate/"
_LINK: Final = "resource_link"
_EMBEDDED: Final = "resource"
_OF_THE_WEB: Final = ("https://", "http://")
_VARIABLE: Final = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Offered:
    """The URIs and URI templates (RFC 6570) that one server listed."""

    uris: Collection[str] = field(default_factory=frozenset)
    templates: Sequence[str] = ()

    def matches(self, uri: str) -> bool:
        """Tell whether one of the templates can expand to `uri`; read generously, as the server itself decides."""
        return any(_fits(uri, _parts(template)) for template in self.templates)


def servers_of(uri: str, offered: Mapping[str, Offered]) -> list[str]:
    """Return the servers that offer `uri`: those that list it, else those with a template for it."""
    listed = [server for server, each in offered.items() if uri in each.uris]
    return listed or [server for server, each in offered.items() if each.matches(uri)]


def own_uri(server: str, uri: str) -> str:
    """Return a URI of the gateway's own that stands for `uri` of one server, whoever else offers the same."""
    return f"{_OWN_PAGE}{server}/{uri[len(_PAGE) :]}" if uri.startswith(_PAGE) else f"{_OWN}{server}/{uri}"


def split_own(uri: str) -> tuple[str, str] | None:
    """Return the server and the URI that `own_uri` put together, or None for any other URI."""
    for own, scheme in ((_OWN, ""), (_OWN_PAGE, _PAGE)):
        if uri.startswith(own):
            server, _, rest = uri[len(own) :].partition("/")
            return (server, f"{scheme}{rest}") if server and rest else None
    return None


def shown_uri(server: str, item: Mapping[str, Any], key: str, shared: Collection[str]) -> Mapping[str, Any]:
    """Return a listed resource or template as agents see it: under the gateway's own URI where others offer its."""
    return {**item, key: own_uri(server, item[key])} if item[key] in shared else item


def links_in(content: Any) -> bool:
    """Tell whether content holds links to resources, or resources themselves."""
    for block in content if isinstance(content, list) else ():  # a generator triples the cost
        if isinstance(block, dict) and block.get("type") in (_LINK, _EMBEDDED):
            return True
    return False


def shown_link(server: str, block: Any, offered: Mapping[str, Offered]) -> Any:
    """Return a block of a server's content with a URI that leads to that server where its own would not.

    What a link names need not be listed by its server. A page of the web is read there, and of what is embedded, which
    need not be read, only a URI that others offer as well is changed.
    """
    linked = isinstance(block, dict) and block.get("type") == _LINK
    named: Any = block if linked else block.get("resource") if isinstance(block, dict) else None
    uri = named.get("uri") if isinstance(named, dict) else None
    if not isinstance(uri, str) or len(uri) > MAX_URI:
        return block
    offering = servers_of(uri, offered)
    if offering == [server] or not (offering or (linked and not uri.startswith(_OF_THE_WEB))):
        return block
    shown = {**named, "uri": own_uri(server, uri)}
    return shown if linked else {**block, "resource": shown}


@lru_cache(maxsize=4096)
def _parts(template: str) -> tuple[str, ...]:
    """Return the plain texts around the variables of a template."""
    return tuple(_VARIABLE.split(template))


def _fits(uri: str, parts: Sequence[str]) -> bool:
    """Tell whether `uri` is these parts with anything between them, in linear time: templates are a server's text."""
    if len(parts) == 1:  # a template without a variable is none
        return False
    first, *middle, last = parts
    if len(uri) < len(first) + len(last) or not (uri.startswith(first) and uri.endswith(last)):
        return False
    position, end = len(first), len(uri) - len(last)
    for part in middle:
        found = uri.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
