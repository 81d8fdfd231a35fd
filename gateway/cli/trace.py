"""`toolgate trace`: who did what, on whose authority, decided by which policy, with which outcome."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.durations import moment_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, cell, emit, emit_json, fail_with, latest_only, say, table
from gateway.cli.place import AsJson, ConfigPath, placed_by, store_of, with_store
from gateway.cli.stepping import step_through
from gateway.config import GatewayConfig
from gateway.ledger.latency import Latency, latencies
from gateway.ledger.trace import Asked, CallLine, as_csv, as_json_line, call_lines, latest_lines, one_line, tail
from gateway.ledger.waste import Waste, wasted
from gateway.model.clock import SystemClock
from gateway.model.errors import GatewayError
from gateway.store.ports import EventFilter, Store

__all__ = ["commands"]

Agent = Annotated[str, typer.Option(help="Only calls of this agent.")]
ToolName = Annotated[str, typer.Option("--tool", help="Only this tool; `payments.*` takes all of a server.")]
Run = Annotated[str, typer.Option(help="Only calls of this run.")]
Since = Annotated[str, typer.Option(help="From here on: 2026-11-17, 2026-11-17T09:30, or 2h for two hours ago.")]
Until = Annotated[str, typer.Option(help="Before this time; written like --since.")]
Outcome = Annotated[
    str, typer.Option(help="Only calls that ended so: succeeded, denied, waiting, failed, unknown, or an error's code.")
]
Person = Annotated[
    str, typer.Option(help="Only calls that this person had a part in: as user, as the agent's owner, or as approver.")
]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate trace`."""
    group = typer.Typer(help="Question the ledger.", no_args_is_help=True)
    group.command("list")(list_calls)
    group.command()(show)
    group.command("tail")(follow)
    group.command()(export)
    group.command("replay")(step_through)
    group.command()(stats)
    group.command()(waste)
    return group


def list_calls(  # noqa: PLR0913, PLR0917 - each option is one question a reviewer asks
    agent: Agent = "",
    tool: ToolName = "",
    run: Run = "",
    since: Since = "",
    until: Until = "",
    outcome: Outcome = "",
    person: Person = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many, the latest.")] = 50,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """List calls: when, which agent, for whom, who answers for it, which tool, what decided, which people approved."""
    loaded = placed_by(config, as_json=as_json)
    wanted = _filter({"agent": agent, "tool": tool, "run_id": run}, since, until, limit)

    async def work(store: Store) -> list[CallLine]:
        return await latest_lines(store, wanted, Asked(outcome, person))

    lines = with_store(loaded, work, as_json=as_json)
    emit([_data(line) for line in lines], table([_row(line) for line in lines]) or ["no calls"], as_json=as_json)
    latest_only(lines, limit)


def show(
    call: Annotated[str, typer.Argument(help="A call's id.")],
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show one call whole: identity, arguments, facts, decision, attempts, result, timing."""
    loaded = placed_by(config, as_json=as_json)

    async def work(store: Store) -> CallLine | None:
        return await one_line(store, call)

    line = with_store(loaded, work, as_json=as_json)
    if line is None:
        hint = "toolgate trace list shows the ids"
        fail_with(Refused("unknown_call", f"the ledger has no call {call!r}", hint), as_json=as_json)
    whole = {**_data(line), "asked": line.asked, "ended": line.ended if line.ended is not line.asked else {}}
    text = [f"{key:14} {cell(_shown(value))}" for key, value in _data(line).items()]
    for part in ("asked", "ended"):
        body: Mapping[str, Any] = whole[part]
        text += [f"{part}.{key:14} {json.dumps(value, ensure_ascii=False)}" for key, value in body.items()]
    emit(whole, text, as_json=as_json)


def stats(  # noqa: PLR0913, PLR0917 - each option is one question an operator asks
    agent: Agent = "",
    tool: ToolName = "",
    run: Run = "",
    since: Since = "24h",
    until: Until = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show how long calls took and how many failed, by server and tool: whole calls, and what servers took of them."""
    loaded = placed_by(config, as_json=as_json)
    wanted = _filter({"agent": agent, "tool": tool, "run_id": run}, since, until, 2**31 - 1)

    async def work(store: Store) -> list[Latency]:
        return await latencies(call_lines(store, wanted))

    found = with_store(loaded, work, as_json=as_json)
    lines = table([_latency_row(each) for each in found]) or ["no server was asked in that time"]
    lines += [text for each in found if (text := _kept(each, loaded.config))]
    emit([asdict(each) for each in found], lines, as_json=as_json)


def waste(  # noqa: PLR0913, PLR0917 - each option is one question an operator asks
    agent: Agent = "",
    tool: ToolName = "",
    run: Run = "",
    since: Since = "24h",
    until: Until = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show what could have been left out: the same reads and refusals again, retries, long answers."""
    wanted = _filter({"agent": agent, "tool": tool, "run_id": run}, since, until, 2**31 - 1)

    async def work(store: Store) -> list[Waste]:
        return await wasted(call_lines(store, wanted))

    found = [asdict(each) for each in with_store(placed_by(config, as_json=as_json), work, as_json=as_json)]
    rows = [{key: str(value) for key, value in row.items()} for row in found]
    emit(found, table(rows) or ["nothing that could have been left out"], as_json=as_json)


def _latency_row(each: Latency) -> dict[str, str]:
    whole, server = each.whole, each.server
    return {
        "tool": each.of,
        "calls": str(each.calls),
        "failed": f"{each.failed} ({100 * each.failed / each.calls:.1f} %)",
        "p50": f"{whole.p50} ms",
        "p95": f"{whole.p95} ms",
        "p99": f"{whole.p99} ms",
        "longest": f"{whole.longest} ms",
        "server p50/p95/p99": "-" if server is None else f"{server.p50}/{server.p95}/{server.p99} ms",
    }


def _kept(each: Latency, config: GatewayConfig) -> str:
    """Return how a server kept to its objective in the time asked for, if it has one."""
    server = each.of.removesuffix(".*")
    objective = config.objective(server) if server != each.of and each.asked else None
    if objective is None:
        return ""
    bad = each.unmet / each.asked
    return (
        f"{server} did not fail {100 * (1 - bad):.2f} % of {each.asked} calls, expected {100 * objective.success:g} %: "
        f"{100 * bad / (1 - objective.success):.0f} % of what may fail is used up"
    )


def follow(
    agent: Agent = "",
    tool: ToolName = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Print calls as they happen, until Ctrl-C."""
    loaded = placed_by(config, as_json=as_json)
    try:
        asyncio.run(_follow(loaded, _filter({"agent": agent, "tool": tool}, "", "", 1000), as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None
    except GatewayError as error:
        fail_with(Refused(error.code, error.message, error.detail), as_json=as_json)


async def _follow(loaded: Loaded, wanted: EventFilter, as_json: bool) -> None:
    store = store_of(loaded)
    await store.open()
    try:
        async for event in tail(store, wanted, SystemClock()):
            line = await one_line(store, event.call_id)
            if line is not None and as_json:
                emit_json(_data(line))
            elif line is not None:
                say("  ".join(cell(value) for value in _row(line).values()))
    finally:
        await store.close()


def export(  # noqa: PLR0913, PLR0917 - each option is one question a reviewer asks
    agent: Agent = "",
    tool: ToolName = "",
    run: Run = "",
    since: Since = "",
    until: Until = "",
    outcome: Outcome = "",
    person: Person = "",
    as_csv_file: Annotated[bool, typer.Option("--csv", help="CSV without bodies, instead of JSON lines.")] = False,
    config: ConfigPath = Path("gateway.yaml"),
) -> None:
    """Write calls to standard output, one JSON object a line, bodies and all."""
    loaded = placed_by(config)
    wanted = _filter({"agent": agent, "tool": tool, "run_id": run}, since, until, 2**31 - 1)

    asked = Asked(outcome, person)

    async def work(store: Store) -> None:
        lines = (line async for line in call_lines(store, wanted) if asked.is_met_by(line))
        if as_csv_file:
            typer.echo(as_csv([line async for line in lines]), nl=False)
            return
        async for line in lines:
            typer.echo(as_json_line(line))

    with_store(loaded, work)


def _filter(names: Mapping[str, str], since: str, until: str, limit: int) -> EventFilter:
    asked: dict[str, Any] = {**names, "since_ms": moment_ms(since), "until_ms": moment_ms(until), "limit": limit}
    return EventFilter(**asked)


def _row(line: CallLine) -> dict[str, str]:
    return {
        "when": datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23],
        "call": line.call_id,
        "agent": line.who,
        "for": line.on_behalf_of or "-",
        "owner": line.owner or "-",
        "credential": line.credential_id[:12] or "-",
        "tool": line.tool,
        "outcome": f"{line.outcome} {line.code}".strip(),
        "policies": ", ".join(line.policies) or "-",
        "approved by": ", ".join(line.approved_by) or "-",
        "ms": "-" if line.duration_ms is None else str(line.duration_ms),
    }


def _data(line: CallLine) -> dict[str, Any]:
    return {
        "call": line.call_id,
        "at_ms": line.at_ms,
        "agent": line.agent,
        "on_behalf_of": line.on_behalf_of,
        "owner": line.owner,
        "delegation": list(line.delegation),
        "credential": line.credential_id,
        "run": line.run_id,
        "tool": line.tool,
        "version": line.version,
        "outcome": line.outcome,
        "code": line.code,
        "message": line.message,
        "policies": list(line.policies),
        "approved_by": list(line.approved_by),
        "bundle": line.bundle,
        "duration_ms": line.duration_ms,
        "replayed_from": line.replayed_from,
        "source": line.source,
        "labels": list(line.labels),
    }


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "-" if value in {None, ""} else str(value)
