"""`toolgate access`: what agents may do, held against what they did; and a person's word that it is as it should be."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.app import build_rules, policy_trial, read_policies, undecided_in
from gateway.catalog.catalog import NEW
from gateway.catalog.lock import Lock
from gateway.catalog.names import canonical_name
from gateway.cli import granting
from gateway.cli.acting import As, acting
from gateway.cli.durations import moment_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import DENIED, Refused, cell, done, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.cli.policy import identities, rules_of
from gateway.cli.running import running
from gateway.identity.config import as_written
from gateway.ledger.bundles import Bundles
from gateway.model.clock import SystemClock
from gateway.model.identity import Identity
from gateway.pipeline.access import AccessReview, Checked, Held, Less, Tighter
from gateway.policy import Bundle, PolicySource
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind, Record, Store

__all__ = ["commands"]

_CERTIFIED: Final = "access.certified"
"""What certifications have in the place of a call's id."""

Agent = Annotated[str, typer.Option(help="Only this agent.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate access`."""
    group = typer.Typer(
        help="Review what agents may do against what they did, and certify it; open access for a while.",
        no_args_is_help=True,
    )
    group.command()(review)
    group.command()(certify)
    group.command()(granting.grant)
    group.command()(granting.grants)
    group.command()(granting.revoke)
    return group


@dataclass(frozen=True, slots=True)
class _Reviewed:
    held: Sequence[Held]
    less: Mapping[str, Less]
    checked: Checked
    certified: Mapping[str, Any] | None


def review(
    since: Annotated[str, typer.Option(help="How far to look back: 30d, or a date such as 2026-11-01.")] = "30d",
    agent: Agent = "",
    due: Annotated[
        str, typer.Option(help="Exit with 3 where the last certification is older, such as 90d, or more is granted.")
    ] = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Show for each agent what it may do and did, what was refused, and less access that would have done as well.

    The less that is proposed was tried on every recorded call of the time. Nothing is changed.
    """
    loaded = loaded_from(config, as_json=as_json)
    agents = _agents(loaded, agent, as_json)
    due_ms = moment_ms(due)
    since_ms, rules = moment_ms(since), rules_of(loaded, as_json=as_json)
    wanted = EventFilter(since_ms=since_ms, agent=agent, limit=2**63 - 1)

    async def work(store: Store) -> _Reviewed:
        reviewing = _reviewing(store, loaded, rules.bundle)
        held = await reviewing.held(agents, wanted)
        less, checked = await reviewing.less(held, agents, wanted, _tighter(loaded))
        return _Reviewed(held, less, checked, await _last_certified(store))

    found = with_store(loaded, work, as_json=as_json)
    undecided = _undecided(loaded)
    data = _data(found, undecided, rules.bundle.digest, since_ms)
    for name, each in data["agents"].items():
        if each["tighter"] is not None and each["tighter"]["allow"] is not None:
            kept = loaded.config.agents[name].allowing(each["tighter"]["allow"])
            each["tighter"]["allow"] = as_written(kept)
    emit(data, _lines(data, {one.agent: one.owner for one in agents}), as_json=as_json)
    certified = data["certified"]
    if due and (certified is None or certified["at_ms"] < due_ms or certified["granted_since"]):
        raise typer.Exit(DENIED)


def certify(
    note: Annotated[
        str, typer.Option("--note", "--reason", help="What was looked at, or is to be done; kept on record.")
    ] = "",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Put on record that somebody has reviewed what every agent may do now, and stands for it."""
    loaded = loaded_from(config, as_json=as_json)
    by = acting(loaded, person, as_json=as_json)
    bundle = rules_of(loaded, as_json=as_json).bundle

    async def work(store: Store) -> Mapping[str, Any]:
        reviewing = _reviewing(store, loaded, bundle)
        granted = {one.agent: sorted(reviewing.granted(one)) for one in identities(loaded.config)}
        clock = SystemClock()
        await Bundles(store, clock).keep(bundle)
        body = {"what": "access certified", "by": by, "bundle": bundle.digest, "granted": granted, "note": note[:500]}
        await store.record(Record(_CERTIFIED, clock.now_ms(), "", "", "", "", body, EventKind.ADMIN))
        return body

    body = with_store(loaded, work, as_json=as_json)
    if as_json:
        emit(body, [], as_json=True)
        return
    number = sum(len(names) for names in body["granted"].values())
    done(f"{by} certified {number} grant(s) of {len(body['granted'])} agent(s) under {body['bundle'][:19]}")


def _agents(loaded: Loaded, agent: str, as_json: bool) -> list[Identity]:
    found = [one for one in identities(loaded.config) if agent in {"", one.agent}]
    if agent and not found:
        refused = Refused("unknown_agent", f"no agent is called {agent!r}", "toolgate agents list shows who there is")
        fail_with(refused, as_json=as_json)
    return found


def _reviewing(store: Store, loaded: Loaded, bundle: Bundle) -> AccessReview:
    allowed = {name: one.patterns for name, one in loaded.config.agents.items()}
    return AccessReview(store, bundle, allowed, loaded.config.mcpServers)


def _tighter(loaded: Loaded) -> Tighter:
    """Return what builds the policies in force with shorter lists and more Cedar. They loaded once already."""
    config, home = loaded.config, home_of(loaded)
    lock = Lock.read(home.lock)
    written = read_policies(config, home, lock, policy_trial(home))

    def build(allow: Mapping[str, Sequence[str]], cedar: str) -> Bundle:
        agents = {
            name: one.model_copy(update={"allow": one.allowing(allow[name])}) if name in allow else one
            for name, one in config.agents.items()
        }
        more = [PolicySource("access.review", cedar)] if cedar else []
        return build_rules(config.model_copy(update={"agents": agents}), [*written, *more], lock, {}).bundle

    return build


async def _last_certified(store: Store) -> Mapping[str, Any] | None:
    async for event in store.events(EventFilter(call_id=_CERTIFIED, limit=1, latest=True)):
        return {"at_ms": event.at_ms, **load(event.body.encode())}
    return None


def _undecided(loaded: Loaded) -> Mapping[str, list[str]]:
    """Return the tools that nobody decided about.

    `new` were offered after their server was pinned, as the running gateway sees it, and may be called by nobody;
    `unreviewed` were pinned as the first that were seen. `new_servers` came after the others: no wildcard opens them.
    """
    gateway = running(loaded)
    told = gateway.ask("/-/status") if gateway is not None else None
    servers = told["servers"].values() if told is not None else ()
    new = sorted(name for each in servers for name, why in each["quarantined"].items() if why == NEW)
    lock = Lock.read(home_of(loaded).lock)
    pins = [(canonical_name(server, name), pin) for server, each in lock.servers.items() for name, pin in each.items()]
    servers_new = [each.server for each in undecided_in(loaded.config, lock)]
    return {
        "new": new,
        "new_servers": servers_new,
        "unreviewed": sorted(name for name, pin in pins if not pin.reviewed),
    }


def _data(found: _Reviewed, undecided: Mapping[str, list[str]], digest: str, since_ms: int) -> dict[str, Any]:
    certified = found.certified
    unreviewed = undecided["unreviewed"]
    return {
        "since_ms": since_ms,
        "bundle": digest,
        "checked": {"calls": found.checked.calls, "left_out": dict(found.checked.left_out)},
        "certified": None
        if certified is None
        else {
            "at_ms": certified["at_ms"],
            "by": certified["by"],
            "bundle": certified["bundle"],
            "note": certified["note"],
            "granted_since": {
                held.agent: more
                for held in found.held
                if (more := sorted(held.granted.keys() - set(certified["granted"].get(held.agent, ()))))
            },
        },
        **undecided,
        "agents": {held.agent: _agent(held, found.less.get(held.agent), unreviewed) for held in found.held},
    }


def _agent(held: Held, less: Less | None, unreviewed: Sequence[str]) -> dict[str, Any]:
    return {
        "granted": {name: str(outlook) for name, outlook in sorted(held.granted.items())},
        "used": dict(sorted(held.used.items())),
        "unused": held.unused,
        "refused": dict(sorted(held.refused.items())),
        "unreviewed": [name for name in unreviewed if name in held.granted],
        "tighter": None
        if less is None
        else {
            "allow": None if less.allow is None else list(less.allow),
            "cedar": less.cedar,
            "left": list(less.left),
            "why_not": less.why_not,
        },
    }


def _lines(data: Mapping[str, Any], owners: Mapping[str, str]) -> Iterable[str]:
    yield f"since {_when(data['since_ms'])}, under {data['bundle'][:19]}"
    yield _certified(data["certified"], data["bundle"])
    for agent, each in data["agents"].items():
        yield ""
        owner = f" ({owners[agent]})" if owners[agent] else ""
        yield f"{agent}{owner}: {len(each['granted'])} granted, {len(each['unused'])} of them unused"
        yield from _told(each)
        if each["tighter"] is not None:
            yield from _less(agent, each["tighter"])
    yield ""
    if data["new"]:
        yield f"new, and nobody may call them: {', '.join(data['new'])} (toolgate schema diff, then approve)"
    for server in data["new_servers"]:
        yield f'new, and only for agents whose `allow:` names it: {server} (toolgate schema approve "{server}.*")'
    if data["unreviewed"]:
        number, pin = len(data["unreviewed"]), "toolgate schema approve"
        yield f"pinned as they were first seen, reviewed by nobody: {number} tool(s) ({pin}; --json names them)"
    checked = data["checked"]
    yield f"tighter: tried on {checked['calls']} recorded call(s), which come out as by the policies in force"
    for why, number in checked["left_out"].items():
        yield f"  left out: {number} call(s), {why}"


def _certified(certified: Mapping[str, Any] | None, digest: str) -> str:
    if certified is None:
        return "never certified: toolgate access certify"
    same = "the policies are the same since" if certified["bundle"] == digest else "the policies have changed since"
    more = [f"{agent}: {', '.join(names)}" for agent, names in certified["granted_since"].items()]
    grown = f"; granted since: {'; '.join(more)}" if more else "; nothing was granted since"
    return f"last certified {_when(certified['at_ms'])} by {certified['by']}; {same}{grown}"


def _told(each: Mapping[str, Any]) -> Iterable[str]:
    for name in ("used", "refused"):
        if each[name]:
            yield f"  {name}: " + ", ".join(f"{cell(tool)} ({number})" for tool, number in each[name].items())
    for name in ("unused", "unreviewed"):
        if each[name]:
            yield f"  {name}: " + ", ".join(each[name])


def _less(agent: str, less: Mapping[str, Any]) -> Iterable[str]:
    if less["why_not"]:
        yield f"  nothing tighter is proposed: {less['why_not']}"
        return
    if less["allow"] is not None:
        yield f"  tighter, under `agents.{agent}`:  allow: {json.dumps(less['allow'])}"
    if less["cedar"]:
        yield "  tighter, in a file under `policies:`"
        yield from (f"    {line}" for line in less["cedar"].splitlines())
    if less["left"]:
        yield f"  still granted then: {', '.join(less['left'])}"


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="minutes")
