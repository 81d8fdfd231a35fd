"""`toolgate runs export` and `import`: a run goes on under another gateway."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.acting import As, acting
from gateway.cli.evidence import write_bundle, writing
from gateway.cli.output import USAGE, Refused, done, fail_with
from gateway.cli.place import ConfigPath, loaded_from, with_store
from gateway.ledger.evidence import Identities
from gateway.ledger.importing import imported_run
from gateway.ledger.proof import NoProof
from gateway.model.errors import RequestFault
from gateway.store.imports import ImportedRun
from gateway.store.ports import EventFilter, Store
from gateway.store.runs import told_caller

__all__ = ["export_run", "import_run"]

_EVERYTHING: Final = 2**63 - 1
_STOPS_S: Final = 2.0


def export_run(
    run: Annotated[str, typer.Argument(help="The run's id. It has to be paused, with nothing in doubt.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; it must not exist. RUN.jsonl by default.")
    ] = None,
    config: ConfigPath = Path("gateway.yaml"),
) -> None:
    """Write a paused run with all its calls and their answers, signed, for another gateway to go on with."""
    loaded = loaded_from(config)
    file = output or Path(f"{run}.jsonl")

    async def work(store: Store) -> int:
        await _check_rest(store, run)
        return await write_bundle(loaded, store, EventFilter(run_id=run, limit=_EVERYTHING), Identities(), file)

    written = writing(loaded, work, file)
    done(f"{run}: {written} lines in {file}. It stays paused here: unpause it, or go on elsewhere, but not both")


async def _check_rest(store: Store, run: str) -> None:
    if await store.find_run(run) is None:
        raise RequestFault(f"There is no run {run!r}; list them: toolgate runs list")
    since_ms = next((each.since_ms for each in await store.pauses() if each.scope == f"run:{run}"), None)
    if since_ms is None:
        raise RequestFault(f"{run} may still go on here. First: toolgate runs pause {run}")
    left_s = (since_ms - time.time_ns() // 1_000_000) / 1000 + _STOPS_S
    await asyncio.sleep(min(max(left_s, 0), _STOPS_S))  # until every gateway on this ledger knows of the pause
    open_calls = [each for each in (*await store.unfinished(), *await store.in_doubt()) if each.run_id == run]
    for call in open_calls:
        raise RequestFault(
            f"Call {call.call_id} of {call.tool} is under way or in doubt: wait for it, or settle it with: "
            f"toolgate runs settle {call.call_id} succeeded|failed"
        )


def import_run(
    file: Annotated[Path, typer.Argument(help="What `toolgate runs export` wrote.")],
    key: Annotated[Path, typer.Option(help="The other gateway's public key: toolgate evidence key.")],
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
) -> None:
    """Put a run of another gateway on record here: its agent goes on where it was, under the policies of this one."""
    loaded = loaded_from(config)
    if loaded.config.server.store == "memory:":
        fail_with(Refused("no_ledger", "`server.store: memory:` keeps nothing"))
    run = _read(file, key, acting(loaded, person))
    agent = told_caller(run.run.owner)[0]
    if agent not in loaded.config.agents:
        hint = "add it under `agents:` if it is the same one, with rights of its own here"
        fail_with(Refused("unknown_agent", f"the run belongs to {agent}, and there is no agent of that name", hint))
    with_store(loaded, lambda store: store.import_run(run))
    done(f"{run.run.id} of {run.run.owner} is here with {len(run.calls)} calls, and begins anew when its agent calls")
    done(f"for an agent that does not name its run, say so first: toolgate runs resume {run.run.id}")


def _read(file: Path, key: Path, by: str) -> ImportedRun:
    try:
        lines, jwks = file.read_bytes().splitlines(keepends=True), json.loads(key.read_bytes())
        return imported_run(lines, jwks, by, time.time_ns() // 1_000_000)
    except NoProof as error:
        fail_with(Refused("no_proof", str(error)))
    except OSError as error:
        fail_with(Refused("unreadable", f"{error.filename}: {error.strerror}"), USAGE)
    except ValueError:
        fail_with(Refused("key", f"{key}: is no JSON Web Key Set"), USAGE)
