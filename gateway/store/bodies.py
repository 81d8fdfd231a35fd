"""The JSON text of event bodies, with the members by which the call rows can be rebuilt from the events alone.

A claim's body gets the member `claim` (`session`, `step_key`, `arguments_digest`, `consumes`: the call ids it uses up;
where there are such also `approval`, `grant`, and `charges`: key, part of time and amount of what it reserves), an
ending's the member `ending` (`status`, `release`, and `charges`: key, part of time, what is given back, what is spent);
a run's opening consists of `owner`, `key`, `source`, `status`. A report of what was used up has `charges` as a claim
has. What a body shares with others stands in its member `shared`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import orjson

from gateway.codec import CodecError, dump
from gateway.model.bill import Charge
from gateway.model.errors import UnwritableError
from gateway.model.facts import RunRef, StepStatus
from gateway.store.approvals import ApprovalUse
from gateway.store.ports import Ending, EventKind, Intent, PauseRecord, Record
from gateway.store.removable import SHARED, Share, Text, Written, parts, sharing
from gateway.store.runs import AttemptBegin, RunCancel

__all__ = [
    "attempt_body",
    "cancel_body",
    "charged",
    "claim_body",
    "compensated_body",
    "ending_body",
    "load",
    "pause_event",
    "record_body",
    "relied_on",
    "run_body",
    "saying",
    "used_in",
]

# 2^64 has 20 digits. Mapping every digit to one byte and searching for a run costs a tenth of a regular expression.
_DIGITS: Final = bytes(ord("0") if ord("0") <= byte <= ord("9") else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 20
_MAX_BYTES: Final = 64 * 1024 * 1024
_RECORDED: Final = EventKind.CALL_RECORDED
_ENDINGS: Final = {
    (status, release): f'"ending":{{"status":"{status}","release":{"true" if release else "false"}}},'
    for status in StepStatus
    for release in (False, True)
}


def claim_body(intent: Intent) -> Text:
    """Return the text of a claim's event. Raises `StoreFault` when it cannot be written."""
    terms: dict[str, Any] = {
        "session": intent.session,
        "step_key": intent.step_key,
        "arguments_digest": intent.arguments_digest,
        "consumes": [use.call_id for use in intent.uses if use.consume],
    }
    if intent.approval is not None:
        terms["approval"] = intent.approval.id
    if intent.grant is not None:
        terms["grant"] = intent.grant.id
    if intent.charges:
        terms["charges"] = [[each.key, each.start_ms, each.amount] for each in intent.charges]
    return _call_text({"claim": terms}, intent)


def relied_on(intent: Intent) -> tuple[ApprovalUse, ...]:
    """Return the approvals that a claim uses."""
    return tuple(use for use in (intent.approval, intent.grant) if use is not None)


def used_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the approvals that a claim with this body used."""
    terms = body.get("claim", {})
    return tuple(terms[name] for name in ("approval", "grant") if name in terms)


def ending_body(ending: Ending) -> bytes:
    """Return the text of an ending's event. Raises `StoreFault` when it cannot be written."""
    if type(ending.body) is Written and not ending.charges:
        return ending.body.text(_ENDINGS[ending.status, ending.release]).own
    terms: dict[str, Any] = {"status": str(ending.status), "release": ending.release}
    if ending.charges:
        terms["charges"] = [list(each) for each in ending.charges]
    if type(ending.body) is Written:
        return ending.body.text(f'"ending":{dump(terms).decode()},').own
    return _text(parts({"ending": terms}, ending.body), ending.call_id)


def compensated_body(ending: Ending) -> bytes:
    """Return the text of the event that says which call took back what another had done."""
    terms = {"status": str(StepStatus.COMPENSATED), "release": False}
    return _text({"outcome": "compensated", "compensated_by": ending.call_id, "ending": terms}, ending.compensates)


def record_body(record: Record) -> Text:
    """Return the text of a recorded call's event. Raises `StoreFault` when it cannot be written."""
    if type(record.body) is Written:
        return record.body.text()
    if record.kind is _RECORDED:
        return _call_text({}, record)
    return Text(_text(dict(record.body), record.call_id))


def charged(record: Record, charges: Sequence[Charge]) -> Record:
    """Return the record with what it counts against budgets: key, part of time and amount of each charge."""
    told = [[each.key, each.start_ms, each.amount] for each in charges]
    return saying(record, {"charges": told})


def saying(record: Record, more: Mapping[str, Any]) -> Record:
    """Return a record that says more; only those of calls are written beforehand, and nothing is added to them."""
    return replace(record, body={**cast("Mapping[str, Any]", record.body), **more})


def run_body(run: RunRef, key: str) -> bytes:
    """Return the text of the event that opens a run."""
    return _text({"owner": run.owner, "key": key, "source": run.source, "status": run.status}, run.id)


def attempt_body(begin: AttemptBegin, number: int) -> bytes:
    """Return the text of the event that begins a run anew."""
    return _text({"attempt": number, "label": begin.label, "by": begin.by}, begin.run_id)


def cancel_body(cancel: RunCancel) -> bytes:
    """Return the text of the event that ends a run."""
    return _text({"by": cancel.by, "reason": cancel.reason}, cancel.run_id)


def pause_event(pause: PauseRecord, deed: str) -> tuple[tuple[str, str, str, str], bytes]:
    """Return run, agent, user and tool of the event that tells of a pause (`paused`, `unpaused`), and its text."""
    kind, _, name = pause.scope.partition(":")
    told = (name if kind == "run" else "", name if kind == "agent" else "", "", name if kind == "tool" else "")
    return told, _text({"deed": deed, "scope": pause.scope, "by": pause.by, "reason": pause.reason}, pause.scope)


def load(text: bytes) -> dict[str, Any]:
    """Return the object in a body this package wrote, integers of any size exact. Raises `ValueError` for any other."""
    # The gateway's own text needs no second screening for duplicates and depth; only integers beyond 64 bits need care.
    value = json.loads(text) if _LONG_NUMBER in text.translate(_DIGITS) else orjson.loads(text)
    if type(value) is not dict:
        raise ValueError("an event's body is an object")
    if value.pop("removable", None) == 2:
        value |= value.pop(SHARED)
    return value


def _call_text(terms: Mapping[str, Any], call: Intent | Record) -> Text:
    if type(call.body) is Written:
        return call.body.text(f"{dump(terms)[1:-1].decode()},")
    share = call.body.get(SHARED)
    if not isinstance(share, Share):
        return Text(_text(parts(terms, call.body), call.call_id))
    body = parts(terms, call.body)
    del body[SHARED]
    return sharing(_text(body, call.call_id), share)


def _text(body: dict[str, Any], about: str) -> bytes:
    try:
        text = dump(body)
    except (CodecError, UnicodeEncodeError) as error:
        raise UnwritableError(
            "The call cannot be recorded.", detail=f"{about}: its body is not JSON: {error}"
        ) from error
    if len(text) > _MAX_BYTES:
        raise UnwritableError(
            "The call cannot be recorded.", detail=f"{about}: its body is {len(text)} bytes, more than {_MAX_BYTES}"
        )
    return text
