"""Whether a run goes on under another gateway: what its export, and who takes that back, put on record."""

from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.model.errors import RequestFault
from gateway.model.facts import RunRef
from gateway.store.bodies import load
from gateway.store.ports import EventFilter, EventKind, Events, PauseRecord, Record, Store

__all__ = ["EXPORTED", "TAKEN_BACK", "Export", "elsewhere", "export_of", "exported", "let_go_on", "taken_back"]

EXPORTED: Final = "run exported"
"""What the event says in its member `what` that an export leaves behind."""

TAKEN_BACK: Final = "run taken back"
"""What the event says that lets it go on where it was all the same."""

_EVERYTHING: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Export:
    """An export of a run: by whom, and where to. `key` is that of the one gateway that may take it in, if any."""

    id: str
    by: str
    to: str
    key: str = ""

    @property
    def words(self) -> str:
        """Why the run does not go on here."""
        return f"it goes on elsewhere: {self.by} exported it as {self.id} to {self.to}"


async def export_of(ledger: Events, run_id: str) -> Export | None:
    """Return the export by which a run went elsewhere, or None where it is here. Raises `StoreFault`."""
    found = None
    async for event in ledger.events(EventFilter(run_id=run_id, limit=_EVERYTHING)):
        if event.kind is not EventKind.ADMIN:
            continue
        body = load(event.body.encode())
        if body.get("what") == EXPORTED:
            found = Export(body["export"], body["by"], body["to"])
        elif body.get("what") == TAKEN_BACK:
            found = None
    return found


async def let_go_on(store: Store, run_id: str, pause: PauseRecord) -> bool:
    """End the pause of a run; False where it is not paused. With a reason, one that was exported is taken back.

    Raises:
        RequestFault: it was exported, and there is no reason.
        StoreFault: the store cannot answer.
    """
    run, export = await store.find_run(run_id), await export_of(store, run_id)
    if export is not None and run is not None:
        _check_reason(run_id, export, pause.reason)
        await store.record(taken_back(run, export, pause.by, pause.reason, pause.since_ms))
    paused = await store.end_pause(pause)
    late = await export_of(store, run_id)
    if late is not None:  # exported a moment ago, while it was still paused
        await store.put_pause(replace(pause, by=late.by, reason=late.words))
        _check_reason(run_id, late, "")
    return paused


def _check_reason(run_id: str, export: Export, reason: str) -> None:
    if not reason:
        raise RequestFault(
            f"{run_id} does not go on here: {export.words}. Where it surely does not go on there, let it go on here "
            f'with: toolgate runs unpause {run_id} --force "WHY"'
        )


def elsewhere(run_id: str, export: Export) -> RequestFault:
    """Return the refusal of what is for where a run is now."""
    return RequestFault(
        f"{run_id} is not here any more: {export.words}. Where it surely does not go on there, take it back first, "
        f'with: toolgate runs unpause {run_id} --force "WHY"'
    )


def exported(run: RunRef, export: Export, at_ms: int) -> Record:
    """Return what tells that a run was exported."""
    named = {"for": export.key} if export.key else {}
    return _told(run, at_ms, {"what": EXPORTED, "export": export.id, "by": export.by, "to": export.to, **named})


def taken_back(run: RunRef, export: Export, by: str, reason: str, at_ms: int) -> Record:
    """Return what tells that a run goes on here although it was exported."""
    return _told(run, at_ms, {"what": TAKEN_BACK, "export": export.id, "by": by, "reason": reason})


def _told(run: RunRef, at_ms: int, body: dict[str, Any]) -> Record:
    return Record("", at_ms, run.id, run.owner.partition("/")[0], "", "", body, EventKind.ADMIN)
