"""What the events of taint say: all that follows a run and its principal from then on."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from gateway.codec import CodecError, dump
from gateway.model.errors import UnwritableError
from gateway.store.bodies import load
from gateway.store.chain import broken, check_event
from gateway.store.ports import Event
from gateway.store.taints import Clearing, Taint

__all__ = ["Found", "cleared_body", "marked", "marked_body", "taint_of"]

_MOST: Final = 64
"""Labels kept of a run or a principal; what names a source makes room first."""


class Found(NamedTuple):
    """The last event about a run or a principal, if any, and the hash that its successor, or the head, names."""

    event: Event | None
    following: str | None


def taint_of(run: Found, principal: Found) -> Taint:
    """Return what the last events about a run and a principal say. Raises `LedgerTampered`."""
    return Taint(_part(run, "run"), _part(principal, "principal"))


def marked(before: Taint, labels: Iterable[str], at_ms: int) -> Taint:
    """Return the taint with labels added, or marked anew."""
    fresh = dict.fromkeys(labels, at_ms)
    return Taint(_bounded({**before.run, **fresh}), _bounded({**before.principal, **fresh}))


def marked_body(taint: Taint, labels: Iterable[str], call_id: str) -> bytes:
    """Return the text of the event by which a call's labels are marked. Raises `StoreFault`."""
    return _text({"labels": list(labels), "call": call_id, "run": dict(taint.run), "principal": dict(taint.principal)})


def cleared_body(clearing: Clearing, before: Taint) -> bytes:
    """Return the text of the event by which a person lets go of a taint. Raises `StoreFault`."""
    labels = sorted({*before.run, *before.principal})
    return _text({"labels": labels, "by": clearing.by, "why": clearing.why, "run": {}, "principal": {}})


def _bounded(labels: Mapping[str, int]) -> Mapping[str, int]:
    if len(labels) <= _MOST:
        return labels
    kept = sorted(labels.items(), key=lambda label: (":" in label[0], -label[1]))
    return dict(kept[:_MOST])


def _part(found: Found, name: str) -> Mapping[str, int]:
    if found.event is None:
        return {}
    check_event(found.event, found.following)
    part = load(found.event.body.encode()).get(name)
    if type(part) is not dict:
        raise broken(found.event.seq, f"says nothing of the {name}")
    return part


def _text(body: dict[str, Any]) -> bytes:
    try:
        return dump(body)
    except (CodecError, UnicodeEncodeError) as error:
        raise UnwritableError("The taint cannot be recorded.", detail=str(error)) from error
