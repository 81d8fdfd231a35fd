"""`toolgate evidence`: calls with all that stands behind them, in a file that verifies with the public key alone."""

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import open_heads
from gateway.cli.durations import moment_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import FAILED, USAGE, Refused, carried_out, cell, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.identity.config import as_written
from gateway.ledger.evidence import Exporter, Identities, NotShowable
from gateway.ledger.proof import NoProof, Proof, prove
from gateway.ledger.signing import SigningKey
from gateway.ledger.verify import examine
from gateway.model.clock import SystemClock
from gateway.store.ports import EventFilter, Store
from gateway.store.private_file import PrivateFileError

__all__ = ["commands", "write_bundle", "writing"]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate evidence`."""
    group = typer.Typer(help="Evidence bundles.", no_args_is_help=True)
    group.command()(export)
    group.command()(verify)
    group.command()(key)
    return group


def export(  # noqa: PLR0913, PLR0917 - each option narrows what is exported
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    run: Annotated[str, typer.Option(help="Only this run.")] = "",
    call: Annotated[str, typer.Option(help="Only this call.")] = "",
    agent: Annotated[str, typer.Option(help="Only calls of this agent.")] = "",
    tool: Annotated[str, typer.Option(help="Only this tool; `payments.*` takes all of a server.")] = "",
    since: Annotated[str, typer.Option(help="From here on: 2026-11-17, 2026-11-17T09:30, or 7d.")] = "",
    until: Annotated[str, typer.Option(help="Before this time; written like --since.")] = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Write calls with what they rest on, the policies, the identity register, and the signed part of the chain."""
    loaded = loaded_from(config, as_json=as_json)
    named = {"run_id": run, "call_id": call, "agent": agent, "tool": tool}
    times = {"since_ms": moment_ms(since), "until_ms": moment_ms(until), "limit": 2**63 - 1}
    asked: dict[str, Any] = {**named, **times}

    async def work(store: Store) -> int:
        return await write_bundle(loaded, store, EventFilter(**asked), await _identities(loaded, store), file)

    written = writing(loaded, work, file, as_json=as_json)
    if not written:
        nothing = Refused("nothing", "nothing on record is what was asked for", "toolgate trace list shows the calls")
        fail_with(nothing, as_json=as_json)
    text = f"{written} lines in {file}; check it with: toolgate evidence verify {file} --key jwks.json"
    carried_out({"file": str(file), "lines": written}, text, as_json=as_json)


async def write_bundle(loaded: Loaded, store: Store, wanted: EventFilter, identities: Identities, file: Path) -> int:
    """Write a bundle to a new file, and return how many lines it has; without any there is no file."""
    return await _write(await _exporter(loaded, store), wanted, identities, file)


def writing(loaded: Loaded, work: Callable[[Store], Awaitable[int]], file: Path, *, as_json: bool = False) -> int:
    """Carry `work` out on the store; what keeps it from writing the file ends the command."""
    try:
        return with_store(loaded, work, as_json=as_json)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)), as_json=as_json)
    except NotShowable as error:
        fail_with(Refused("not_showable", str(error)), as_json=as_json)
    except OSError as error:
        unwritable = Refused("unwritable", f"{file}: {error.strerror}", "name a file that does not exist yet")
        fail_with(unwritable, USAGE, as_json=as_json)


async def _exporter(loaded: Loaded, store: Store) -> Exporter:
    """Return what signs: only of a ledger that holds, or a forged one would get our signature."""
    home = home_of(loaded)
    heads = open_heads(loaded.config, home, store, SystemClock())
    if heads is None:
        fail_with(Refused("no_ledger", "`server.store: memory:` keeps nothing that could be shown"))
    found = await examine(store, heads)
    if not found.intact:
        fail_with(Refused("ledger_tampered", f"event {found.seq}: {found.words}", "toolgate verify says the same"))
    return Exporter(store, heads, SigningKey.load(home.private), SystemClock())


async def _write(exporter: Exporter, wanted: EventFilter, identities: Identities, file: Path) -> int:
    lines = 0
    with ExitStack() as undo:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        out = undo.enter_context(os.fdopen(descriptor, "wb"))
        undo.callback(file.unlink)  # nothing half-written stays
        async for line in exporter.lines(wanted, identities):
            out.write(line)
            lines += 1
        if lines:
            undo.pop_all()
            out.close()
    return lines


async def _identities(loaded: Loaded, store: Store) -> Identities:
    config = loaded.config
    agents = {
        name: {
            "owner": agent.owner,
            "teams": list(agent.teams),
            "roles": list(agent.roles),
            "tier": agent.tier,
            "runtime": agent.runtime,
            "attested": agent.attested,
            "allow": as_written(agent.allow),
        }
        for name, agent in config.agents.items()
    }
    people = {name: {"roles": list(one.roles), "teams": list(one.teams)} for name, one in config.people.items()}
    credentials = [
        {name: value for name, value in asdict(token).items() if name != "digest"} for token in await store.tokens()
    ]
    seen = [
        {"agent": one.agent, "known": one.known, "last_seen_ms": one.last_seen_ms, "calls": one.calls}
        for one in await store.agents_seen()
    ]
    return Identities(agents, people, credentials, seen)


def verify(
    file: Annotated[Path, typer.Argument(help="An evidence bundle.")],
    key: Annotated[Path, typer.Option(help="The gateway's public key: toolgate evidence key, /.well-known/jwks.json.")],
    as_json: AsJson = False,
) -> None:
    """Check an evidence bundle; no gateway, database or configuration is needed."""
    try:
        jwks = json.loads(key.read_bytes())
        with file.open("rb") as lines:
            proof = prove(lines, jwks)
    except NoProof as error:
        emit({"ok": False, "why": str(error)}, [f"no_proof: {error}"], as_json=as_json)
        raise typer.Exit(FAILED) from None
    except OSError as error:
        fail_with(Refused("unreadable", f"{error.filename}: {error.strerror}"), USAGE, as_json=as_json)
    except ValueError:
        fail_with(Refused("key", f"{key}: is no JSON Web Key Set"), USAGE, as_json=as_json)
    emit({"ok": True, **asdict(proof)}, _lines(proof), as_json=as_json)


def _lines(proof: Proof) -> list[str]:
    made, signed = _moment(proof.made_ms), _moment(proof.signed_ms)
    return [
        f"asked for: {_asked(proof.asked)}",
        f"it holds: made {made}; the ledger up to event {proof.seq} as it was signed {signed}",
        *(f"  {number} {kind}" for kind, number in proof.events.items()),
        f"  {proof.bundles} policy bundles; {proof.unseen} events between are not shown",
        *([f"  removed by retention: the bodies of {proof.bare} events"] if proof.bare else []),
    ]


def _asked(asked: Mapping[str, Any]) -> str:
    told = {name: _moment(value) if name.endswith("_ms") else value for name, value in asked.items()}
    told.pop("made_ms", None)
    return ", ".join(f"{name.removesuffix('_ms')} {cell(str(value))}" for name, value in told.items()) or "everything"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def key(config: ConfigPath = Path("gateway.yaml")) -> None:
    """Print the gateway's public key as a JSON Web Key Set."""
    try:
        held = SigningKey.load(home_of(loaded_from(config)).private)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)))
    typer.echo(json.dumps(held.jwks(), indent=2))
