"""`toolgate runs serve`: an agent is run again, and its calls are answered as a run on record was."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import Home
from gateway.app.cassette import Cassette, Unplayable, recorded_run
from gateway.bridge.launch import Home as BridgeHome
from gateway.bridge.launch import Launcher
from gateway.bridge.relay import Output, Relay
from gateway.bridge.stdio import run as relay_lines
from gateway.cli.loaded import Loaded
from gateway.cli.logs import log_to_stderr
from gateway.cli.output import FAILED, USAGE, Refused, cell, emit, fail_with
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, store_of
from gateway.cli.scratch import scratch_folder
from gateway.cli.serving import announced, told_to_stop
from gateway.identity.local import load_local_key
from gateway.ledger.importing import Shown, shown_run
from gateway.ledger.proof import NoProof
from gateway.ledger.signing import SigningKey
from gateway.model.errors import GatewayError
from gateway.redaction.redactor import Redactor
from gateway.store.private_file import PrivateFileError, create_private
from gateway.transport.server import listen, serving

__all__ = ["serve_run"]

_HOST = "127.0.0.1"


def serve_run(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    run: Annotated[str, typer.Argument(help="The run's id; or a file that `toolgate runs export` wrote.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0 takes a free one.")] = 0,
    stdio: Annotated[
        str, typer.Option(help="Speak MCP on standard input and output as this agent, until the input ends.")
    ] = "",
    key: Annotated[
        Path | None, typer.Option(help="Of a file: the public key of the gateway that wrote it. Else this one's.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report here, as JSON, whatever is printed.")] = None,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Answer an agent's calls as they were answered in a run on record, until stopped (Ctrl-C), and compare.

    No server is called and nothing is recorded. A call that is not on record is refused. Exits with 1 where the agent
    strayed, or left something out.
    """
    loaded = loaded_from(config, as_json=as_json)
    if stdio and stdio not in loaded.config.agents:
        fail_with(Refused("unknown_agent", f"there is no agent {stdio!r}", "add it under `agents:`"), as_json=as_json)
    if report is not None and not report.absolute().parent.is_dir():  # known before an agent has run for an hour
        fail_with(Refused("unwritable", f"there is no folder for {report}"), USAGE, as_json=as_json)
    shown = _file(Path(run), loaded, key, as_json) if Path(run).is_file() else None
    redactor = Redactor(loaded.secrets)
    log_to_stderr(redactor)
    try:
        told = asyncio.run(_play(loaded, redactor, (run, shown), (port, stdio)))
    except Unplayable as error:
        fail_with(Refused("unplayable", str(error), "toolgate runs list shows the runs"), as_json=as_json)
    except GatewayError as error:
        fail_with(Refused(error.code, error.message, error.detail), as_json=as_json)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)), as_json=as_json)
    except OSError as error:
        fail_with(Refused("cannot_serve", str(error)), USAGE, as_json=as_json)
    _conclude(told, report, None if stdio else as_json)


def _conclude(told: Mapping[str, Any], report: Path | None, as_json: bool | None) -> None:
    """Print the report, on stderr where standard output is the agent's (None), and write it; then exit."""
    if as_json is None:
        typer.echo("\n".join(_lines(told)), err=True)
    else:
        emit(told, _lines(told), as_json=as_json)
    if report is not None:
        try:
            report.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            fail_with(Refused("unwritable", f"{report}: {error.strerror}"), USAGE)
    if not told["as_recorded"]:
        raise typer.Exit(FAILED)


def _file(file: Path, loaded: Loaded, key: Path | None, as_json: bool) -> Shown:
    try:
        jwks = SigningKey.load(home_of(loaded).private).jwks() if key is None else json.loads(key.read_bytes())
        return shown_run(file.read_bytes().splitlines(keepends=True), jwks)
    except NoProof as error:
        hint = "name the key of the gateway that wrote it: --key, from toolgate evidence key"
        fail_with(Refused("no_proof", str(error), hint), as_json=as_json)
    except PrivateFileError as error:
        fail_with(Refused("private_file", str(error)), as_json=as_json)
    except OSError as error:
        fail_with(Refused("unreadable", f"{error.filename}: {error.strerror}"), USAGE, as_json=as_json)
    except ValueError:
        fail_with(Refused("key", f"{key}: is no JSON Web Key Set"), USAGE, as_json=as_json)


async def _play(
    loaded: Loaded, redactor: Redactor, what: tuple[str, Shown | None], door: tuple[int, str]
) -> dict[str, Any]:
    store = store_of(loaded)
    try:
        await store.open()
        name, shown = what
        run, ledger = (name, store) if shown is None else (shown.run_id, shown)
        played = await recorded_run(ledger, run, loaded.config, redactor)
        with _scratch(loaded) as home:
            cassette = Cassette(loaded.config, home, redactor, played, store)
            await _serve(cassette, door)
        return cassette.tape.report()
    finally:
        await store.close()


@contextmanager
def _scratch(loaded: Loaded) -> Iterator[Home]:
    """Make a folder for what the gateway keeps while it serves, with this machine's key for local agents in it."""
    key = load_local_key(home_of(loaded).path / loaded.config.identity.local_key)
    with scratch_folder(home_of(loaded).private) as folder:
        home = Home(folder)
        create_private(home.private / "local.key", key)
        yield home


async def _serve(cassette: Cassette, door: tuple[int, str]) -> None:
    port, agent = door
    listener = listen(_HOST, port)
    bound = listener.getsockname()[1]
    try:
        await cassette.start(_HOST, bound)
        url = f"http://{_HOST}:{bound}"
        async with serving(cassette.asgi, listener):
            stop = told_to_stop()
            with announced(cassette.home.private / "run.json", url) if agent else nullcontext():
                _welcome(cassette, url)
                if agent:
                    _speak(cassette.home, agent, stop)
                await stop.wait()
            cassette.stop()
    finally:
        await cassette.close()
        listener.close()


def _welcome(cassette: Cassette, url: str) -> None:
    tape = cassette.tape
    who = ", ".join(map(cell, tape.callers))
    typer.echo(f"{cell(tape.run_id)}: {len(tape)} calls of {who}, played back at {url}/mcp", err=True)


def _speak(home: Home, agent: str, stop: asyncio.Event) -> None:
    """Carry what a host says on standard input, until that ends."""
    loop = asyncio.get_running_loop()

    def speak() -> None:
        try:
            relay_lines(
                Relay(Launcher(BridgeHome(home.path / "gateway.yaml"), agent), Output(sys.stdout.fileno())),
                sys.stdin.buffer,
            )
        finally:
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=speak, daemon=True).start()  # a signal ends it, too


def _lines(told: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{told['matched']} calls were answered as in {cell(told['run'])}, which has {told['steps']} without repeats"
    ]
    lines += [f"  diverged  {cell(one['tool'])}: {cell(one['why'])}" for one in told["diverged"]]
    lines += [f"  not made  step {one['step']}, {cell(one['tool'])} (#{one['call']})" for one in told["missing"]]
    lines += [f"  late      step {one['step']}, {cell(one['tool'])}, after step {one['after']}" for one in told["late"]]
    lines += [f"  not played {number} × {cell(tool)}" for tool, number in told["left_out"].items()]
    verdict = "as recorded" if told["as_recorded"] else "the agent took another course"
    return [*lines, verdict]
