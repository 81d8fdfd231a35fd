"""`toolgate trace replay`: a run as it went, call by call, with all that each was decided on and what came of it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import Refused, cell, emit, fail_with, say
from gateway.cli.place import AsJson, ConfigPath, placed_by, with_store
from gateway.ledger.trace import CallLine, call_lines
from gateway.store.ports import EventFilter, Store

__all__ = ["step_through"]


def step_through(
    run: Annotated[str, typer.Argument(help="The run's id.")],
    first: Annotated[int, typer.Option("--from", min=1, help="Begin at this call of the run.")] = 1,
    wait: Annotated[bool, typer.Option(help="Wait for Enter after each call; q ends it.")] = False,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Step through a run: who asked for what, what was known, which policies decided, each attempt, result, timing."""

    async def work(store: Store) -> list[CallLine]:
        return [line async for line in call_lines(store, EventFilter(run_id=run, limit=2**31 - 1))]

    lines = sorted(with_store(placed_by(config, as_json=as_json), work, as_json=as_json), key=lambda line: line.seq)
    if not lines:
        fail_with(Refused("unknown_run", f"no call of a run {run!r} is on record; see: toolgate runs list"))
    steps = [_step(number, line, lines[0].at_ms) for number, line in enumerate(lines, 1)][first - 1 :]
    if as_json:
        emit(steps, (), as_json=True)
        return
    for number, step in enumerate(steps, 1):
        for text in _lines(step, len(lines)):
            say(text)
        if wait and number < len(steps) and typer.prompt("", default="", show_default=False) == "q":
            return


def _step(number: int, line: CallLine, began_ms: int) -> dict[str, Any]:
    asked, ended = line.asked, line.ended
    return {
        "n": number,
        "call": line.call_id,
        "tool": line.tool,
        "at": datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23],
        "after_ms": line.at_ms - began_ms,
        "identity": asked.get("identity", {"agent": line.agent}),
        "arguments": asked.get("arguments", {}),
        "facts": asked.get("facts", {}),
        "decision": asked.get("decision", {}),
        "attempts": ended.get("attempts", []),
        "outcome": line.outcome,
        "answer": {name: ended[name] for name in _ANSWERS if name in ended},
        "duration_ms": line.duration_ms,
    }


_ANSWERS = ("result", "result_bytes", "result_digest", "error", "waiting", "labels", "source", "replayed_from", "raw")
"""What an ending says of the answer, as far as it does."""


def _lines(step: Mapping[str, Any], total: int) -> Iterator[str]:
    took = "still under way" if step["duration_ms"] is None else f"{step['duration_ms']} ms"
    yield f"[{step['n']}/{total}] {cell(step['tool'])} {step['outcome']}  #{cell(step['call'])}"
    yield f"  when       {step['at']}, {step['after_ms']} ms after the first call, took {took}"
    decision = step["decision"]
    if decision:
        policies = ", ".join(decision.get("policies", ())) or "no policy"
        yield f"  decided    {decision.get('ruling', '')} by {cell(policies)}; bundle {decision.get('bundle', '')}"
        if decision.get("message"):
            yield f"             {cell(decision['message'])}"
    for name in ("identity", "arguments", "facts"):
        yield f"  {name:10} {cell(_json(step[name]))}"
    for attempt in step["attempts"]:
        yield f"  attempt    {cell(_json(attempt))}"
    for name, value in step["answer"].items():
        yield f"  {name:10} {cell(_json(value))}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
