"""Stage 10: what must not reach the agent is taken out of the answer."""

from collections.abc import Mapping
from typing import Any

from gateway.model.call import Call
from gateway.model.decision import Decision
from gateway.model.task import GET_TASK
from gateway.redaction.redactor import Redactor

__all__ = ["Redact", "delivered", "masked_fields"]


class Redact:
    """Sets `call.result`: the answer without known secrets and without the fields an obligation names.

    And `call.text`, its JSON, where that is at hand: for whoever else needs it.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, call: Call) -> None:
        if call.decision.obligations or call.tool.method == GET_TASK:
            call.result = delivered(self._redactor, call, call.checked)
        else:
            call.result, call.text = self._redactor.shown(call.checked)


def delivered(redactor: Redactor, call: Call, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of `result` the agent may see: all but secrets and what this call's decision obliges to mask."""
    fields = masked_fields(call.decision)
    if call.tool.method == GET_TASK and isinstance(inner := result.get("result"), Mapping):
        result = {**result, "result": redactor.deliver(inner, fields=fields)}
    masked: Mapping[str, Any] = redactor.deliver(result, fields=fields)
    return masked


def masked_fields(decision: Decision) -> tuple[str, ...]:
    """Return the fields that a decision obliges to mask."""
    if not decision.obligations:
        return ()
    return tuple(
        name.strip()
        for key, value in decision.obligations
        if key == "redact"
        for name in value.split(",")
        if name.strip()
    )
