"""Secrets that stand in the sections of servers themselves, as MCP hosts have them, and not in the secret store."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["written_secrets"]

_SHORTEST: Final = 8
"""What is shorter cannot be told from ordinary text that stands under such a name too."""

_NAMED: Final = re.compile(
    r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PWD|CREDENTIALS?|COOKIE|DSN|AUTHORIZATION)", re.IGNORECASE
)
"""How the name of a secret ends: AUTH_MODE, TOKEN_URL and KEY_FILE are none."""

_PLAIN: Final = re.compile(r"[a-z]+(?:[_.-][a-z]+|[A-Z][a-z]+)*|(?:~|\.{1,2})?/(?:[\w.@-]+/)+[\w.@-]*")
"""What stands under `PRIMARY_KEY` or `SSH_KEY` and is none: words, as the names of columns are, and paths."""

_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Token|ApiKey)\s+(\S+)", re.IGNORECASE)
_INSIDE: Final = re.compile(
    r"://[^/@\s:]*+:([^/@\s]++)@|[?&][^=&#]*?(?:key|token|secret|pass|password)=([^&#\s]++)", re.IGNORECASE
)


def written_secrets(servers: Mapping[str, Any]) -> frozenset[str]:
    """Return what must be kept from agents, by its name or where it stands: `TOKEN: …`, `Bearer …`, `--api-key …`."""
    return frozenset(found for found in _in(servers, "") if len(found) >= _SHORTEST)


def _in(node: Any, name: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _in(value, "key" if key == "value" and name == "auth" else str(key))
    elif isinstance(node, list):
        flag = ""
        for each in node:
            if isinstance(each, str) and each.startswith("-"):
                flag, given, value = each.partition("=")
                yield from _in(value, flag)
                flag = "" if given else flag
            else:
                yield from _in(each, flag)
                flag = ""
    elif isinstance(node, str):
        yield from filter(None, (part for found in _INSIDE.findall(node) for part in found))
        scheme = _SCHEME.fullmatch(node)
        if scheme:
            yield scheme[1]
        elif _ends_secret(name) and not (name.upper().endswith("KEY") and _PLAIN.fullmatch(node)):
            yield node


def _ends_secret(name: str) -> bool:
    return any(found.end() == len(name) for found in _NAMED.finditer(name))
