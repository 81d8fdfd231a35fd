"""One tool of an HTTP API: its definition, and where each of its arguments goes in a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from gateway.connector import Effect, ToolTraits

__all__ = ["Body", "Form", "Operation", "Part", "Place", "Style", "annotations", "usual_effect"]


class Place(StrEnum):
    """Where in a request an argument goes."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    COOKIE = "cookie"


class Style(StrEnum):
    """How a list or an object is written (OpenAPI 3.1 §4.8.12)."""

    FORM = "form"
    SIMPLE = "simple"
    SPACE = "spaceDelimited"
    PIPE = "pipeDelimited"
    DEEP = "deepObject"
    JSON = "json"


class Form(StrEnum):
    """How a body is written."""

    JSON = "application/json"
    URLENCODED = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Part:
    """An argument that goes into the path, the query, a header or a cookie, as `name`."""

    argument: str
    name: str
    place: Place
    style: Style = Style.FORM
    explode: bool = True


@dataclass(frozen=True, slots=True)
class Body:
    """The body: the value of one argument, or an object of several, by name in the body."""

    argument: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    media: str = Form.JSON.value
    form: Form = Form.JSON


@dataclass(frozen=True, slots=True)
class Operation:
    """One tool. `path` is a template with `{name}` for each part in the path.

    `wrapped` says that an answer that is no object becomes `{"result": answer}`; `more` are paths in an answer
    at which it says that there is more.
    """

    name: str
    method: str
    path: str
    definition: Mapping[str, Any] = field(repr=False)
    traits: ToolTraits
    parts: tuple[Part, ...] = ()
    body: Body | None = None
    wrapped: bool = False
    more: tuple[tuple[str, ...], ...] = ()


_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def usual_effect(method: str) -> Effect:
    """Return what a method does to the world where nobody says otherwise (RFC 9110 §9.2.1; what is deleted is gone)."""
    if method in _READS:
        return Effect.READ
    return Effect.IRREVERSIBLE if method == "DELETE" else Effect.WRITE


def annotations(title: str, traits: ToolTraits) -> dict[str, Any]:
    """Return MCP's hints for a tool."""
    return {
        "title": title,
        "readOnlyHint": traits.effect is Effect.READ,
        "destructiveHint": traits.effect is Effect.IRREVERSIBLE,
        "idempotentHint": traits.idempotent or traits.effect is Effect.READ,
    }
