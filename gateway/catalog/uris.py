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
_MAX_VARIABLES: Final = 10


@dataclass(frozen=True, slots=True)
class Offered:
    """The URIs and URI templates (RFC 6570) that one server listed."""

    uris: Collection[str] = field(default_factory=frozenset)
    templates: Sequence[str] = ()

    def matches(self, uri: str) -> bool:
        """Tell whether one of the templates can expand to `uri`; read generously, as the server itself decides."""
        return any(pattern.fullmatch(uri) for pattern in map(_pattern, self.templates) if pattern is not None)


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
def _pattern(template: str) -> "re.Pattern[str] | None":
    parts = _VARIABLE.split(template)
    if len(parts) == 1 or len(parts) > _MAX_VARIABLES + 1 or len(template) > MAX_URI:
        return None
    return re.compile("(?s:.*)".join(re.escape(part) for part in parts))
