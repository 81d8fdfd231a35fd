"""Mail addresses in their plain form, and which of them may be written to."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["Recipients", "is_address"]

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = rf"{_LABEL}(?:\.{_LABEL})+"
_LOCAL: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_ADDRESS: Final = re.compile(rf"(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN})")
_ANYBODY: Final = re.compile(rf"\*@(?P<below>\*\.)?(?P<domain>{_DOMAIN})")
_LONGEST: Final = 254


def is_address(text: str) -> bool:
    """Tell whether `text` is one address: no display name, quotes, comments or non-ASCII characters (RFC 5321)."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and len(text) <= _LONGEST and len(found["local"]) <= 64


class Recipients:
    """The addresses that may be written to. Letter case makes no difference.

    Raises:
        ValueError: a pattern is none of `ann@acme.example`, `*@acme.example`, `*@*.acme.example`.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._addresses: set[str] = set()
        self._domains: set[str] = set()
        self._below: list[str] = []
        for pattern in patterns:
            self._add(pattern.lower())

    def allow(self, address: str) -> bool:
        """Tell whether `address` is an address that some pattern names."""
        if not is_address(address):
            return False
        lower = address.lower()
        domain = lower.rpartition("@")[2]
        return lower in self._addresses or domain in self._domains or any(domain.endswith(end) for end in self._below)

    def _add(self, pattern: str) -> None:
        anybody = _ANYBODY.fullmatch(pattern)
        if anybody is None:
            if not is_address(pattern) or "*" in pattern:
                raise ValueError(f"{pattern!r} is none of ann@acme.example, *@acme.example, *@*.acme.example")
            self._addresses.add(pattern)
        elif anybody["below"]:
            self._below.append(f".{anybody['domain']}")
        else:
            self._domains.add(anybody["domain"])
