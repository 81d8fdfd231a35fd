"""`toolgate verify`: does the ledger hold, and is it the one that was written last."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from gateway.app import open_heads
from gateway.cli.output import FAILED, done, emit
from gateway.cli.place import AsJson, ConfigPath, home_of, placed_by, with_store
from gateway.ledger.heads import Heads
from gateway.ledger.verify import Finding, examine
from gateway.model.clock import SystemClock
from gateway.store.ports import Store

__all__ = ["verify"]


def verify(
    accept: Annotated[
        str | None,
        typer.Option(
            help="Why a ledger whose chain holds is the right one, though its signed end, or a sum, is another."
        ),
    ] = None,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Check every event of the ledger, and its signed heads; name the first that was changed, removed or moved."""
    if accept is not None and not accept.strip():
        raise typer.BadParameter("say why the ledger is the right one: --accept WHY")
    loaded = placed_by(config, as_json=as_json)

    async def work(store: Store) -> Finding:
        heads = open_heads(loaded.config, home_of(loaded), store, SystemClock())
        if accept and heads is not None:
            await _accept(store, heads, accept[:1000])
        return await examine(store, heads)

    found = with_store(loaded, work, as_json=as_json)
    if found.intact:
        lines = [f"the chain holds: {found.events} events"]
        if found.removed:
            lines.append(f"removed by retention: the bodies of {found.removed} events")
        emit({"ok": True, "events": found.events, "removed": found.removed}, lines, as_json=as_json)
        if accept and not as_json:
            done("from here on the ledger is this one; that, and why, is on record")
        return
    lines = [
        f"ledger_tampered: {f'event {found.seq}: ' if found.seq else ''}{found.words}",
        "Keep this file for forensics; restore the store from a backup to go on.",
    ]
    emit({"ok": False, "seq": found.seq, "words": found.words}, lines, as_json=as_json)
    raise typer.Exit(FAILED)


async def _accept(store: Store, heads: Heads, why: str) -> None:
    """Go on from a ledger whose chain holds, and from its rows that no event tells of as they are."""
    found = await examine(store)
    if found.is_sums or found.intact:
        adopt = store.adopt_rows if found.is_sums else None
        await heads.accept(f"os:{getpass.getuser()}", why, found.words, adopt)
