"""`toolgate status`: is it up, and how are its servers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from gateway.cli.output import FAILED, emit, table
from gateway.cli.place import AsJson, ConfigPath, placed_by
from gateway.cli.running import running
from gateway.cli.servers import breaker_text, slo_text
from gateway.connector.about import About
from gateway.model.clock import SystemClock

__all__ = ["opened", "status"]

_MOST: Final = 10
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def status(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show whether the gateway is up, where, and how every server behind it stands."""
    loaded = placed_by(config, as_json=as_json)
    gateway = running(loaded)
    told = gateway.ask("/-/status") if gateway is not None else None
    if gateway is None or told is None:
        emit({"up": False}, ["the gateway is not up; start it with: toolgate up"], as_json=as_json)
        raise typer.Exit(FAILED)
    found = {**gateway.note, **told}
    lines = [
        f"up at {found['url']}/mcp (pid {found['pid']})",
        *table(_rows(found["servers"])),
        *_burning(found["servers"]),
        *_quarantined(found["servers"]),
        *_whom_to_ask(found),
    ]
    if found["policy_problem"]:
        lines.append(f"the policies do not load: {found['policy_problem']}")
    if found["files_problem"]:
        lines.append(f"the files are not in force: {found['files_problem']}")
    if due := found.get("restart_due"):
        lines.append(f"{', '.join(due)} changed: restart the gateway to have that count")
    if found["store_problem"]:
        lines.append(f"the ledger cannot be written, so calls are refused: {found['store_problem']}")
    for name, why in found["events_problems"].items():
        lines.append(f"events are not taken by {name}: {why}")
    lines += opened(found["wildcards"], [name for name, each in found["servers"].items() if each["undecided"]])
    if found["paused"]:
        lines.append(f"paused: {', '.join(found['paused'])} (toolgate pause shows why)")
    for each in found["credentials"]:
        if each["state"] == "dead":
            whose = f" of {each['user']}" if each["user"] else ""
            lines.append(f"credential{whose} for {', '.join(each['servers'])} is dead: {each['reason']}; {each['fix']}")
    emit({"up": True, **found}, lines, as_json=as_json)


def opened(wildcards: Mapping[str, Sequence[str]], new: Sequence[str]) -> Iterable[str]:
    """Yield which servers nobody has decided about, and to whom wildcards open whatever there is."""
    for name in new:
        decide = f'toolgate schema approve "{name}.*"'
        yield f"{name} is new: for agents whose `allow:` names it, until somebody decides: {decide}"
    told = [f"{agent} ({', '.join(permits[:3])})" for agent, permits in wildcards.items()]
    if told:
        more = f" and {len(told) - _MOST} more" if len(told) > _MOST else ""
        yield f"open by a wildcard, every server there is, to: {', '.join(told[:_MOST])}{more}"


def _whom_to_ask(found: Mapping[str, Any]) -> Iterable[str]:
    """Yield who answers for each server that something is wrong with, where that is said."""
    dead = {server for each in found["credentials"] if each["state"] == "dead" for server in each["servers"]}
    for name, each in found["servers"].items():
        ails = each["state"] == "down" or each["breaker"] != "closed" or each["quarantined"] or name in dead
        ails = ails or slo_text(each.get("slo"))
        if ails and (words := About.model_validate(each["about"]).words()):
            yield f"{name}: {words}"


def _burning(servers: Mapping[str, Any]) -> Iterable[str]:
    return [f"{name} {text}" for name, each in servers.items() if (text := slo_text(each.get("slo")))]


def _quarantined(servers: Mapping[str, Any]) -> Iterable[str]:
    held = [pair for each in servers.values() for pair in each["quarantined"].items()]
    yield from (f"{name} is quarantined: {why}; see: toolgate schema diff {name}" for name, why in held[:_MOST])
    if len(held) > _MOST:
        yield f"and {len(held) - _MOST} more tools are; see: toolgate schema diff"


def _rows(servers: dict[str, Any]) -> list[dict[str, str]]:
    now_ms = SystemClock().now_ms()
    return [
        {
            "server": name,
            "state": each["state"],
            "tools": str(each["tools"]),
            "for": _span(now_ms - each["since_ms"]),
            "probe": _probe(each["probe"], now_ms),
            "breaker": breaker_text(each),
            "error": each["error"],
        }
        for name, each in servers.items()
    ]


def _probe(probe: dict[str, Any] | None, now_ms: int) -> str:
    return "-" if probe is None else f"{probe['took_ms']} ms, {_span(now_ms - probe['at_ms'])} ago"


def _span(span_ms: int) -> str:
    """Return a span of time in its largest unit: 90 s is 1m."""
    seconds = max(span_ms, 0) // 1000
    return next((f"{seconds // size}{unit}" for unit, size in _UNITS if seconds >= size), "0s")
