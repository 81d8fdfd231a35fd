"""`toolgate events`: who is told of what happens, how far, and again from where."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.durations import moment_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import USAGE, Refused, done, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.pipeline.outbox import Place, last_seq
from gateway.store.ports import EventFilter, Store
from gateway.store.private_file import PrivateFileError

__all__ = ["commands"]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate events`."""
    group = typer.Typer(help="Events told to other systems.", no_args_is_help=True)
    group.command("list")(list_receivers)
    group.command()(replay)
    return group


def list_receivers(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """List the receivers, which events they are told, and how many of the ledger they have still before them."""
    loaded = loaded_from(config, as_json=as_json)
    last = with_store(loaded, last_seq, as_json=as_json)
    found: list[dict[str, Any]] = []
    for name, section in loaded.config.events.items():
        seq = _read(loaded, name, as_json)
        behind = None if seq is None else last - seq
        found.append({"receiver": name, "url": section.url, "kinds": section.kinds, "seq": seq, "behind": behind})
    rows = [
        {
            "receiver": each["receiver"],
            "url": each["url"],
            "kinds": ", ".join(each["kinds"]),
            "behind": "new" if each["behind"] is None else str(each["behind"]),
        }
        for each in found
    ]
    emit(found, table(rows) or ["nobody is told of events: `events:`"], as_json=as_json)


def replay(
    name: Annotated[str, typer.Argument(help="A receiver, as under `events:`.")],
    since: Annotated[str, typer.Option(help="Tell it again what happened since: 2h, or 2026-11-17T09:30.")],
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Tell a receiver again, in order and under the same ids, what it was told; a running gateway does it at once."""
    loaded = loaded_from(config, as_json=as_json)
    if name not in loaded.config.events:
        hint = "toolgate events list"
        fail_with(Refused("unknown_receiver", f"no receiver is called {name!r}", hint), USAGE, as_json=as_json)
    wanted = EventFilter(since_ms=moment_ms(since), limit=1)

    async def work(store: Store) -> int:
        async for event in store.events(wanted):
            return event.seq - 1
        return await last_seq(store)

    seq = with_store(loaded, work, as_json=as_json)
    try:
        Place.of(home_of(loaded).private, name).write(seq)
    except PrivateFileError as error:
        fail_with(Refused(error.code, str(error)), as_json=as_json)
    done(f"{name} is told what came after event {seq}")


def _read(loaded: Loaded, name: str, as_json: bool) -> int | None:
    try:
        return Place.of(home_of(loaded).private, name).read()
    except PrivateFileError as error:
        fail_with(Refused(error.code, str(error)), as_json=as_json)
