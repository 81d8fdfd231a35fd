"""Turning a document into a frozen model, with every complaint at its line and column."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.config.document import Document, Trail
from gateway.config.problem import ConfigError
from gateway.model.problem import Problem

__all__ = ["Resolver", "check", "explain", "resolved"]

Resolver = Callable[[str], str]
"""Replaces the references in a text. Raises `ValueError`, whose `code` (if it has one) is stable."""

Model = TypeVar("Model", bound=BaseModel)
_SHORT: Final = 24


def check(document: Document, model: type[Model]) -> Model:
    """Return the document as `model`, types taken as written: "5" is no number and "yes" no boolean.

    Raises:
        ConfigError: with every problem there is.
    """
    data = {} if document.data is None else document.data
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(document, error, (), model)) from None


def explain(
    document: Document, error: ValidationError, within: Trail, model: type[BaseModel] | None = None
) -> list[Problem]:
    """Return what pydantic found wrong with the part of the document at `within`, each problem in its place.

    `model` is what the part was checked against; without it, a model of the error's title is looked for.
    """
    data = document.data
    for part in within:
        data = data[part]
    schema = (model or _titled(BaseModel, error.title)).model_json_schema()
    complaints = [details for details in error.errors(include_input=False) if not _follows(details, error)]
    found = [_problem(document, data or {}, details, (within, schema)) for details in complaints]
    return list(dict.fromkeys(found))


def _follows(details: Mapping[str, Any], error: ValidationError) -> bool:
    """Tell whether the complaint only follows from another: items that are wrong are not counted as there."""
    place = tuple(details["loc"])
    return details["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in error.errors()
    )


def _titled(model: type[BaseModel], title: str) -> type[BaseModel]:
    """Return the newest model of that name below `model`: a connector decides itself which one reads its section."""
    for child in model.__subclasses__():
        found = _titled(child, title)
        if found.__name__ == title:
            return found
    return model


def resolved(document: Document, within: Trail, resolve: Resolver) -> Document:
    """Return the document with the references replaced in every text below `within`.

    Raises:
        ConfigError: naming each reference that leads nowhere.
    """
    problems: list[Problem] = []

    def walk(node: Any, trail: Trail) -> Any:
        inside = trail[: len(within)] == within[: len(trail)]
        if isinstance(node, dict) and inside:
            return {key: walk(value, (*trail, key)) for key, value in node.items()}
        if isinstance(node, list) and inside:
            return [walk(value, (*trail, index)) for index, value in enumerate(node)]
        if isinstance(node, str) and inside and len(trail) > len(within):
            try:
                return resolve(node)
            except ValueError as fault:
                code = str(getattr(fault, "code", "reference"))
                problems.append(document.problem(trail, code, str(fault)))
        return node

    data = walk(document.data, ())
    if problems:
        raise ConfigError(problems)
    return Document(document.file, data, document.keys, document.values)


def _problem(
    document: Document, data: Any, details: Mapping[str, Any], checked: tuple[Trail, Mapping[str, Any]]
) -> Problem:
    location, kind = tuple(details["loc"]), str(details["type"])
    within, schema = checked
    inner = _trail(data, location)
    trail = (*within, *inner)
    if kind == "extra_forbidden":
        known = sorted(set(_known(schema, schema, inner[:-1])))
        return document.problem(
            trail, "unknown_key", f"`{trail[-1]}` is not known here", _nearest(trail[-1], known), key=True
        )
    if kind == "missing":
        return document.problem(
            trail, "missing_key", f"`{location[-1]}` is required here", f"add `{location[-1]}:`", key=True
        )
    message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    name = f"`{trail[-1]}`: " if trail else ""
    return document.problem(trail, "wrong_value", name + message[:1].lower() + message[1:], key="[key]" in location)


def _nearest(word: str | int, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # as in the catalog

    near = get_close_matches(str(word), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known here: {', '.join(known)}" if 0 < len(known) <= _SHORT else ""


def _trail(data: Any, location: Sequence[str | int]) -> Trail:
    """Return the part of the data that pydantic's location means: it also names unions and validators on the way."""
    if not location:
        return ()
    head, rest = location[0], location[1:]
    skipped = _trail(data, rest)
    is_there = (isinstance(data, dict) and head in data) or (
        isinstance(data, list) and isinstance(head, int) and head < len(data)
    )
    if not is_there:
        return skipped
    entered = (head, *_trail(data[head], rest))
    return entered if len(entered) > len(skipped) else skipped


def _known(schema: Mapping[str, Any], node: Mapping[str, Any], trail: Trail) -> Iterator[str]:
    """Yield the keys the schema knows at `trail`, in any branch of a union."""
    reference = node.get("$ref")
    if isinstance(reference, str):
        node = schema["$defs"][reference.rpartition("/")[2]]
    for branch in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
        yield from _known(schema, branch, trail)
    if not trail:
        yield from node.get("properties", ())
        return
    named = node.get("properties", {}).get(trail[0])
    patterned = node.get("patternProperties", {}).values()
    for child in (named, *patterned, node.get("additionalProperties"), node.get("items")):
        if isinstance(child, dict):
            yield from _known(schema, child, trail[1:])
