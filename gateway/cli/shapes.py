"""`toolgate schema shapes`: what answers without a schema are like, and what drifted from that."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.catalog.shapes import ENOUGH, Shape
from gateway.cli.acting import As, acting
from gateway.cli.output import USAGE, Refused, done, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.cli.policy import rules_of
from gateway.config import GatewayConfig
from gateway.model.answers import Watch
from gateway.model.clock import SystemClock
from gateway.model.tool import Tool
from gateway.pipeline.shaping import about_shape, known_shape
from gateway.store.bodies import load
from gateway.store.ports import Event, EventKind, Record, Store

__all__ = ["shapes"]


def shapes(
    tool: Annotated[str, typer.Argument(help="A tool, such as crm.get; all that are watched when left out.")] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="The tool's answers are meant to be like this: learn them anew.")
    ] = False,
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show what the answers of watched tools (`tools.X.shape`) are like, and what drifted from that."""
    loaded = loaded_from(config, as_json=as_json)
    watched = [each for each in rules_of(loaded, as_json=as_json).catalog.tools() if _is_watched(each, loaded.config)]
    watched = [each for each in watched if tool in {"", each.name}]
    if tool and not watched:
        hint = f'under `tools:`, write "{tool}": {{ shape: watch }}; a tool with an output schema is held to that'
        fail_with(Refused("unwatched", f"the answers of {tool} are not watched", hint), as_json=as_json)
    if accept:
        if not tool:
            hint = "toolgate schema shapes lists them"
            fail_with(Refused("tool", "say which tool's answers are accepted", hint), USAGE, as_json=as_json)
        by = acting(loaded, person, as_json=as_json)
        with_store(loaded, lambda store: _accept(store, tool, by), as_json=as_json)
        done(f"the answers of {tool} are learnt anew; where it was stopped: toolgate unpause tool:{tool}")
        return

    async def work(store: Store) -> dict[str, tuple[Shape | None, list[Event]]]:
        return {each.name: await known_shape(store, each) for each in watched}

    found = with_store(loaded, work, as_json=as_json)
    data = {name: _data(shape, drifts) for name, (shape, drifts) in found.items()}
    lines = [line for name, each in data.items() for line in _lines(name, each)]
    emit(
        data,
        lines or ["no answers are watched: `tools.X.shape` does that, of tools without an output schema"],
        as_json=as_json,
    )


def _is_watched(tool: Tool, config: GatewayConfig) -> bool:
    behind = tool.server in config.mcpServers
    return behind and tool.answers.shape is not Watch.OFF and tool.output_schema is None


async def _accept(store: Store, tool: str, by: str) -> None:
    body = {"what": "shape accepted", "by": by}
    await store.record(Record(about_shape(tool), SystemClock().now_ms(), "", "", "", tool, body, EventKind.ADMIN))


def _data(shape: Shape | None, drifts: list[Event]) -> dict[str, Any]:
    told = [{"at_ms": event.at_ms, **load(event.body.encode())} for event in drifts]
    return {
        "shape": None if shape is None else shape.tell(),
        "drifts": [{name: each[name] for name in ("at_ms", "call", "differences")} for each in told],
    }


def _lines(name: str, each: Mapping[str, Any]) -> Iterable[str]:
    shape = each["shape"]
    if shape is None:
        yield f"{name}: not learnt yet ({ENOUGH} answers that one gateway sees)"
        return
    if not shape["types"]:
        yield f"{name}: its answers vary too much to be watched"
        return
    yield name
    for place, types in shape["types"].items():
        always = "" if place in shape["always"] or place.endswith("*") or not place else "  (not always)"
        yield f"  {place or '(the answer)'}: {' or '.join(types)}{always}"
    for drift in each["drifts"]:
        when = datetime.fromtimestamp(drift["at_ms"] / 1000, UTC).isoformat(timespec="seconds")
        yield f"  drifted {when}, first in {drift['call']}: {'; '.join(drift['differences'])}"
