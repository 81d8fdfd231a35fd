"""The only module that speaks to the Cedar engine; `pst` is its syntax tree, read by the rest of this package.

The engine's process can be crashed by deeply nested text (POLICY.md §5): nothing reaches `parse` or `validate` that
`source.split` has not measured first.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import cedarpy
from cedarpy import pst

from gateway.model.light import light

__all__ = [
    "Answer",
    "CedarError",
    "EntitySet",
    "PolicySet",
    "Schema",
    "access",
    "authorize",
    "compile_policies",
    "load_entities",
    "load_schema",
    "parse",
    "parse_many",
    "pst",
    "quoted",
    "tested",
    "validate",
]

PolicySet: TypeAlias = cedarpy.PolicySet
Schema: TypeAlias = cedarpy.Schema
EntitySet: TypeAlias = cedarpy.Entities

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WORDS: Final = frozenset({"if", "then", "else", "in", "has", "like", "is", "true", "false"})
_FAILED_POLICY = re.compile(r"evaluating policy `([^`]+)`")


class CedarError(ValueError):
    """Cedar refused a text; the message is Cedar's own."""


@light
@dataclass(frozen=True, slots=True)
class Answer:
    """What Cedar said. `allowed` is True only for an Allow without a single error.

    `reasons` are the ids of the determining policies, `failed` of those that could not be evaluated, both sorted.
    `errors` say so in words, and never in Cedar's: its texts contain argument values.
    """

    allowed: bool
    reasons: tuple[str, ...]
    failed: tuple[str, ...]
    errors: tuple[str, ...]


def parse(text: str) -> pst.Template:
    """Return the one policy in `text`.

    Raises:
        CedarError: not exactly one policy, or a template with slots.
    """
    try:
        found = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise CedarError(str(error)) from None
    if found.templates:
        raise CedarError("slots (?principal, ?resource) are not supported: name the principal or the resource")
    if len(found.static_policies) != 1:
        raise CedarError("expected exactly one policy before the `;`")
    return next(iter(found.static_policies.values()))


def parse_many(policies: Mapping[str, str]) -> PolicySet:
    """Return one set from texts of one policy each, by id.

    Raises:
        CedarError: as `parse`.
    """
    return compile_policies(replace(parse(text), id=name) for name, text in policies.items())


def compile_policies(policies: Iterable[pst.Template]) -> PolicySet:
    """Return the engine's handle for these policies; an answer names them by their `id`.

    Raises:
        CedarError: the nodes do not form a set, for example because of two equal ids.
    """
    nodes = {policy.id: policy for policy in policies}
    try:
        return cedarpy.PolicySet.from_pst(pst.PolicySet(templates={}, static_policies=nodes, template_links=()))
    except ValueError as error:
        raise CedarError(str(error)) from None


def load_schema(schema: Mapping[str, Any]) -> Schema:
    """Return the engine's handle for a schema in Cedar's JSON form.

    Raises:
        CedarError: Cedar does not accept it.
    """
    try:
        return cedarpy.Schema.from_json_str(json.dumps(schema))
    except ValueError as error:
        raise CedarError(str(error)) from None


def load_entities(raw: bytes) -> EntitySet:
    """Return the engine's handle for entities in Cedar's JSON form.

    Raises:
        CedarError: Cedar does not accept them.
    """
    try:
        return cedarpy.Entities.from_json_str(raw.decode())
    except ValueError as error:
        raise CedarError(str(error)) from None


def validate(text: str, schema: Schema) -> tuple[str, ...]:
    """Return what strict validation has against the policy in `text`; empty when it passes."""
    return tuple(found.error for found in cedarpy.validate_policies(text, schema).errors)


def access(root: str, path: str) -> str:
    """Return the attribute of `root` at a path with dots."""
    return root + "".join(f".{name}" if _is_word(name) else f"[{quoted(name)}]" for name in path.split("."))


def tested(root: str, name: str) -> str:
    """Return the test whether `root` has an attribute."""
    return f"{root} has {name if _is_word(name) else quoted(name)}"


def _is_word(name: str) -> bool:
    return _WORD.fullmatch(name) is not None and name not in _WORDS


def quoted(text: str) -> str:
    """Return a text as a Cedar string literal."""
    if text.isprintable():
        return json.dumps(text, ensure_ascii=False)
    return '"' + "".join(f"\\u{{{ord(letter):x}}}" for letter in text) + '"'


def authorize(request: Mapping[str, Any], policies: PolicySet, entities: EntitySet) -> Answer:
    """Decide one request: uids as `{"type", "id"}`, `context` as JSON text. Never raises on what a request can hold."""
    result = cedarpy.is_authorized(dict(request), policies, entities)
    texts = result.diagnostics.errors
    failed = tuple(sorted(found[1] for found in map(_FAILED_POLICY.search, texts) if found))
    errors = tuple(f"policy {name} could not be evaluated" for name in failed)
    if result.decision is cedarpy.Decision.NoDecision or len(failed) < len(texts):
        errors += ("the policy engine could not read the request",)
    allowed = result.decision is cedarpy.Decision.Allow and not errors
    return Answer(allowed, tuple(sorted(result.diagnostics.reasons)), failed, errors)
