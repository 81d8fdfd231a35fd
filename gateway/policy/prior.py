"""The `@prior` annotation: which earlier step a policy wants to see (POLICY.md §2)."""

import re
from typing import Final

from gateway.model.facts import PriorQuery, PriorScope

__all__ = ["duration_ms", "parse_priors", "prior_text", "span_ms", "step_name"]

_PRIOR = re.compile(
    r"(?P<name>[A-Za-z]\w*)\s*:\s*(?P<tool>[^\s,;:=]+)"
    r"(?:\s+by\s+(?P<by>[^\s,=]+\s*=\s*[^\s,=]+(?:\s*,\s*[^\s,=]+\s*=\s*[^\s,=]+)*))?"
    r"\s+in\s+(?P<scope>run|session|agent|user)"
    r"(?:\s+within\s+(?P<within>\w+))?(?P<once>\s+use\s+once)?",
    re.ASCII,
)
_DURATION = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?(?:(\d{1,12})ms)?", re.ASCII)
_UNIT_MS: Final = (86_400_000, 3_600_000, 60_000, 1000, 1)
_RESERVED: Final = frozenset({"if", "then", "else", "in", "has", "like", "is", "true", "false"})
_FORM: Final = "<name>: <tool> [by <step field>=<argument>, …] in run|session|agent|user [within 24h] [use once]"


def parse_priors(text: str) -> tuple[PriorQuery, ...]:
    """Return the queries of one annotation; several are separated by `;`.

    Raises:
        ValueError: the text is not of this form; the message says which part.
    """
    queries = tuple(_parse(part.strip()) for part in text.split(";"))
    if len({query.name for query in queries}) != len(queries):
        raise ValueError("two steps have the same name")
    return queries


def _parse(text: str) -> PriorQuery:
    found = _PRIOR.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not of the form {_FORM!r}")
    if found["name"] in _RESERVED:
        raise ValueError(f"{found['name']!r} is a word of Cedar and cannot name a step")
    pairs = (pair.partition("=") for pair in (found["by"] or "").split(",") if pair)
    return PriorQuery(
        name=found["name"],
        tool=found["tool"],
        bindings=tuple((step.strip(), argument.strip()) for step, _, argument in pairs),
        scope=PriorScope(found["scope"]),
        within_ms=duration_ms(found["within"]) if found["within"] else None,
        once=found["once"] is not None,
    )


def duration_ms(text: str) -> int:
    """Return a duration such as `15m`, `1h30m` or `500ms` in milliseconds; the notation is Cedar's.

    Raises:
        ValueError: not a duration, or nothing long.
    """
    total = span_ms(text)
    if total is None or total <= 0:
        raise ValueError(f"{text!r} is not a duration such as 15m, 24h or 1h30m")
    return total


def span_ms(text: str) -> int | None:
    """Return a Cedar duration in milliseconds, 0 and negative ones too; None for anything else."""
    found = _DURATION.fullmatch(text.removeprefix("-"))
    if found is None or found.lastindex is None:
        return None
    total = sum(unit * int(count) for unit, count in zip(_UNIT_MS, found.groups(), strict=True) if count)
    return -total if text.startswith("-") else total


def prior_text(query: PriorQuery) -> str:
    """Return the annotation's text for a query; `parse_priors` reads it back."""
    bindings = ",".join(f"{step}={argument}" for step, argument in query.bindings)
    by = f" by {bindings}" if bindings else ""
    within = f" within {query.within_ms}ms" if query.within_ms is not None else ""
    return f"{query.name}: {query.tool}{by} in {query.scope}{within}{' use once' if query.once else ''}"


def step_name(text: str) -> str:
    """Return a name for a step that reads like `text`."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    return name if name[:1].isalpha() else f"w_{name}"
