"""How a task stands, as its client is told: what is kept of it, and by whom it can be asked about."""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from gateway.codec import dump
from gateway.model.errors import ConnectorFault
from gateway.model.identity import Identity, principal_of
from gateway.model.outcome import Outcome, Succeeded
from gateway.pipeline.related import related
from gateway.store.tasks import TaskRecord
from gateway.task.forms import LEGACY, MODERN, Form

__all__ = ["KEPT_MS", "Fresh", "as_rejected", "ended_as", "is_of", "state_in", "times"]

KEPT_MS: Final = 24 * 3600 * 1000
"""How long it can be asked about what is over."""

_MOST_FRESH: Final = 1000
_FRESH_BYTES: Final = 32 * 1024 * 1024
_KNOWN: Final = frozenset(
    {"status", "createdAt", "lastUpdatedAt", *(name for form in (LEGACY, MODERN) for name in (form.ttl, form.interval))}
)
_MOST_STATE: Final = 16 * 1024
"""Bytes of what is kept of how a task stands; of more, only what every task has."""

_LONGEST_VALUE: Final = 64
_NOT_OF_A_STATE: Final = frozenset({"resultType", "result", "error", "inputRequests", "requestState"})


class Fresh:
    """Outcomes as they came, until their clients have had time to fetch them; on record they may be cut or masked."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Outcome, int]] = OrderedDict()

    def keep(self, task_id: str, outcome: Outcome) -> None:
        """Keep what came of a task; of too many, or too much, the oldest are let go of."""
        size = len(dump(outcome.result)) if isinstance(outcome, Succeeded) else 0
        self._kept[task_id] = outcome, size
        while len(self._kept) > _MOST_FRESH or sum(each for _, each in self._kept.values()) > _FRESH_BYTES:
            self._kept.popitem(last=False)

    def find(self, task_id: str) -> Outcome | None:
        """Return what came of a task, where that is kept still."""
        kept = self._kept.get(task_id)
        return None if kept is None else kept[0]


def state_in(task: Mapping[str, Any], task_id: str) -> dict[str, Any]:
    """Return what is told of how a task stands, under the gateway's own id."""
    kept = {name: value for name, value in task.items() if name not in _NOT_OF_A_STATE}
    if len(dump(kept)) > _MOST_STATE:
        kept = {name: value for name, value in kept.items() if name in _KNOWN and len(dump(value)) <= _LONGEST_VALUE}
    return {**related(kept, task_id), "taskId": task_id}


def ended_as(raw: Mapping[str, Any]) -> str:
    """Return the status of a task whose call was answered with this."""
    return "failed" if raw.get("isError") is True else "completed"


def times(now_ms: int) -> Mapping[str, Any]:
    """Return when a task began that begins now, and that no server knows."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"createdAt": now, "lastUpdatedAt": now}


def is_of(record: TaskRecord, identity: Identity, endpoint: str, form: Form) -> bool:
    """Tell whether a task is this principal's, made at this endpoint in this form."""
    here = record.body["endpoint"] == endpoint and record.body["form"] == form.name
    return here and record.owner == principal_of(identity.itself)


def as_rejected(error: Any, server: str) -> ConnectorFault:
    """Return the fault of a task that its server says failed, with the JSON-RPC error it failed with if that is one."""
    fault = ConnectorFault(f"{server} failed to carry the task out.", code="rejected")
    if isinstance(error, Mapping) and type(error.get("code")) is int:
        fault.rpc = {**error, "message": str(error.get("message", ""))}
    return fault
