"""What the annotations of a policy say. An unknown key or a bad value fails at load: a promise nobody keeps is none."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.model.facts import PriorQuery
from gateway.policy.prior import parse_priors

__all__ = ["KEYS", "Terms", "read_annotations"]

Obligation = tuple[str, str]

KEYS: Final = ("id", "message", "mode", "prior", "remedy", "obligation", "redact", "max_calls")
_ID = re.compile(r"[^`\x00-\x1f\x7f]{1,200}")
_LIMIT = re.compile(r"[1-9]\d{0,8}/(run|minute|hour|day)", re.ASCII)
_OBLIGATION = re.compile(r"[a-z][a-z_]*:[^\s;][^;]*", re.ASCII)
_ON_PERMITS_ONLY: Final = "an allowed call carries it, so it belongs on a permit"


@dataclass(frozen=True, slots=True)
class Terms:
    """A policy's annotations, read.

    `remedies` name tools. `obligations` are (kind, value). A `shadow` policy is recorded but decides nothing.
    """

    id: str
    message: str = ""
    shadow: bool = False
    priors: tuple[PriorQuery, ...] = ()
    remedies: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()

    @property
    def approvals(self) -> tuple[Obligation, ...]:
        """Whose approval a forbid says it yields to."""
        return tuple(obligation for obligation in self.obligations if obligation[0] == "approval")


Complaint = tuple[str, str, str]
"""The annotation, what is wrong with it, and the fix."""


def read_annotations(
    annotations: Mapping[str, str], effect: str, fulfils: frozenset[str]
) -> tuple[Terms, list[Complaint]]:
    """Read the annotations of a `permit` or a `forbid`; `fulfils` are the obligations this gateway carries out."""
    complaints: list[Complaint] = []
    for key in annotations:
        if key not in KEYS:
            known = ", ".join(f"@{name}" for name in KEYS)
            complaints.append((key, f"there is no annotation @{key}", f"use one of {known}."))
    identifier = annotations.get("id", "")
    if _ID.fullmatch(identifier) is None:
        complaints.append(("id", "the policy has no usable @id", 'give it one: @id("pay.requires-fraud-check")'))

    def take(key: str, read: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
        try:
            return read(annotations[key]) if key in annotations else ()
        except ValueError as error:
            complaints.append((key, f"@{key}: {error}", "correct the annotation."))
            return ()

    obligations = [
        *(_pair(text) for text in take("obligation", _obligations)),
        *(("redact", name) for name in take("redact", _fields)),
        *(("max_calls", limit) for limit in take("max_calls", _limit)),
    ]
    complaints += _unkept(obligations, effect, fulfils)
    mode = take("mode", _mode)
    return Terms(
        identifier,
        message=annotations.get("message", ""),
        shadow=mode == ("shadow",),
        priors=_priors(annotations, complaints),
        remedies=take("remedy", _names),
        obligations=tuple(obligations),
    ), complaints


def _priors(annotations: Mapping[str, str], complaints: list[Complaint]) -> tuple[PriorQuery, ...]:
    try:
        return parse_priors(annotations["prior"]) if "prior" in annotations else ()
    except ValueError as error:
        complaints.append(("prior", f"@prior: {error}", "correct the annotation."))
        return ()


def _unkept(obligations: list[Obligation], effect: str, fulfils: frozenset[str]) -> list[Complaint]:
    """Complain of obligations that could not have their effect: fail closed, at load."""
    complaints: list[Complaint] = []
    for kind, _ in obligations:
        key = kind if kind in {"redact", "max_calls"} else "obligation"
        if effect == "forbid" and kind != "approval":
            complaints.append((key, f"{kind} on a forbid has no effect", f"{_ON_PERMITS_ONLY}."))
        elif effect == "permit" and kind not in fulfils:
            known = ", ".join(sorted(fulfils)) or "none"
            complaints.append((key, f"nothing here carries out {kind!r}", f"obligations carried out: {known}."))
    return complaints


def _pair(text: str) -> Obligation:
    kind, _, value = text.partition(":")
    return kind, value.strip()


def _obligations(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(";"))
    for part in parts:
        if _OBLIGATION.fullmatch(part) is None:
            raise ValueError(f"{part!r} is not of the form kind:value")
        if part.startswith("redact:"):
            _fields(part.removeprefix("redact:"))
    return parts


def _fields(text: str) -> tuple[str, ...]:
    """Read the names of properties to mask: they are masked at any depth, so a path would silently mask nothing."""
    names = _names(text)
    if any("." in name for name in names):
        raise ValueError("a property is masked by its name, at any depth: write it without the path before it")
    return names


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise ValueError("a name is empty")
    return names


def _limit(text: str) -> tuple[str, ...]:
    if _LIMIT.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not of the form 10/run, 10/minute, 10/hour or 10/day")
    return (text,)


def _mode(text: str) -> tuple[str, ...]:
    if text not in {"shadow", "enforce"}:
        raise ValueError(f"{text!r} is neither shadow nor enforce")
    return (text,)
