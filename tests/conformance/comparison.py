"""Direct against through: what differs, and whether the difference is explained."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.conformance.suite import Outcome

__all__ = ["Row", "Verdict", "compared", "explanations"]

DIFFERENCES = Path(__file__).parent / "differences.toml"


class Verdict(StrEnum):
    """How one scenario came through the gateway, against how it goes without."""

    SAME = "same"
    WEAKER = "weaker"
    """It passes, but checks that succeed directly were skipped or only warned, or the gateway refused a call in it."""
    LOST = "lost"
    """It passes directly and fails through the gateway."""
    NEVER = "never"
    """It fails directly too."""
    EXPLAINED = "explained"
    """Lost or weaker, and differences.toml says why."""
    STALE = "stale"
    """differences.toml explains a difference that is no longer there."""

    @property
    def is_good(self) -> bool:
        """Whether a run with this verdict may succeed."""
        return self in {Verdict.SAME, Verdict.EXPLAINED}


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario of one combination."""

    combination: str
    scenario: str
    direct: Outcome
    through: Outcome
    verdict: Verdict
    words: tuple[str, ...]
    """Why: the explanation, else the suite's errors, else the checks that were lost."""


def explanations() -> dict[tuple[str, str], str]:
    """Read differences.toml: (combination, scenario) → reason."""
    listed = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8")).get("difference", [])
    return {(entry["combination"], entry["scenario"]): entry["reason"] for entry in listed}


def compared(
    combination: str,
    direct: Mapping[str, Outcome],
    through: Mapping[str, Outcome],
    explained: Mapping[tuple[str, str], str],
) -> list[Row]:
    """Return a row per scenario that was run directly."""
    missing = ("The suite did not get to this scenario.",)
    rows = []
    for name, outcome in direct.items():
        other = through.get(name) or Outcome(name, {}, missing, ())
        verdict, words = _judged(outcome, other)
        reason = explained.get((combination, name))
        if reason is not None:
            verdict = Verdict.EXPLAINED if verdict in {Verdict.LOST, Verdict.WEAKER} else Verdict.STALE
            words = (reason,)
        rows.append(Row(combination, name, outcome, other, verdict, words))
    return rows


def _judged(direct: Outcome, through: Outcome) -> tuple[Verdict, tuple[str, ...]]:
    if not direct.ok:
        return Verdict.NEVER, direct.errors
    if not through.ok:
        return Verdict.LOST, through.errors
    lost = direct.lost(through)
    if lost:
        return Verdict.WEAKER, through.warnings or tuple(f"not checked: {check}" for check in lost)
    if through.refused:
        return Verdict.WEAKER, tuple(f"The gateway refused: {code}" for code in through.refused)
    return Verdict.SAME, ()
