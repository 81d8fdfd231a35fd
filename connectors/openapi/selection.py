"""Which operations of a description become tools: those that are named, and no others."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Final

from connectors.openapi.document import Document, SpecRefused

__all__ = ["Found", "selected"]

_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_REQUEST: Final = re.compile(r"([A-Z]+) (/.*)")
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """One operation as it stands in the description, with the parameters of its path."""

    method: str
    path: str
    operation: Mapping[str, Any] = field(repr=False)
    shared: Sequence[Any] = field(default=(), repr=False)

    @property
    def identity(self) -> str:
        """Its operationId, or nothing."""
        return str(self.operation.get("operationId") or "")

    @property
    def name(self) -> str:
        """What the tool is called: after the operationId, else the method and path."""
        return _FOREIGN.sub("_", self.identity or f"{self.method.lower()} {self.path}").strip("_")[:128] or "operation"


def selected(document: Document, wanted: Sequence[str]) -> list[Found]:
    """Return the operations that `wanted` names, in the order of the description.

    Raises:
        SpecRefused: a name leads nowhere, or two operations would be called the same.
    """
    every = list(_every(document))
    for entry in wanted:
        if not any(_is(found, entry) for found in every):
            known = [found.identity or f"{found.method} {found.path}" for found in every]
            near = get_close_matches(entry, known, n=1) or known[:1]
            raise SpecRefused(f"operations: {entry!r} is not in the description{f', {near[0]!r} is' if near else ''}")
    chosen = [found for found in every if any(_is(found, entry) for entry in wanted)]
    names = [found.name for found in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecRefused(f"two operations would be called {twice!r}: name one of them")
    return chosen


def _is(found: Found, entry: str) -> bool:
    request = _REQUEST.fullmatch(entry)
    if request is None:
        return found.identity == entry
    return found.method == request[1] and fnmatchcase(found.path, request[2])


def _every(document: Document) -> Iterator[Found]:
    for path, node in document.root["paths"].items():
        if not isinstance(node, Mapping) or not path.startswith("/"):
            continue
        item = document.followed(node)
        for method in _METHODS:
            operation = item.get(method.lower())
            if isinstance(operation, Mapping):
                yield Found(method, path, operation, item.get("parameters") or ())
