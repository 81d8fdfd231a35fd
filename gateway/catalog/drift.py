"""What changed between a pinned definition and the live one, and how much it matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

__all__ = ["Change", "Severity", "changes"]


class Severity(IntEnum):
    """How a change bears on an agent that knows the old definition."""

    TEXT = 1  # words a model reads: the way poisoning comes in
    ADDITIVE = 2
    BREAKING = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; `path` points into the definition."""

    severity: Severity
    path: str
    what: str


_WORDS: Final = frozenset({"description", "title", "$comment", "examples", "default"})


def changes(pinned: Mapping[str, Any], live: Mapping[str, Any]) -> list[Change]:
    """Return the differences, gravest first."""
    found: list[Change] = []
    for field in ("name", "title", "description", "annotations"):
        if pinned.get(field) != live.get(field):
            severity = Severity.TEXT if field in _WORDS else Severity.BREAKING
            found.append(Change(severity, f"/{field}", _words(pinned.get(field), live.get(field))))
    for field in ("inputSchema", "outputSchema"):
        _compare(f"/{field}", pinned.get(field), live.get(field), found)
    return sorted(found, key=lambda change: (-change.severity, change.path))


def _words(old: Any, new: Any) -> str:
    return f"{_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = ascii(value)  # invisible characters must show
    return text if len(text) <= 120 else text[:117] + "..."


def _compare(path: str, old: Any, new: Any, found: list[Change]) -> None:
    if old == new:
        return
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        leaf = path.rsplit("/", 1)[-1]
        found.append(Change(Severity.TEXT if leaf in _WORDS else Severity.BREAKING, path, _words(old, new)))
        return
    for key in sorted({*old, *new}):
        here = f"{path}/{key}"
        if path.endswith("/properties") and (key not in old or key not in new):
            severity, what = (Severity.ADDITIVE, "added") if key not in old else (Severity.BREAKING, "removed")
            found.append(Change(severity, here, what))
        elif key == "required":
            _compare_required(here, old.get(key, []), new.get(key, []), found)
        else:
            _compare(here, old.get(key), new.get(key), found)


def _compare_required(path: str, old: Any, new: Any, found: list[Change]) -> None:
    if not isinstance(old, list) or not isinstance(new, list):
        found.append(Change(Severity.BREAKING, path, _words(old, new)))
        return
    for name in new:
        if name not in old:
            found.append(Change(Severity.BREAKING, path, f"{_short(name)} is now required"))
    for name in old:
        if name not in new:
            found.append(Change(Severity.ADDITIVE, path, f"{_short(name)} is no longer required"))
