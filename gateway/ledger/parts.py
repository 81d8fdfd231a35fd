"""JSON of what many calls have in common, written once: a tool, an identity, what was asked of policies and said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.codec import dump, verbatim
from gateway.model.decision import Decision, DecisionInput

__all__ = ["Parts", "Redact"]

Redact = Callable[[Any], Any]
"""Returns a JSON value without what must not be kept; the shape stays. A tuple holds what never changes."""

_MOST: Final = 4096


@dataclass(slots=True)
class _Decided:
    """`source` is what may hold secrets; `kept` what was left of it when the JSON was written."""

    given: DecisionInput
    decision: Decision
    source: tuple[Any, ...]
    kept: Any = None
    json: tuple[Any, Any] = (None, None)


class Parts:
    """Knows values by the object they are, and holds on to it: they must be such that never change."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, Any]] = {}
        self._decided: dict[int, _Decided] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._decided)

    def of(self, about: object, make: Callable[[], Mapping[str, Any]]) -> Any:
        """Return the JSON of `about`, which `make` returns the first time."""
        known = self._known.get(id(about))
        if known is None or known[0] is not about:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[id(about)] = about, verbatim(dump(make()))
        return known[1]

    def decided(
        self,
        given: DecisionInput,
        decision: Decision,
        redact: Redact,
        make: Callable[[Any], tuple[Mapping[str, Any], Mapping[str, Any]]],
    ) -> tuple[Any, Any]:
        """Return the JSON of a lasting decision and of what it was made on; `make` gets what of them is to be kept.

        Of `(context, notes, message, remedies, errors, *entities)`, that is, each as it is without secrets.
        """
        known = self._decided.get(id(given))
        if known is None or known.given is not given or known.decision is not decision:
            if len(self._decided) >= _MOST:
                self._decided.clear()
            remedies = [{"tool": remedy.tool, "arguments": remedy.arguments} for remedy in decision.remedies]
            source = given.context, given.notes, decision.message, remedies, list(decision.errors), *given.entities
            known = self._decided[id(given)] = _Decided(given, decision, source)
        kept = redact(known.source)
        if kept is not known.kept:  # written for the first time, or what must not be kept has become more
            said, asked = make(kept)
            known.kept, known.json = kept, (verbatim(dump(said)), verbatim(dump(asked)))
        return known.json
