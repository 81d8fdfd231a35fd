"""JSON Schema validation with schemas nobody trusts.

jsonschema-rs fetches remote `$ref` by default and its default regex engine backtracks: both are switched off here.
It is loaded, and a plain schema compiled, by the first value that is held against one.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.catalog.plain import is_plain
from gateway.catalog.spelling import RepeatsTooMuch, spelling
from gateway.catalog.weight import MOST_CHECKS, Weigh, weigher
from gateway.codec import dump

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["Check", "SchemaRefused", "accept_schema", "argument_checker", "checker"]

Check = Callable[[Any], str]
"""Says what in a value breaks a schema, or nothing."""

_DRAFTS: Final = re.compile(r"^https?://json-schema\.org/(draft/2020-12|draft/2019-09|draft-0[467])/schema#?$")
_REGEX_BYTES: Final = 1 << 20
_MAX_REPORTED: Final = 3
_NAMED_WORK: Final = 1_000_000
"""The bytes of a schema, times those of a value: below half a second for all that can be wrong."""


class SchemaRefused(ValueError):
    """The schema cannot be compiled, or would reach outside itself."""


def accept_schema(schema: Mapping[str, Any]) -> None:
    """Let a schema pass that compiles (as 2020-12 unless it names an older draft).

    Raises:
        SchemaRefused: malformed, of an unknown draft, with a remote `$ref`, with a pattern that needs backtracking, or
            with references that make more work of any value than can be done.
    """
    if not is_plain(schema):
        _compiled(schema)


def checker(schema: Mapping[str, Any]) -> Check:
    """Return a function that says what in a value breaks `schema`, or an empty string.

    Raises:
        SchemaRefused: as `accept_schema`.
    """
    return _once_needed(_checker, schema)


def argument_checker(schema: Mapping[str, Any]) -> Check:
    """As `checker`, for arguments: a null in the place of an optional one counts as its absence.

    Models send such nulls all the time, and policies read them as absent too. The arguments pass as they are. A
    declared one in another spelling breaks any schema: policies do not see it, and some servers do.

    Raises:
        SchemaRefused: as `accept_schema`, or for references that repeat too many names.
    """
    return _once_needed(_argument_checker, schema)


def _once_needed(make: Callable[[Mapping[str, Any]], Check], schema: Mapping[str, Any]) -> Check:
    """Return what `make` makes of a schema, made now if that may fail, else for the first value."""
    if not is_plain(schema):
        return make(schema)
    made: Check | None = None

    def check(value: Any) -> str:
        nonlocal made
        if made is None:
            made = make(schema)
        return made(value)

    return check


def _checker(schema: Mapping[str, Any]) -> Check:
    validator, weigh = _compiled(schema)
    return _bounded(partial(_violations, validator, _most_named(schema)), weigh)


def _argument_checker(schema: Mapping[str, Any]) -> Check:
    validator, weigh = _compiled(schema)
    declared = schema.get("properties") or {}
    optional = frozenset(declared) - {*schema.get("required", ())}
    broken = partial(_violations, validator, _most_named(schema))
    try:
        misspelt = spelling(schema)
    except RepeatsTooMuch as error:
        raise SchemaRefused(str(error)) from None
    check = _bounded(partial(_argument_violations, validator, optional, broken), weigh)
    return lambda arguments: check(arguments) or misspelt(arguments)


def _most_named(schema: Mapping[str, Any]) -> int:
    """Return how many bytes a value may take for more than the first of what is wrong with it to be looked for.

    The library makes an error of every single one: a call with a million empty items would take the whole memory.
    """
    return _NAMED_WORK // len(dump(schema))


def _compiled(schema: Mapping[str, Any]) -> "tuple[jsonschema_rs.Validator, Weigh | None]":
    import jsonschema_rs

    draft = schema.get("$schema")
    if draft is not None and not (isinstance(draft, str) and _DRAFTS.match(draft)):
        raise SchemaRefused("$schema names no known draft")
    linear = jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)
    try:
        validator = jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=linear, mask="(hidden)")
        return validator, weigher(schema)
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaRefused(str(error).splitlines()[0][:200] if str(error) else type(error).__name__) from None


def _bounded(check: Check, weigh: Weigh | None) -> Check:
    """Return `check`, or what does it only where it ends: it would hold up every other call."""
    if weigh is None:
        return check

    def light_enough(value: Any) -> str:
        if weigh(value) > MOST_CHECKS:
            return "the value is too large, or nests too deeply, for all that its schema has checked"
        return check(value)

    return light_enough


def _argument_violations(
    validator: "jsonschema_rs.Validator", optional: frozenset[str], broken: Check, arguments: Any
) -> str:
    if validator.is_valid(arguments):
        return ""
    if isinstance(arguments, dict) and None in arguments.values():
        given = {name: value for name, value in arguments.items() if value is not None or name not in optional}
        return broken(given)
    return broken(arguments)


def _violations(validator: "jsonschema_rs.Validator", most_named: int, value: Any) -> str:
    if validator.is_valid(value):
        return ""
    few = len(dump(value)) <= most_named
    errors = validator.iter_errors(value) if few else _first_error(validator, value)
    named = [f"at /{'/'.join(map(str, error.instance_path))}: {error.message[:200]}" for error in errors]
    return "; ".join(named[:_MAX_REPORTED]) or "the value breaks its schema"


def _first_error(validator: "jsonschema_rs.Validator", value: Any) -> "list[jsonschema_rs.ValidationError]":
    import jsonschema_rs

    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []
