"""`toolgate replay`: recorded decisions made again from what they were made of; they must be the same."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.durations import moment_ms
from gateway.cli.output import FAILED, Refused, cell, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.pipeline.replay import Replayed, Verdict, replay
from gateway.store.ports import EventFilter, Store

__all__ = ["replay_calls"]


def replay_calls(  # noqa: PLR0913, PLR0917 - each option narrows what is replayed
    what: Annotated[str, typer.Argument(help="The id of a run or a call; everything if absent.")] = "",
    agent: Annotated[str, typer.Option(help="Only calls of this agent.")] = "",
    tool: Annotated[str, typer.Option(help="Only this tool; `payments.*` takes all of a server.")] = "",
    since: Annotated[str, typer.Option(help="From here on: 2026-11-17, 2026-11-17T09:30, or 2h.")] = "",
    until: Annotated[str, typer.Option(help="Before this time; written like --since.")] = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Decide recorded calls again, by the policies that decided them. No server is asked, and nothing is called.

    Exits with 1 where a decision differs, or where none could be made again.
    """
    loaded = loaded_from(config, as_json=as_json)
    times = {"since_ms": moment_ms(since), "until_ms": moment_ms(until)}
    limits: dict[str, Any] = {"agent": agent, "tool": tool, "limit": 2**63 - 1, **times}

    async def work(store: Store) -> tuple[Counter[Verdict], list[Replayed]]:
        is_run = bool(what) and await store.find_run(what) is not None
        named: dict[str, Any] = {"run_id" if is_run else "call_id": what}
        counted: Counter[Verdict] = Counter()
        odd = []
        async for one in replay(store, EventFilter(**named, **limits)):
            counted[one.verdict] += 1
            if one.verdict is not Verdict.EQUAL:
                odd.append(one)
        return counted, odd

    counted, odd = with_store(loaded, work, as_json=as_json)
    if what and not counted:
        hint = "toolgate trace list shows the calls, toolgate runs list the runs"
        fail_with(Refused("unknown_call", f"no run or decided call has the id {what!r}", hint), as_json=as_json)
    counts = {str(verdict): counted[verdict] for verdict in Verdict}
    emit({"counts": counts, "calls": [_data(one) for one in odd]}, _lines(counted, odd), as_json=as_json)
    if counted[Verdict.DIFFERS] or (counted and not counted[Verdict.EQUAL] + counted[Verdict.REWORDED]):
        raise typer.Exit(FAILED)


def _data(one: Replayed) -> dict[str, Any]:
    event = one.event
    about = {"call": event.call_id, "run": event.run_id, "agent": event.agent, "tool": event.tool}
    return {**about, "verdict": str(one.verdict), "why": one.why, "recorded": one.recorded, "decided": one.decided}


def _lines(counted: Counter[Verdict], odd: list[Replayed]) -> list[str]:
    told = [
        f"{one.verdict:10} {cell(one.event.call_id)}  {cell(one.event.agent)}  {cell(one.event.tool)}  {one.why}"
        for one in odd
    ]
    total = sum(counted.values())
    return [*told, f"{counted[Verdict.EQUAL]} of {total} decisions are equal, byte for byte"]
