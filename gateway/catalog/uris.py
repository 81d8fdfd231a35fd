"""Which server a resource URI belongs to, and how one that two servers offer is told apart."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

__all__ = ["MAX_URI", "Offered", "own_uri", "servers_of", "shown_uri", "split_own"]

MAX_URI: Final = 8192
_OWN: Final = "toolgate://"
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
    return f"{_OWN}{server}/{uri}"


def split_own(uri: str) -> tuple[str, str] | None:
    """Return the server and the URI that `own_uri` put together, or None for any other URI."""
    if not uri.startswith(_OWN):
        return None
    server, _, rest = uri[len(_OWN) :].partition("/")
    return (server, rest) if server and rest else None


def shown_uri(server: str, item: Mapping[str, Any], key: str, shared: Collection[str]) -> Mapping[str, Any]:
    """Return a listed resource or template as agents see it: under the gateway's own URI where others offer its."""
    return {**item, key: own_uri(server, item[key])} if item[key] in shared else item


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
