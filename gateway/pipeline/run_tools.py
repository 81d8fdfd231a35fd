"""`run.start`, `run.resume`, `run.brief`, `run.history`: how agents that can use them handle their own runs."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from gateway.codec import dump
from gateway.ledger.recollection import Recollections
from gateway.ledger.trace import CallLine, call_lines, run_lines
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import RequestFault
from gateway.pipeline.fact_tools import FactTools
from gateway.pipeline.joining import Joining
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.stages.execute import OwnTool
from gateway.store.ports import EventFilter, Ledger
from gateway.workflow.own_tools import DEFAULT_TOKENS, OWN_SERVER
from gateway.workflow.runs import Runs, owner_of

__all__ = ["RunTools", "Workbench"]

_EVERYTHING: Final = 2**31 - 1
_CALLS: Final = 20
_KEPT_BYTES: Final = 4096
_CHARS_PER_TOKEN: Final = 3
"""Fewer than any tokenizer needs on average, so that a brief is never longer than it may be."""

_LINE: Final = 240
_SPAN: Final = re.compile(r"(\d{1,9})\s*(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Workbench:
    """What the tools work with."""

    runs: Runs
    ledger: Ledger
    recollections: Recollections
    joining: Joining
    rules: RulesInForce
    clock: Clock
    facts: FactTools


class RunTools:
    """Shows an agent its runs. Of another agent's calls in the same run it is shown that they were made, no more."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    @property
    def own_tools(self) -> Mapping[str, OwnTool]:
        """What carries the tools out, by their names."""
        tools: dict[str, OwnTool] = {
            "start": self.start,
            "resume": self.resume,
            "brief": self.brief,
            "history": self.history,
            "phase": self.phase,
        }
        return {f"{OWN_SERVER}.{name}": tool for name, tool in tools.items()}

    async def start(self, call: Call) -> Mapping[str, Any]:
        """Open a run for the caller and place the conversation in it. Raises `RequestFault`, `StoreFault`."""
        _check_is_free(call)
        run = await self._bench.runs.start(call.identity, call.request.caller)
        return _answer(f"Run {run.id} has begun; the calls that follow belong to it.", {"run": run.id})

    async def resume(self, call: Call) -> Mapping[str, Any]:
        """Begin a run anew and place the conversation in it. Raises as `Runs.resume`."""
        _check_is_free(call)
        bench = self._bench
        joins = partial(bench.joining.may, call)
        run = await bench.runs.resume(call.identity, call.request, call.arguments["run"], joins)
        recorded = len(await bench.recollections.of(run, owner_of(call.identity)))
        text = (
            f"Run {run.id} begins again at its first step (attempt {run.attempt}). {recorded} steps are on record: "
            "make the same calls again and they are answered from it; the first one beyond them is carried out."
        )
        return _answer(text, {"run": run.id, "attempt": run.attempt, "recorded": recorded})

    async def phase(self, call: Call) -> Mapping[str, Any]:
        """Say that the run is in another phase now: that this call is on record makes it so."""
        run, phase = call.facts.run, call.arguments["phase"]
        return _answer(f"Run {run.id} is in the phase {phase} now.", {"run": run.id, "phase": phase})

    async def brief(self, call: Call) -> Mapping[str, Any]:
        """Say how the run stands, and what is held on to in it, within the ceiling. Raises `StoreFault`."""
        room = call.arguments.get("max_tokens", DEFAULT_TOKENS) * _CHARS_PER_TOKEN
        run, me = call.facts.run, owner_of(call.identity)
        lines = [line for line in await run_lines(self._bench.ledger, run.id) if not self._is_apart(line)]
        again = f", begun {run.attempt} times" if run.attempt > 1 else ""
        told = [f"Run {run.id} of {run.owner}{again}: {len(lines)} calls so far."]
        if run.attempt > 1:
            expected = (await self._bench.recollections.of(run, me)).expected()
            told += [f"On record and not repeated yet, from step {expected.n}: {expected.tool}."] if expected else []
        urgent = [line for line in lines if line.outcome in _URGENT and not line.replayed_from]
        text, left = _fitted(told, [_URGENT[line.outcome].format(_said(line, me)) for line in urgent], room)
        facts = await self._bench.facts.of_run(call)
        text, left = _fitted(text, facts, left)
        text, left = _fitted(text, [f"Step {n}: {_said(line, me)}" for n, line in enumerate(lines, 1)][::-1], left)
        if left < 0:
            text.append(f"(There is more: run_history{', facts_list' if facts else ''}.)")
        return _answer("\n".join(text), None)

    async def history(self, call: Call) -> Mapping[str, Any]:
        """Return the calls asked for, the latest first. Raises `RequestFault`, `StoreFault`."""
        asked, me = call.arguments, owner_of(call.identity)
        if asked.get("scope") == "agent":
            _check_is_free(call)
        limit = asked.get("limit", _CALLS)
        since = _since(asked.get("since"), self._bench.clock.now_ms())
        wanted = EventFilter(since_ms=since, limit=_EVERYTHING)
        if asked.get("scope") == "agent":
            wanted = EventFilter(agent=call.identity.agent, since_ms=since, limit=_EVERYTHING)
        else:
            wanted = EventFilter(run_id=call.facts.run.id, since_ms=since, limit=_EVERYTHING)
        tool, match = self._pattern(asked.get("tool", "*")), asked.get("match", {})
        found = [
            line
            async for line in self._steps(wanted)
            if not line.replayed_from
            and fnmatchcase(line.tool, tool)
            and (_who(line) == me or (asked.get("scope") != "agent" and not match))
            and all(_holds(line.asked.get("arguments"), path, value) for path, value in match.items())
        ]
        calls = [_told(line, me) for line in sorted(found, key=lambda line: -line.seq)[:limit]]
        text = dump(calls).decode() if calls else "No such call is on record."
        return _answer(text, {"calls": calls, "more": len(found) > limit})

    async def _steps(self, wanted: EventFilter) -> AsyncIterator[CallLine]:
        async for line in call_lines(self._bench.ledger, wanted):
            if not self._is_apart(line):
                yield line

    def _is_apart(self, line: CallLine) -> bool:
        return self._bench.recollections.is_apart(line.tool)

    def _pattern(self, name: str) -> str:
        tool = self._bench.rules.current.catalog.find(name)
        return name if tool is None else tool.name


_URGENT: Final[Mapping[str, str]] = {
    "unknown": "IN DOUBT, not repeated until a person settles it (toolgate runs settle): {}",
    "executing": "STILL RUNNING: {}",
    "waiting": "WAITED FOR, repeat it to see whether it may go on: {}",
}
"""How what is not over stands in a brief."""


def _check_is_free(call: Call) -> None:
    """Refuse a child what goes beyond its run."""
    if call.identity.child is not None:
        raise RequestFault("You work in the one run that you were given; ask whoever gave it to you for another.")


def _answer(text: str, structured: Mapping[str, Any] | None) -> Mapping[str, Any]:
    content = {"content": [{"type": "text", "text": text}]}
    return content if structured is None else {**content, "structuredContent": structured}


def _who(line: CallLine) -> str:
    return f"{line.agent}/{line.on_behalf_of}" if line.on_behalf_of else line.agent


def _fitted(text: list[str], lines: Sequence[str], room: int) -> tuple[list[str], int]:
    """Add lines as far as there is room; return the text, and what room is left: less than none if lines are."""
    for line in lines:
        if sum(len(each) + 1 for each in text) + len(line) + _LINE > room:
            return text, -1
        text.append(line)
    return text, room


def _said(line: CallLine, me: str) -> str:
    """Return a call in one line of a brief."""
    outcome = f"{line.outcome} {line.code}".strip()
    own = _who(line) == me
    arguments = _short(line.asked.get("arguments")) if own else f"by {_who(line)}"
    result = line.ended.get("result") if own else None
    output = result.get("structuredContent", result.get("content")) if isinstance(result, Mapping) else None
    said = "" if output is None else f" -> {_short(output)}"
    return f"{line.tool} {arguments} {outcome}{said} (#{line.call_id})"


def _short(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= _LINE // 3 else f"{text[: _LINE // 3]}…"


def _told(line: CallLine, me: str) -> Mapping[str, Any]:
    """Return a call as `run.history` tells it."""
    at = datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    told: dict[str, Any] = {
        "call": line.call_id,
        "tool": line.tool,
        "at": at,
        "agent": _who(line),
        "outcome": line.outcome,
    }
    if _who(line) != me:
        return told
    told |= {"code": line.code} if line.code else {}
    for name, value in (("arguments", line.asked.get("arguments")), ("result", line.ended.get("result"))):
        size = len(dump(value))
        if value is not None:
            told |= {name: value} if size <= _KEPT_BYTES else {f"{name}_bytes": size}
    return told


def _holds(node: Any, path: str, value: Any) -> bool:
    """Tell whether arguments hold a value at a dotted path, compared as JSON: 1 is 1.0, and not true."""
    for name in path.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return isinstance(node, bool) is isinstance(value, bool) and bool(node == value)


def _since(said: str | None, now_ms: int) -> int:
    if said is None:
        return 0
    span = _SPAN.fullmatch(said.strip())
    if span is not None:
        return max(now_ms - int(span[1]) * _SECONDS[span[2]] * 1000, 1)
    try:
        at = datetime.fromisoformat(said.strip())
    except ValueError:
        raise RequestFault('`since` is a time such as 2026-11-28T10:00:00Z, or a span such as "15m".') from None
    return max(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000), 1)
