"""JSON Schema validation with schemas nobody trusts.

jsonschema-rs fetches remote `$ref` by default and its default regex engine backtracks: both are switched off here.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import jsonschema_rs

from gateway.catalog.weight import MOST_CHECKS, Weigh, weigher

__all__ = ["SchemaRefused", "argument_checker", "checker", "compile_schema"]

_DRAFTS: Final = re.compile(r"^https?://json-schema\.org/(draft/2020-12|draft/2019-09|draft-0[467])/schema#?$")
_LINEAR: Final = jsonschema_rs.RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)
_MAX_REPORTED: Final = 3


class SchemaRefused(ValueError):
    """The schema cannot be compiled, or would reach outside itself."""


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """Compile `schema` (2020-12 unless it names an older draft).

    Raises:
        SchemaRefused: malformed, of an unknown draft, with a remote `$ref`, with a pattern that needs backtracking, or
            with references that make more work of any value than can be done.
    """
    return _compiled(schema)[0]


def _compiled(schema: Mapping[str, Any]) -> tuple[jsonschema_rs.Validator, Weigh | None]:
    draft = schema.get("$schema")
    if draft is not None and not (isinstance(draft, str) and _DRAFTS.match(draft)):
        raise SchemaRefused("$schema names no known draft")
    try:
        validator = jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=_LINEAR, mask="(hidden)")
        return validator, weigher(schema)
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaRefused(str(error).splitlines()[0][:200] if str(error) else type(error).__name__) from None


def checker(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """Return a function that says what in a value breaks `schema`, or an empty string.

    Raises:
        SchemaRefused: as `compile_schema`.
    """
    validator, weigh = _compiled(schema)
    return _bounded(partial(_violations, validator), weigh)


def argument_checker(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """As `checker`, for arguments: a null in the place of an optional one counts as its absence.

    Models send such nulls all the time, and policies read them as absent too. The arguments pass as they are.
    """
    validator, weigh = _compiled(schema)
    declared = schema.get("properties") or {}
    optional = frozenset(declared) - {*schema.get("required", ())}
    return _bounded(partial(_argument_violations, validator, optional), weigh)


def _bounded(check: Callable[[Any], str], weigh: Weigh | None) -> Callable[[Any], str]:
    """Return `check`, or what does it only where it ends: it would hold up every other call."""
    if weigh is None:
        return check

    def light_enough(value: Any) -> str:
        if weigh(value) > MOST_CHECKS:
            return "the value is too large, or nests too deeply, for a schema whose references multiply"
        return check(value)

    return light_enough


def _argument_violations(validator: jsonschema_rs.Validator, optional: frozenset[str], arguments: Any) -> str:
    if validator.is_valid(arguments):
        return ""
    if isinstance(arguments, dict) and None in arguments.values():
        given = {name: value for name, value in arguments.items() if value is not None or name not in optional}
        return _violations(validator, given)
    return _violations(validator, arguments)


def _violations(validator: jsonschema_rs.Validator, value: Any) -> str:
    if validator.is_valid(value):
        return ""
    found = []
    for error in validator.iter_errors(value):
        where = "/".join(str(part) for part in error.instance_path)
        found.append(f"at /{where}: {error.message[:200]}")
        if len(found) == _MAX_REPORTED:
            break
    return "; ".join(found) or "the value breaks its schema"
