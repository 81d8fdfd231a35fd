"""`toolgate runs export` and `import`: a run goes on under another gateway. `fork`: it is gone on with otherwise."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.acting import As, acting
from gateway.cli.evidence import write_bundle, writing
from gateway.cli.output import USAGE, Refused, carried_out, cell, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.cli.policy import rules_of
from gateway.ledger.evidence import Identities
from gateway.ledger.forking import Planned, plan_fork
from gateway.ledger.importing import imported_run
from gateway.ledger.moved import Export, elsewhere, export_of, exported, taken_back
from gateway.ledger.proof import NoProof
from gateway.ledger.signing import SigningKey
from gateway.ledger.trace import CallLine
from gateway.model.clock import RandomIds
from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.model.tool import Effect, Tool
from gateway.store.imports import ForkedRun, ImportedRun
from gateway.store.ports import EventFilter, Store
from gateway.store.runs import RunStatus, told_caller

__all__ = ["export_run", "fork_run", "import_run"]

_EVERYTHING: Final = 2**63 - 1
_STOPS_S: Final = 2.0


def export_run(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    run: Annotated[str, typer.Argument(help="The run's id. It has to be paused, with nothing in doubt.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file to write; it must not exist. RUN.jsonl by default.")
    ] = None,
    to: Annotated[
        str, typer.Option(help="Where it goes on: told to whoever would let it go on here. Else the file's name.")
    ] = "",
    receiver: Annotated[
        Path | None,
        typer.Option("--for", help="The one gateway that may take it in, by its key: toolgate evidence key."),
    ] = None,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Write a paused run with all its calls and their answers, signed, for another gateway to go on with.

    From then on it does not go on here, unless a person takes that back: toolgate runs unpause RUN --force "WHY".
    """
    loaded = loaded_from(config, as_json=as_json)
    file = output or Path(f"{run}.jsonl")
    key = "" if receiver is None else _key_in(receiver, as_json)
    export = Export(RandomIds().new("exp"), acting(loaded, "", as_json=as_json), (to or file.name)[:500], key)

    async def work(store: Store) -> int:
        ref, since_ms = await _sealed(store, run, export)
        try:
            await _check_rest(store, run, since_ms)  # nobody let it go on in between
            return await write_bundle(loaded, store, EventFilter(run_id=run, limit=_EVERYTHING), Identities(), file)
        except BaseException:
            await store.record(taken_back(ref, export, export.by, "the file was not written", _now_ms()))
            raise

    written = writing(loaded, work, file, as_json=as_json)
    text = f"{run}: {written} lines in {file}, exported as {export.id}. It does not go on here any more"
    carried_out({"run": run, "file": str(file), "lines": written, "export": export.id}, text, as_json=as_json)


async def _sealed(store: Store, run: str, export: Export) -> tuple[RunRef, int]:
    """Have a paused run, of which nothing is under way, go on nowhere here; return it, and since when it is paused."""
    ref = await store.find_run(run)
    if ref is None:
        raise RequestFault(f"There is no run {run!r}; list them: toolgate runs list")
    pause = next((each for each in await store.pauses() if each.scope == f"run:{run}"), None)
    if pause is None:
        raise RequestFault(f"{run} may still go on here. First: toolgate runs pause {run}")
    before = await export_of(store, run)
    if before is not None:
        raise elsewhere(run, before)
    await _check_rest(store, run, pause.since_ms)
    await store.record(exported(ref, export, _now_ms()))
    await store.put_pause(replace(pause, by=export.by, reason=export.words))
    return ref, pause.since_ms


def _key_in(file: Path, as_json: bool) -> str:
    """Return what the one key is known by that `toolgate evidence key` printed."""
    try:
        [key] = json.loads(file.read_bytes())["keys"]
        return str(key["kid"])
    except OSError as error:
        fail_with(Refused("unreadable", f"{error.filename}: {error.strerror}"), USAGE, as_json=as_json)
    except (ValueError, LookupError, TypeError):
        fail_with(Refused("key", f"{file}: is not what `toolgate evidence key` prints"), USAGE, as_json=as_json)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _check_rest(store: Store, run: str, since_ms: int) -> None:
    left_s = (since_ms - _now_ms()) / 1000 + _STOPS_S
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
    as_json: AsJson = False,
) -> None:
    """Put a run of another gateway on record here: its agent goes on where it was, under the policies of this one."""
    loaded = loaded_from(config, as_json=as_json)
    if loaded.config.server.store == "memory:":
        fail_with(Refused("no_ledger", "`server.store: memory:` keeps nothing"), as_json=as_json)
    here = SigningKey.load(home_of(loaded).private).kid
    run = _read((file, key), here, acting(loaded, person, as_json=as_json), as_json)
    agent = told_caller(run.run.owner)[0]
    if agent not in loaded.config.agents:
        hint = "add it under `agents:` if it is the same one, with rights of its own here"
        unknown = Refused("unknown_agent", f"the run belongs to {agent}, and there is no agent of that name", hint)
        fail_with(unknown, as_json=as_json)
    with_store(loaded, lambda store: store.import_run(run), as_json=as_json)
    behind = f", behind {run.begins.at} of {run.source}" if run.begins is not None else ""
    carried_out(
        {"run": run.run.id, "owner": run.run.owner, "calls": len(run.calls)},
        f"{run.run.id} of {run.run.owner} is here with {len(run.calls)} calls{behind}",
        "it begins anew when its agent calls",
        f"for an agent that does not name its run, say so first: toolgate runs resume {run.run.id}",
        as_json=as_json,
    )


def _read(told: tuple[Path, Path], here: str, by: str, as_json: bool) -> ImportedRun:
    file, key = told
    try:
        lines, jwks = file.read_bytes().splitlines(keepends=True), json.loads(key.read_bytes())
        return imported_run(lines, jwks, here, by, _now_ms())
    except NoProof as error:
        fail_with(Refused("no_proof", str(error)), as_json=as_json)
    except OSError as error:
        fail_with(Refused("unreadable", f"{error.filename}: {error.strerror}"), USAGE, as_json=as_json)
    except ValueError:
        fail_with(Refused("key", f"{key}: is no JSON Web Key Set"), USAGE, as_json=as_json)


def fork_run(
    run: Annotated[str, typer.Argument(help="The id of the run to fork.")],
    at: Annotated[int, typer.Option(min=1, help="Behind which of its calls, as `toolgate runs show RUN` counts them.")],
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Open a run that begins as another: its first calls are answered from the record, what follows is carried out."""
    loaded = loaded_from(config, as_json=as_json)
    if loaded.config.server.store == "memory:":
        fail_with(Refused("no_ledger", "`server.store: memory:` keeps nothing"), as_json=as_json)
    by, made = acting(loaded, person, as_json=as_json), RandomIds().new("run")
    find = rules_of(loaded, as_json=as_json).catalog.find

    async def work(store: Store) -> tuple[RunRef, Planned]:
        source = await store.find_run(run)
        if source is None:
            raise RequestFault(f"There is no run {run!r}; list them: toolgate runs list")
        planned, forked = await plan_fork(store, source, at), replace(source, id=made, status=str(RunStatus.OPEN))
        key = json.dumps(["fork", made])
        await store.fork_run(ForkedRun(forked, key, _now_ms(), by, planned.fork))
        return forked, planned

    forked, planned = with_store(loaded, work, as_json=as_json)
    done_there = [told for n, line in planned.after if (told := _effect(n, line, find(line.tool))) is not None]
    told = {"run": forked.id, "owner": forked.owner, "from": run, "at": at, "done_there": done_there}
    emit(told, _fork_lines(told), as_json=as_json)


def _effect(n: int, line: CallLine, tool: Tool | None) -> dict[str, Any] | None:
    """Return what a call did, or may have done, behind the fork; None where it left nothing behind."""
    kind = "unknown" if tool is None else str(tool.effect)
    if "claim" not in line.asked or kind == Effect.READ or line.outcome in {"failed", "denied", "compensated"}:
        return None
    key = line.asked["claim"]["step_key"] or ""
    once = key.startswith(("args:", "key:"))
    return {"n": n, "call": line.call_id, "tool": line.tool, "effect": kind, "outcome": line.outcome, "keyed": once}


def _fork_lines(told: Mapping[str, Any]) -> list[str]:
    lines = [f"{told['run']} of {told['owner']} begins with the first {told['at']} calls of {told['from']}"]
    for each in told["done_there"]:
        again = "its key keeps it from being done again" if each["keyed"] else "made in the fork, it is done AGAIN"
        what = f"{each['effect']} {cell(each['tool'])}, {each['outcome']} (#{each['call']})"
        lines.append(f"  warning: call {each['n']} was made there: {what}; {again}")
    lines.append(f"start the agent with the header Toolgate-Run: {told['run']}, or say so first: ")
    return [*lines[:-1], f"{lines[-1]}toolgate runs resume {told['run']}"]
