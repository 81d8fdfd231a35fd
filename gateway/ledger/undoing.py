"""What it takes to undo a run: which calls, in which order, by which calls; and what cannot be undone."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import digest
from gateway.ledger.trace import CallLine
from gateway.model.tool import Effect, Tool

__all__ = ["Step", "plan"]

_INPUT: Final = "input."
Find = Callable[[str], Tool | None]
"""Returns the tool of a canonical name, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call with an effect, and how it is taken back: by `tool` with `arguments`, or not, and `why` not.

    `number` is its place in the run, from 1. `undone` says that it has been taken back already.
    """

    number: int
    line: CallLine
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    why: str = ""
    undone: bool = False

    def described(self) -> dict[str, Any]:
        """Return it as JSON."""
        told = {"n": self.number, "call": self.line.call_id, "tool": self.line.tool}
        if self.undone:
            return {**told, "state": "undone"}
        if self.why:
            return {**told, "state": "stays", "why": self.why}
        return {**told, "state": "to undo", "by": self.tool, "arguments": self.arguments}


def plan(lines: Iterable[CallLine], find: Find, after: int = 0) -> list[Step]:
    """Return the run's calls with an effect after its first `after` calls, the last one first. `lines` are in order.

    Reads, what failed for certain and what was refused left nothing behind; compensations are nobody's work to undo.
    """
    steps = (_step(number, line, find) for number, line in enumerate(lines, 1) if number > after)
    return [step for step in reversed(list(steps)) if step is not None]


def _step(number: int, line: CallLine, find: Find) -> Step | None:
    tool = find(line.tool)
    if "claim" not in line.asked or "undoes" in line.asked or (tool is not None and tool.effect is Effect.READ):
        return None
    status = line.ended.get("ending", {}).get("status", "executing")
    if status == "failed":
        return None
    if line.outcome == "compensated":
        return Step(number, line, undone=True)
    if status == "unknown":
        return Step(number, line, why=f"its outcome is not known; first: toolgate runs settle {line.call_id}")
    if status == "executing":
        return Step(number, line, why="it is still under way; repeat this when it has ended")
    if tool is None:
        return Step(number, line, why="the tool is not offered any more")
    if not tool.undo:
        return Step(number, line, why="it has no compensation (tools: undo)")
    return _compensated(number, line, tool, find)


def _compensated(number: int, line: CallLine, tool: Tool, find: Find) -> Step:
    undo = find(tool.undo)
    if undo is None:
        return Step(number, line, why=f"its compensation {tool.undo} is not offered")
    if undo.quarantined:
        return Step(number, line, why=f"its compensation {tool.undo} is quarantined: {undo.quarantined}")
    arguments, why = _arguments(line, tool, undo)
    why = why or undo.breaks_input(arguments)
    if why:
        return Step(number, line, why=f"{tool.undo} cannot be called: {why}")
    return Step(number, line, tool.undo, arguments)


def _arguments(line: CallLine, tool: Tool, undo: Tool) -> tuple[dict[str, Any], str]:
    """Return the arguments of the compensation, from what was called and what came of it."""
    asked, result = line.asked.get("arguments"), line.ended.get("result")
    given = asked if isinstance(asked, Mapping) else {}
    output = result.get("structuredContent") if isinstance(result, Mapping) else None
    answered = output if isinstance(output, Mapping) else {}
    if digest(given) != line.asked.get("arguments_digest"):
        return {}, "what it was called with holds a secret, which is not on record"
    if tool.undo_arguments:
        found = {name: _at(path, given, answered) for name, path in tool.undo_arguments}
        missing = [path for name, path in tool.undo_arguments if found[name] is _NOTHING]
        return found, f"there is no {missing[0]} on record" if missing else ""
    names = undo.input_schema.get("properties", {})
    return {name: given.get(name, answered.get(name)) for name in names if name in given or name in answered}, ""


class _Nothing:
    """What is not there."""


_NOTHING: Final = _Nothing()


def _at(path: str, given: Mapping[str, Any], answered: Mapping[str, Any]) -> Any:
    node: Any = given if path.startswith(_INPUT) else answered
    for name in path.partition(".")[2].split("."):
        if not isinstance(node, Mapping) or name not in node:
            return _NOTHING
        node = node[name]
    return node
