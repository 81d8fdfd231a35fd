"""`toolgate verify`: does the ledger's hash chain hold, and if not, which row broke it."""

from pathlib import Path

import typer

from gateway.cli.output import FAILED, emit
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.ledger.verify import Finding, examine
from gateway.store.ports import Store

__all__ = ["verify"]


def verify(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Check every event of the ledger; name the first that was changed, removed, inserted or moved."""
    loaded = loaded_from(config, as_json=as_json)

    async def work(store: Store) -> Finding:
        return await examine(store)

    found = with_store(loaded, work, as_json=as_json)
    if found.intact:
        emit({"ok": True, "events": found.events}, [f"the chain holds: {found.events} events"], as_json=as_json)
        return
    lines = [
        f"ledger_tampered: event {found.seq}: {found.words}",
        "Keep this file for forensics; restore the store from a backup to go on.",
    ]
    emit({"ok": False, "seq": found.seq, "words": found.words}, lines, as_json=as_json)
    raise typer.Exit(FAILED)
