"""`toolgate simulate`: what other policies would have made of the calls on record."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.durations import moment_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import DENIED, emit, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.cli.policy import rules_of
from gateway.pipeline.simulation import Change, Simulated, Simulation
from gateway.store.ports import EventFilter, Store

__all__ = ["simulate"]


def simulate(  # noqa: PLR0913, PLR0917 - each option narrows what is simulated
    policies: Annotated[
        Path | None,
        typer.Option(help="Cedar file or folder in the place of those under `policies:`; else the files as they are."),
    ] = None,
    run: Annotated[str, typer.Option(help="Only calls of this run.")] = "",
    agent: Annotated[str, typer.Option(help="Only calls of this agent.")] = "",
    tool: Annotated[str, typer.Option(help="Only this tool; `payments.*` takes all of a server.")] = "",
    since: Annotated[str, typer.Option(help="From here on: 2026-11-17, 2026-11-17T09:30, or 7d.")] = "",
    until: Annotated[str, typer.Option(help="Before this time; written like --since.")] = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Put every recorded call before other policies, with its past as it was then; list what would change.

    Exits with 3 where a call would be decided otherwise.
    """
    loaded = loaded_from(config, as_json=as_json)
    bundle = rules_of(_with_policies(loaded, policies), as_json=as_json).bundle
    times = moment_ms(since), moment_ms(until)
    wanted = EventFilter(run_id=run, agent=agent, tool=tool, since_ms=times[0], until_ms=times[1])

    async def work(store: Store) -> tuple[Counter[Change], list[Simulated], Mapping[str, int]]:
        counted: Counter[Change] = Counter()
        changed = []
        simulation = Simulation(store, bundle)
        async for one in simulation.run(wanted):
            counted[one.change] += 1
            if one.change is not Change.SAME:
                changed.append(one)
        return counted, changed, {why: number for why, number in simulation.skipped.items() if number}

    counted, changed, skipped = with_store(loaded, work, as_json=as_json)
    counts = {str(change): counted[change] for change in Change}
    data = {"counts": counts, "skipped": skipped, "calls": [_data(one) for one in changed]}
    emit(data, _lines(counts, skipped, changed), as_json=as_json)
    if changed:
        raise typer.Exit(DENIED)


def _with_policies(loaded: Loaded, policies: Path | None) -> Loaded:
    if policies is None:
        return loaded
    written = [str(policies.expanduser().absolute())]
    return Loaded(loaded.path, loaded.config.model_copy(update={"policies": written}), loaded.secrets)


def _data(one: Simulated) -> dict[str, Any]:
    event, decision = one.event, one.decision
    return {
        "call": event.call_id,
        "at_ms": event.at_ms,
        "run": event.run_id,
        "agent": event.agent,
        "tool": event.tool,
        "change": str(one.change),
        "before": {"outcome": str(one.before), "policies": list(one.was)},
        "after": {"outcome": str(one.after), "policies": list(decision.policies), "message": decision.message},
    }


def _lines(counts: Mapping[str, int], skipped: Mapping[str, int], changed: Iterable[Simulated]) -> list[str]:
    rows = [
        {
            "change": str(one.change),
            "call": one.event.call_id,
            "agent": one.event.agent,
            "tool": one.event.tool,
            "was": f"{one.before} ({', '.join(one.was) or 'by default'})",
            "would be": f"{one.after} ({', '.join(one.decision.policies) or 'by default'})",
        }
        for one in changed
    ]
    told = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())
    left_out = [f"left out: {number} calls, {why}" for why, number in skipped.items()]
    return [*table(rows), *left_out, f"{sum(counts.values())} decided calls: {told}"]
