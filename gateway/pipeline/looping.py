"""Warns agents that go round in circles, and stops them where the operator says so."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from gateway.codec import CodecError, dump
from gateway.loop.config import LoopsSection
from gateway.loop.rows import Kind, Row, Rows
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.duration import milliseconds
from gateway.model.errors import ConnectorFault, LimitFault, RequestFault
from gateway.model.outcome import Failed, Outcome, Succeeded, Waiting
from gateway.model.tool import Effect
from gateway.pipeline.rules import RulesInForce

__all__ = ["LOOP_META", "Looping"]

LOOP_META: Final = "io.toolgate/loop"
_WHAT: Final[Mapping[Kind, str]] = {
    Kind.SAME: "this very call was made {} times in a row",
    Kind.SWING: "the same two calls were made in turn, {} in a row",
    Kind.STUCK: "this tool was called {} times in a row with other arguments and the very same answer",
}
_APART: Final = frozenset({"looping", "cancelled", "dry_run"})
_INSTEAD: Final = "Do something else: use what you know already, or ask a person."


_READ: Final = Effect.READ
_NEVER: Final = sys.maxsize
"""More calls in a row than anybody makes."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What a section says, in plain values: to look at a field of a model takes six times as long."""

    section: LoopsSection
    warn: int
    block: int
    within_ms: int
    say: bool
    polling: tuple[str, ...]

    @classmethod
    def of(cls, section: LoopsSection) -> "_Bounds":
        warn, block = (_NEVER if times == "never" else times for times in (section.warn, section.block))
        return cls(section, warn, block, milliseconds(section.within), section.say, tuple(section.polling))


class Looping:
    """Counts the calls of each agent in each run. Calls of the gateway's own tools and declared polling do not count.

    Neither do calls that wait for a person or were told to come again: repeating those is right. Nor do dry runs.
    """

    def __init__(self, rules: RulesInForce, clock: Clock, own: frozenset[str]) -> None:
        self._rules = rules
        self._clock = clock
        self._own = own
        self._rows = Rows()
        self._bounds = _Bounds.of(rules.current.loops)

    def check(self, call: Call, run_id: str) -> None:
        """Let a call pass that is not one too many.

        Raises:
            RequestFault: `looping`: a row is as long as it may get, and this call would lengthen it.
        """
        bounds = self._bounds
        if bounds.section is not self._rules.current.loops:
            bounds = self._in_force()
        if bounds.block == _NEVER or self._is_apart(bounds, call):
            return
        since = self._clock.now_ms() - bounds.within_ms
        row = self._rows.ahead((run_id, call.identity.agent), _name(call), call.tool.name, since)
        if row.times >= bounds.block:
            told = f"In this run {_WHAT[row.kind].format(row.times)}: it is not made again. {_INSTEAD}"
            raise RequestFault(told, code="looping", detail=f"{row.kind} {row.times}")

    def saw(self, call: Call, outcome: Outcome) -> Outcome:
        """Count a call that ended; return its outcome, with a warning where it is one of too many."""
        bounds, facts = self._bounds, getattr(call, "facts", None)
        if bounds.section is not self._rules.current.loops:
            bounds = self._in_force()
        if bounds.warn == bounds.block or facts is None:  # there is neither
            return outcome
        if (type(outcome) is not Succeeded and not _counts(outcome)) or self._is_apart(bounds, call):
            return outcome
        now = self._clock.now_ms()
        key = (facts.run.id, call.identity.agent)
        when = now, now - bounds.within_ms
        row = self._rows.saw(key, (_name(call), call.tool.name), _answer(call, outcome), when)
        if row.times % bounds.warn or not isinstance(outcome, Succeeded):
            return outcome
        return Succeeded(_warned(outcome.result, row, bounds), outcome.replayed_from)

    def _in_force(self) -> _Bounds:
        self._bounds = _Bounds.of(self._rules.current.loops)
        return self._bounds

    def _is_apart(self, bounds: _Bounds, call: Call) -> bool:
        if call.tool.server in self._own:
            return True
        return bool(bounds.polling) and any(fnmatchcase(call.tool.name, one) for one in bounds.polling)


def _name(call: Call) -> str:
    return f"{call.tool.name} {call.arguments_digest}"


def _counts(outcome: Outcome) -> bool:
    if isinstance(outcome, Failed):
        if isinstance(outcome.error, ConnectorFault) and outcome.error.page is not None:  # its user is asked
            return False
        return not isinstance(outcome.error, LimitFault) and outcome.error.code not in _APART
    return not isinstance(outcome, Waiting)


def _answer(call: Call, outcome: Outcome) -> int | None:
    """Return a number for what a call told its agent; None for an effect's: that it was done again is news enough."""
    if call.tool.effect is not _READ:
        return None
    if not isinstance(outcome, Succeeded):
        return hash(repr(outcome))
    try:
        result = outcome.result
        if call.text is not None and result is call.result and "_meta" not in result:
            return hash(call.text)
        if "_meta" in result:
            result = {name: value for name, value in result.items() if name != "_meta"}
        return hash(dump(result))
    except CodecError:
        return None


def _warned(result: Mapping[str, Any], row: Row, bounds: _Bounds) -> Mapping[str, Any]:
    known = result.get("_meta")
    told = {"kind": str(row.kind), "times": row.times, "blockedAt": None if bounds.block == _NEVER else bounds.block}
    warned = {**result, "_meta": {**(known if isinstance(known, dict) else {}), LOOP_META: told}}
    content = result.get("content")
    if bounds.say and isinstance(content, list):
        text = f"[In this run {_WHAT[row.kind].format(row.times)}. {_INSTEAD}]"
        warned["content"] = [*content, {"type": "text", "text": text}]
    return warned
