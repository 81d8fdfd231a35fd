"""The arguments of an operation: how each is called, and where it goes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from connectors.openapi.document import Document, SpecRefused
from connectors.openapi.schemas import Schemas
from connectors.rest.operation import Body, Form, Part, Place, Style

__all__ = ["Arguments"]

_NEVER: Final = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.1 §4.8.12.1: these are ignored
_STYLES: Final[Mapping[Place, frozenset[Style]]] = {
    Place.PATH: frozenset({Style.SIMPLE}),
    Place.QUERY: frozenset({Style.FORM, Style.SPACE, Style.PIPE, Style.DEEP}),
    Place.HEADER: frozenset({Style.SIMPLE}),
    Place.COOKIE: frozenset({Style.FORM}),
}
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_BODY: Final = "body"


class Arguments:
    """Collects the arguments of one operation. `filled` tells what the gateway itself fills: agents never see it."""

    def __init__(self, document: Document, filled: Callable[[str, str], bool]) -> None:
        self._document = document
        self._filled = filled
        self._schemas = Schemas(document, "readOnly")
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self.parts: list[Part] = []
        self.body: Body | None = None

    def add_parameters(self, parameters: Iterable[Mapping[str, Any]]) -> None:
        """Take parameters, as OpenAPI 3 has them. Raises `SpecRefused`."""
        for parameter in parameters:
            name, place = str(parameter.get("name", "")), _place(parameter)
            if (place is Place.HEADER and name.lower() in _NEVER) or self._filled(place.value, name):
                continue
            schema, style = self._written(parameter, name, place)
            argument = self._free_name(name, place)
            explode = parameter.get("explode", style is Style.FORM)
            self.parts.append(Part(argument, name, place, style, explode is True))
            if isinstance(parameter.get("description"), str):
                schema = {**schema, "description": parameter["description"]}
            self._properties[argument] = schema
            if parameter.get("required") is True or place is Place.PATH:
                self._required.append(argument)

    def add_body(self, node: Mapping[str, Any]) -> None:
        """Take a request body, as OpenAPI 3 has it. Raises `SpecRefused`."""
        content = node.get("content") or {}
        media, form = _media(content)
        schema = self._schemas.part(content[media].get("schema", {}) if isinstance(content[media], Mapping) else {})
        if isinstance(node.get("description"), str) and node["description"]:
            schema = {"description": node["description"], **schema}
        self._properties[_BODY] = schema
        self.body = Body(_BODY, media=form.value if "*" in media else media, form=form)
        if node.get("required") is True:
            self._required.append(_BODY)

    def schema(self) -> dict[str, Any]:
        """Return the input schema. Raises `SpecRefused`."""
        return self._schemas.with_definitions(
            {
                "type": "object",
                "properties": self._properties,
                "required": list(self._required),
                "additionalProperties": False,
            }
        )

    def placed(self, path: str) -> None:
        """Raise `SpecRefused` where `path` has a placeholder that no parameter fills."""
        there = {part.name for part in self.parts if part.place is Place.PATH}
        missing = [name for name in re.findall(r"\{([^{}]*)\}", path) if name not in there]
        if missing:
            raise SpecRefused(f"no parameter fills {{{missing[0]}}}")

    def _written(self, parameter: Mapping[str, Any], name: str, place: Place) -> tuple[dict[str, Any], Style]:
        content = parameter.get("content")
        if isinstance(content, Mapping):
            media, form = _media(content)
            if form is not Form.JSON:
                raise SpecRefused(f"parameter {name}: {media} is not supported")
            return self._schemas.part(content[media].get("schema", {})), Style.JSON
        said = parameter.get("style", Style.FORM if place in {Place.QUERY, Place.COOKIE} else Style.SIMPLE)
        if said not in _STYLES[place]:
            raise SpecRefused(f"parameter {name}: the style {said} is not supported in a {place.value}")
        return self._schemas.part(parameter.get("schema", {})), Style(said)

    def _free_name(self, name: str, place: Place) -> str:
        """Return what the argument is called: models take letters, digits and `_.-`, at most 64."""
        plain = _FOREIGN.sub("_", name).strip("_")[:50] or place.value
        for free in _candidates(plain, place):
            if free not in self._properties and free != _BODY:
                return free
        raise SpecRefused(f"too many parameters are called {name}")


def _candidates(plain: str, place: Place) -> Iterator[str]:
    yield plain
    yield f"{place.value}_{plain}"
    yield from (f"{plain}_{number}" for number in range(2, 100))


def _place(parameter: Mapping[str, Any]) -> Place:
    try:
        return Place(str(parameter.get("in")))
    except ValueError:
        raise SpecRefused(f"parameter {parameter.get('name')}: there is no place {parameter.get('in')!r}") from None


def _media(content: Mapping[str, Any]) -> tuple[str, Form]:
    """Return the media type to write, and how."""
    for media in content:
        kind = media.partition(";")[0].strip().lower()
        if kind in {"application/json", "*/*", "application/*"} or kind.endswith("+json"):
            return media, Form.JSON
    for media in content:
        if media.partition(";")[0].strip().lower() == Form.URLENCODED:
            return media, Form.URLENCODED
    raise SpecRefused(f"a body of {', '.join(content) or 'no type'} is not supported")
