"""JSON of what many calls have in common, written once: a tool, an identity, what was asked of policies and said."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from gateway.codec import dump, verbatim
from gateway.model.decision import Decision, DecisionInput
from gateway.model.identity import Identity
from gateway.model.tool import Tool
from gateway.store.removable import Share, shared

__all__ = ["Lasting", "Parts", "Redact", "Redacts"]

Redact = Callable[[Any], Any]
"""Returns a JSON value without what must not be kept; the shape stays. A tuple holds what never changes."""


class Redacts(Protocol):
    """Takes out what must not be kept."""

    def record(self, value: Any) -> Any:
        """As `Redact`."""
        ...

    def keeps(self, text: str) -> object | None:
        """Return a mark if what has this JSON is kept as it is, as far as can be told from that; else None.

        The mark stands for what is looked for: as long as that does not change, it is the same object.
        """
        ...


_MOST: Final = 4096


@dataclass(slots=True)
class _Shared:
    """`source` is what may hold secrets; `kept` what was left of it when the JSON was written."""

    call: "Lasting"
    source: tuple[Any, ...]
    kept: Any = None
    share: Share | None = None


class Lasting(NamedTuple):
    """What does not change from one call of an agent to the next: who calls what, and what decided, on what."""

    given: DecisionInput
    decision: Decision
    identity: Identity
    tool: Tool


class Parts:
    """Knows values by the object they are, and holds on to it: they must be such that never change."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, Any]] = {}
        self._shared: dict[tuple[int, ...], _Shared] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._shared)

    def of(self, about: object, make: Callable[[], Mapping[str, Any]]) -> Any:
        """Return the JSON of `about`, which `make` returns the first time."""
        known = self._known.get(id(about))
        if known is None or known[0] is not about:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[id(about)] = about, verbatim(dump(make()))
        return known[1]

    def shared(
        self,
        call: Lasting,
        redact: Redact,
        make: Callable[[Lasting, Any], Mapping[str, Any]],
    ) -> Share:
        """Return what the bodies of a lasting decision's calls end with; `make` gets what of it is to be kept.

        Of `(context, notes, message, remedies, errors, *entities)`, that is, each as it is without secrets.
        """
        given, decision, identity, tool = call
        key = id(given), id(decision), id(identity), id(tool)
        known = self._shared.get(key)
        if known is None:  # an entry holds on to what it is known by: nothing else can get the same ids
            if len(self._shared) >= _MOST:
                self._shared.clear()
            known = self._shared[key] = _Shared(call, _source(given, decision))
        kept = redact(known.source)
        if known.share is None or kept is not known.kept:  # for the first time, or more of it must not be kept
            known.kept, known.share = kept, shared(dump(make(call, kept)))
        return known.share


def _source(given: DecisionInput, decision: Decision) -> tuple[Any, ...]:
    remedies = [{"tool": remedy.tool, "arguments": remedy.arguments} for remedy in decision.remedies]
    return given.context, given.notes, decision.message, remedies, list(decision.errors), *given.entities
