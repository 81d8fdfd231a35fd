"""`toolgate token`: give an agent its API token, replace it, take it away."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.acting import As, acting
from gateway.cli.durations import span_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, placed_by, with_store
from gateway.identity.people import PERSON_PREFIX
from gateway.identity.tokens import IssuedToken, TokenRefused, Tokens, is_live
from gateway.model.clock import RandomIds, SystemClock
from gateway.store.ports import Store, TokenRecord

__all__ = ["commands"]

Agent = Annotated[
    str, typer.Argument(help="The agent's name, as under `agents:`, or person:NAME of the approvals API.")
]
Expires = Annotated[str, typer.Option("--expires", help="How long it works, such as 90d, 12h or 30m.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate token`."""
    group = typer.Typer(help="API tokens: one per agent, stored as a digest only.", no_args_is_help=True)
    group.command()(new)
    group.command()(rotate)
    group.command()(revoke)
    group.command("list")(list_tokens)
    return group


def new(
    agent: Agent,
    expires: Expires = "90d",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Make the agent's token and show it, once."""
    loaded = _known(agent, config, as_json)
    by = acting(loaded, person, as_json=as_json)
    lifetime = span_ms(expires)

    async def work(store: Store) -> IssuedToken:
        return await Tokens(store, SystemClock(), RandomIds(), by).issue(agent, ttl_ms=lifetime)

    _show(_refusing(lambda: with_store(loaded, work, as_json=as_json), as_json), as_json)


def rotate(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    agent: Agent,
    expires: Expires = "90d",
    overlap: Annotated[str, typer.Option(help="How long the old token still works.")] = "60s",
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Make a new token; the old one stops after the overlap."""
    loaded = _known(agent, config, as_json)
    by = acting(loaded, person, as_json=as_json)
    lifetime, overlapping = span_ms(expires), span_ms(overlap)

    async def work(store: Store) -> IssuedToken:
        tokens = Tokens(store, SystemClock(), RandomIds(), by)
        return await tokens.rotate(agent, ttl_ms=lifetime, overlap_ms=overlapping)

    _show(_refusing(lambda: with_store(loaded, work, as_json=as_json), as_json), as_json)


def revoke(agent: Agent, person: As = "", config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """End all of the agent's tokens; connected clients are refused within a second."""
    loaded = placed_by(config, as_json=as_json, person=person)
    by = acting(loaded, person, as_json=as_json)

    async def work(store: Store) -> list[str]:
        return await Tokens(store, SystemClock(), RandomIds(), by).revoke(agent)

    ended = with_store(loaded, work, as_json=as_json)
    told = f"revoked {len(ended)} token(s) of {agent}" if ended else f"{agent} has no live token"
    emit({"agent": agent, "revoked": ended}, [told], as_json=as_json)


def list_tokens(
    everything: Annotated[bool, typer.Option("--all", help="Those that ended, too.")] = False,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """List the tokens that work: whose, since when, and until when. What they are is kept nowhere."""
    now = SystemClock().now_ms()

    async def work(store: Store) -> list[TokenRecord]:
        return await store.tokens()

    found = with_store(placed_by(config, as_json=as_json), work, as_json=as_json)
    rows = [_row(each, now) for each in found if everything or is_live(each, now)]
    rows.sort(key=lambda row: (str(row["agent"]), int(row["made_ms"])))
    shown = [
        {"agent": row["agent"], "id": row["id"], "state": row["state"]}
        | {"made": _time(row["made_ms"]), "ends": _time(row["ends_ms"])}
        for row in rows
    ]
    emit(rows, table(shown) or ["none"], as_json=as_json)


def _row(token: TokenRecord, now_ms: int) -> dict[str, Any]:
    ends = token.expires_ms if token.revoked_ms is None else min(token.expires_ms, token.revoked_ms)
    was_revoked = token.revoked_ms is not None and token.revoked_ms <= now_ms
    state = "live" if is_live(token, now_ms) else "revoked" if was_revoked else "expired"
    return {"agent": token.agent, "id": token.id, "state": state, "made_ms": token.created_ms, "ends_ms": ends}


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")[:19]


def _known(agent: str, config: Path, as_json: bool) -> Loaded:
    loaded = loaded_from(config, as_json=as_json)
    if agent.startswith(PERSON_PREFIX):
        _known_person(agent.removeprefix(PERSON_PREFIX), loaded, as_json)
        return loaded
    section = loaded.config.agents.get(agent)
    if section is None:
        known = ", ".join(sorted(loaded.config.agents)) or "none"
        hint = f"add it under `agents:` in {loaded.path.name} (there: {known})"
        fail_with(Refused("unknown_agent", f"no agent is called {agent!r}", hint), as_json=as_json)
    if not section.auth.accepts_token:
        hint = f"set `auth: {{ token: true }}` for {agent}"
        fail_with(Refused("no_tokens", f"{agent} does not prove itself by token", hint), as_json=as_json)
    return loaded


def _known_person(name: str, loaded: Loaded, as_json: bool) -> None:
    if name not in loaded.config.people:
        known = ", ".join(sorted(loaded.config.people)) or "none"
        hint = f"add them under `people:` in {loaded.path.name} (there: {known})"
        fail_with(Refused("unknown_person", f"nobody is called {name!r}", hint), as_json=as_json)


def _refusing(work: Callable[[], IssuedToken], as_json: bool) -> IssuedToken:
    try:
        return work()
    except TokenRefused as error:
        fail_with(Refused(error.code, str(error)), as_json=as_json)


def _show(issued: IssuedToken, as_json: bool) -> None:
    record = issued.record
    data = {"agent": record.agent, "id": record.id, "token": issued.token, "expires_ms": record.expires_ms}
    lines = [issued.token, "", "Shown once. Clients send it as: Authorization: Bearer TOKEN"]
    emit(data, lines, as_json=as_json)
