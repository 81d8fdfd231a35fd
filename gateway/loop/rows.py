"""How long an agent has been going round in circles: a few numbers for each run and agent, and nothing of the calls."""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = ["KEPT", "Kind", "Row", "Rows"]

KEPT: Final = 10_000
"""Of how many agents in runs it is remembered, those that called last."""

_FIRST_SWING: Final = 4  # A-B-A-B; less is no pattern
Key = tuple[str, str]
"""A run, and the agent that calls in it."""


class Kind(StrEnum):
    """In which way calls repeat themselves."""

    SAME = "same"  # one call, again and again
    SWING = "swing"  # two calls in turn
    STUCK = "stuck"  # one tool, other arguments, the same answer


@dataclass(slots=True)
class _Trail:
    """The last two calls, how often each pattern has gone on, and when the last call was made."""

    at_ms: int = 0
    call: str = ""
    before: str = ""
    tool: str = ""
    answer: int | None = None
    same: int = 0
    swing: int = 0
    stuck: int = 0
    varied: bool = False


class Row(NamedTuple):
    """The longest row that the last call belongs to: `times` calls."""

    kind: Kind
    times: int


_ALONE: Final = Row(Kind.SAME, 1)


class Rows:
    """Counts calls in a row. A call is known by a text, an answer by a number that is None where it says nothing."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._trails: OrderedDict[Key, _Trail] = OrderedDict()

    def __len__(self) -> int:
        return len(self._trails)

    def ahead(self, key: Key, call: str, tool: str, since_ms: int) -> Row:
        """Return the row that a call would lengthen, as long as it is before it.

        Either call of two in turn belongs to that row: who is refused the one and makes the other goes on in circles.
        """
        trail = self._trails.get(key)
        if trail is None or trail.at_ms < since_ms:
            return Row(Kind.SAME, 0)
        swings = _swings(trail)
        if call == trail.call and trail.same >= swings:
            return Row(Kind.SAME, trail.same)
        if call in (trail.call, trail.before):
            return Row(Kind.SWING, swings)
        return Row(Kind.STUCK, trail.stuck if tool == trail.tool and trail.varied else 0)

    def saw(self, key: Key, call: tuple[str, str], answer: int | None, when: tuple[int, int]) -> Row:
        """Count an answered call, `call` and its tool; `when` is now, and since when calls belong together, in ms."""
        now_ms, since_ms = when
        trail = self._trails.get(key)
        if trail is None or trail.at_ms < since_ms:
            trail = self._trails[key] = _Trail()
        self._trails.move_to_end(key)
        if len(self._trails) > self._kept:
            self._trails.popitem(last=False)
        trail.at_ms = now_ms
        name, tool = call
        if name in (trail.call, trail.before) or (answer is not None and answer == trail.answer):
            return _lengthened(trail, name, tool, answer)
        trail.swing = 2 if trail.call else 1
        trail.same = trail.stuck = 1
        trail.varied = False
        trail.before, trail.call, trail.tool, trail.answer = trail.call, name, tool, answer
        return _ALONE


def _lengthened(trail: _Trail, call: str, tool: str, answer: int | None) -> Row:
    again = call == trail.call
    alike = tool == trail.tool and answer is not None and answer == trail.answer
    trail.stuck = trail.stuck + 1 if alike else 1
    trail.varied = alike and (trail.varied or not again)
    trail.same = trail.same + 1 if again else 1
    trail.swing = 1 if again or not trail.call else trail.swing + 1 if call == trail.before else 2
    trail.before, trail.call, trail.tool, trail.answer = trail.call, call, tool, answer
    is_alone = trail.same == 1 and trail.swing < _FIRST_SWING and not trail.varied
    return _ALONE if is_alone else _longest(trail)


def _longest(trail: _Trail) -> Row:
    kind, times = Kind.SAME, trail.same
    if trail.swing >= _FIRST_SWING and trail.swing > times:
        kind, times = Kind.SWING, trail.swing
    if trail.varied and trail.stuck > times:
        kind, times = Kind.STUCK, trail.stuck
    return Row(kind, times)


def _swings(trail: _Trail) -> int:
    return trail.swing if trail.swing >= _FIRST_SWING else 0
