"""Stage 10: what must not reach the agent is taken out of the answer."""

from gateway.model.call import Call
from gateway.redaction.redactor import Redactor

__all__ = ["Redact"]


class Redact:
    """Sets `call.result`: the answer without known secrets and without the fields an obligation names."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    async def __call__(self, call: Call) -> None:
        fields = tuple(
            name.strip()
            for key, value in call.decision.obligations
            if key == "redact"
            for name in value.split(",")
            if name.strip()
        )
        call.result = self._redactor.deliver(call.checked, fields=fields)
