"""The events that tell of delegations, written and read."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from gateway.codec import dump
from gateway.store.bodies import load
from gateway.store.delegations import Delegation, DelegationChange, DelegationEnd
from gateway.store.ports import EventKind

__all__ = ["change_from", "end_event", "made_event"]

_HEADER: Final = ("id", "agent", "run_id", "on_behalf_of", "created_ms", "at_ms")
"""What the event says beside its body."""

Told = tuple[int, EventKind, str, str, str, str, str]


def made_event(made: Delegation) -> tuple[Told, bytes]:
    """Return the header and the text of the event that tells of a delegation."""
    told = (made.created_ms, EventKind.DELEGATED, made.id, made.run_id, made.agent, made.on_behalf_of, "")
    said = asdict(made)
    if not made.to:
        del said["to"]
    return told, _body(said)


def end_event(end: DelegationEnd) -> tuple[Told, bytes]:
    """Return the header and the text of the event that tells of a delegation's end."""
    return (end.at_ms, EventKind.WITHDRAWN, end.id, end.run_id, end.agent, "", ""), _body(asdict(end))


def change_from(seq: int, told: tuple[Any, ...], body: str) -> DelegationChange:
    """Return what an event says; `told` is its header: time, kind, id, run, agent, user."""
    at_ms, kind, delegation, run_id, agent, user = told
    said: Mapping[str, Any] = load(body.encode())
    if kind == EventKind.WITHDRAWN:
        return DelegationChange(seq, DelegationEnd(delegation, agent, run_id, at_ms, **said))
    lists = {name: tuple(said[name]) for name in ("scopes", "claims", "actors")}
    header = {"id": delegation, "agent": agent, "run_id": run_id, "on_behalf_of": user, "created_ms": at_ms}
    return DelegationChange(seq, Delegation(**{**said, **lists, **header}))


def _body(said: Mapping[str, Any]) -> bytes:
    return dump({name: value for name, value in said.items() if name not in _HEADER})
