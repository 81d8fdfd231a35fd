"""`toolgate runs`: what belongs together, step by step, and ending the doubt about a step."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.acting import As, acting_on_run
from gateway.cli.loaded import Loaded
from gateway.cli.moving import export_run, fork_run, import_run
from gateway.cli.output import Refused, carried_out, done, emit, fail_with, latest_only, say, table
from gateway.cli.passport import passport
from gateway.cli.place import AsJson, ConfigPath, placed_by, with_store
from gateway.cli.playing import serve_run
from gateway.cli.rollback import rollback
from gateway.cli.taint import add_commands
from gateway.ledger.forking import Origin, origin_of
from gateway.ledger.moved import let_go_on
from gateway.ledger.settle import settle
from gateway.ledger.trace import CallLine, one_line, run_lines
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef, StepStatus
from gateway.store.imports import IMPORTED
from gateway.store.ports import PauseRecord, Store
from gateway.store.runs import ANYWHERE, AttemptBegin, RunCancel, RunStatus, RunSummary

__all__ = ["commands"]

RunId = Annotated[str, typer.Argument(help="The run's id.")]
Force = Annotated[str, typer.Option(help="Let it go on although it was exported, and why; kept on record.")]
_LATEST: Final = 1000
_OUTCOMES: Final = {"succeeded": StepStatus.SUCCEEDED, "failed": StepStatus.FAILED}


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate runs`."""
    group = typer.Typer(help="Runs: the calls that belong together.", no_args_is_help=True)
    group.command("list")(list_runs)
    group.command("show")(show)
    group.command("settle")(settle_call)
    group.command("rollback")(rollback)
    add_commands(group)
    group.command("passport")(passport)
    group.command("resume")(resume)
    group.command("pause")(pause_run)
    group.command("unpause")(unpause_run)
    group.command("cancel")(cancel)
    group.command("export")(export_run)
    group.command("import")(import_run)
    group.command("fork")(fork_run)
    group.command("serve")(serve_run)
    return group


def list_runs(
    owner: Annotated[str, typer.Option(help="Only of this agent, or `agent/user`.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """List runs, the latest first: owner, calls, and how many of them are in doubt."""

    async def work(store: Store) -> list[RunSummary]:
        return await store.runs(owner, limit)

    rows = [_run(each) for each in with_store(placed_by(config, as_json=as_json), work, as_json=as_json)]
    shown = [{key: str(value) or "-" for key, value in row.items() if key != "key"} for row in rows]
    emit(rows, table(shown) or ["no runs"], as_json=as_json)
    latest_only(rows, limit)


def show(
    run: RunId,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show a run's calls in order: tool, outcome, why, how long."""

    async def work(store: Store) -> tuple[list[CallLine], Origin | None] | list[str]:
        if await store.find_run(run) is None:
            return [each.run.id for each in await store.runs("", _LATEST) if _named(each.key) == run]
        return await run_lines(store, run), await origin_of(store, run)

    found = with_store(placed_by(config, as_json=as_json), work, as_json=as_json)
    if isinstance(found, list):
        hint = f"its agent calls this one so: {', '.join(found)}" if found else "list them: toolgate runs list"
        fail_with(Refused("unknown_run", f"there is no run with the id {run!r}", hint), as_json=as_json)
    lines, origin = found
    rows = [_step(number, line) for number, line in enumerate(lines, 1)]
    if origin is not None and not as_json:
        say(f"a fork of {origin.run}, whose first calls are on record there")
    emit(
        rows, table([{key: str(value) for key, value in row.items()} for row in rows]) or ["no calls"], as_json=as_json
    )
    for line in lines:
        if line.in_doubt and not as_json:
            done(f"#{line.call_id} is in doubt; end that with: toolgate runs settle {line.call_id} succeeded|failed")


def settle_call(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    call: Annotated[str, typer.Argument(help="The id of a call in doubt.")],
    outcome: Annotated[str, typer.Argument(help="What became of it: succeeded or failed.")],
    note: Annotated[
        str, typer.Option("--note", "--reason", help="How you know; kept on record and told to the agent.")
    ] = "",
    result: Annotated[str, typer.Option(help="The result's structured content, as JSON, where it is known.")] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Say what became of a call in doubt: its repeats are answered by that, and what depends on it goes on or not."""
    status = _OUTCOMES.get(outcome)
    if status is None:
        wrong = Refused("outcome", f"{outcome!r} is no outcome: write succeeded or failed")
        fail_with(wrong, as_json=as_json)
    loaded = placed_by(config, as_json=as_json, person=person)
    said: dict[str, Any] = {"by": _settling(loaded, person, call, as_json), "note": note[:1000]}
    if result:
        try:
            said["result"] = json.loads(result)
        except ValueError as error:
            fail_with(Refused("result", f"--result is not JSON: {error}"), as_json=as_json)

    async def work(store: Store) -> CallLine:
        return await settle(store, call, status, said, time.time_ns() // 1_000_000)

    line = with_store(loaded, work, as_json=as_json)
    told = {"call": line.call_id, "tool": line.tool, "outcome": line.outcome}
    carried_out(told, f"#{line.call_id} ({line.tool}) is settled: {line.outcome}", as_json=as_json)


def _settling(loaded: Loaded, person: str, call: str, as_json: bool) -> str:
    """Return who settles a call: whoever may settle its run."""
    line = with_store(loaded, lambda store: one_line(store, call), as_json=as_json) if person else None
    return acting_on_run(loaded, person, "settle", "" if line is None else line.run_id, as_json=as_json)


def resume(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    run: RunId,
    again: Annotated[bool, typer.Option("--again", help="Begin it anew although it is paused.")] = False,
    force: Force = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Let a paused run go on; or, where its agent was broken off, have its next calls begin the run anew.

    Then what is on record is answered from it, in the order and as often as it was called, and the first call beyond
    that is carried out. It holds for all that the agent does without naming a run, until the run has rested for half
    an hour; conversations that are under way elsewhere are left alone.
    """
    loaded = placed_by(config, as_json=as_json, person=person)
    by, now = acting_on_run(loaded, person, "resume", run, as_json=as_json), time.time_ns() // 1_000_000

    async def work(store: Store) -> str:
        ref = await _open_run(store, run)
        paused = await let_go_on(store, run, PauseRecord(f"run:{run}", now, by, force[:500]))
        if paused and not again:
            return f"{run} goes on where it was paused; to begin it anew: toolgate runs resume {run} --again"
        label = (await store.attempt(run, ref.owner)).label
        begun = await store.begin_attempt(AttemptBegin(run, ref.owner, now, by, label, anew=True))
        await store.place_run(ref.owner, ANYWHERE, run, now)
        return f"{run} begins anew (attempt {begun.number}): start the agent {ref.owner} again"

    carried_out({"run": run}, with_store(loaded, work, as_json=as_json), as_json=as_json)


def pause_run(
    run: RunId,
    reason: Annotated[str, typer.Option(help="Why; shown to the agents.")] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Stop a run within a second, as `toolgate pause run:ID` does: calls under way end, new ones are refused."""
    loaded = placed_by(config, as_json=as_json, person=person)
    by = acting_on_run(loaded, person, "pause", run, as_json=as_json)
    told = PauseRecord(f"run:{run}", time.time_ns() // 1_000_000, by, reason[:500])

    async def work(store: Store) -> str:
        await _open_run(store, run)
        await store.put_pause(told)
        return f"{run} is paused; let it go on with: toolgate runs unpause {run}"

    carried_out({"run": run}, with_store(loaded, work, as_json=as_json), as_json=as_json)


def unpause_run(
    run: RunId,
    force: Force = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Let a paused run go on where it was."""
    loaded = placed_by(config, as_json=as_json, person=person)
    by = acting_on_run(loaded, person, "pause", run, as_json=as_json)
    told = PauseRecord(f"run:{run}", time.time_ns() // 1_000_000, by, force[:500])

    async def work(store: Store) -> str:
        if not await let_go_on(store, run, told):
            raise RequestFault(f"{run} is not paused; see what is with: toolgate pause")
        return f"{run} goes on"

    carried_out({"run": run}, with_store(loaded, work, as_json=as_json), as_json=as_json)


def cancel(
    run: RunId,
    reason: Annotated[str, typer.Option(help="Why; kept on record.")] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """End a run for good: within a second it takes no further call, neither under its id nor under its name."""
    loaded = placed_by(config, as_json=as_json, person=person)
    by = acting_on_run(loaded, person, "pause", run, as_json=as_json)
    told = RunCancel(run, time.time_ns() // 1_000_000, by, reason[:500])

    async def work(store: Store) -> str:
        await _open_run(store, run)
        if not await store.cancel_run(told):
            raise RequestFault(f"{run} has ended meanwhile.")
        return f"{run} is cancelled"

    carried_out({"run": run}, with_store(loaded, work, as_json=as_json), as_json=as_json)


async def _open_run(store: Store, run: str) -> RunRef:
    found = await store.find_run(run)
    if found is None:
        raise RequestFault(f"There is no run {run!r}; list them: toolgate runs list")
    if found.status != RunStatus.OPEN:
        raise RequestFault(f"{run} is {found.status}.")
    return found


def _run(each: RunSummary) -> dict[str, Any]:
    return {
        "run": each.run.id,
        "owner": each.run.owner,
        "opened": _time(each.opened_ms),
        "status": each.run.status,
        "attempts": each.attempts,
        "calls": each.steps,
        "in_doubt": each.doubtful,
        "name": _named(each.key),
        "key": each.key,
    }


def _named(key: str) -> str:
    """Return what a run is called by: its agent's own name for it, or the workflow and the value of its key."""
    try:
        kind, *names = json.loads(key)
    except ValueError:  # what an agent does without naming a run
        return ""
    return "=".join(map(str, names)) if kind in {"name", "key"} else ""


def _step(number: int, line: CallLine) -> dict[str, Any]:
    marks = "(imported)" if IMPORTED in line.asked else "", "(from the record)" if line.replayed_from else ""
    return {
        "n": number,
        "call": line.call_id,
        "when": _time(line.at_ms),
        "agent": line.who,
        "tool": line.tool,
        "outcome": " ".join(filter(None, (line.outcome, line.code, *marks))),
        "ms": "-" if line.duration_ms is None else line.duration_ms,
    }


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23]
