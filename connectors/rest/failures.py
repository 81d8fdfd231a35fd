"""What an answer's status means for the call."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.connector import ConnectorFault, CredentialExpired, Rejected, Unavailable, put_off

__all__ = ["DEFAULT_FAILURES", "Action", "Failures"]

_CLASS: Final = re.compile(r"[345](xx|[0-9][0-9])")


class Action(StrEnum):
    """What to make of a failure; each is one of the gateway's error codes."""

    CREDENTIAL_EXPIRED = "credential_expired"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


DEFAULT_FAILURES: Final[Mapping[str, Action]] = {
    "401": Action.CREDENTIAL_EXPIRED,
    "403": Action.REJECTED,
    "404": Action.REJECTED,
    "408": Action.UNAVAILABLE,
    "409": Action.REJECTED,
    "422": Action.REJECTED,
    "425": Action.UNAVAILABLE,
    "429": Action.UNAVAILABLE,
    "3xx": Action.REJECTED,
    "4xx": Action.REJECTED,
    "5xx": Action.UNAVAILABLE,
}


class Failures:
    """The table in force: the default one, and what the operator says over it.

    Raises:
        ValueError: a key is neither a status from 300 to 599 nor a class such as `4xx`.
    """

    def __init__(self, over: Mapping[str, Action]) -> None:
        wrong = [key for key in over if not _CLASS.fullmatch(key)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a status from 300 to 599, nor 3xx, 4xx or 5xx")
        self._actions = {**DEFAULT_FAILURES, **over}

    def action(self, status: str) -> Action | None:
        """Return what a status, or a class of them, means; None for what no answer to a call has."""
        return self._actions.get(status) or self._actions.get(f"{status[:1]}xx") if len(status) == 3 else None

    def fault(self, status: int, said: str, retry_after: str | None) -> ConnectorFault:
        """Return the fault for a failed answer. `said` is its body, fit for the agent; `retry_after` as it came."""
        detail = f"HTTP {status}: {said}"
        action = self.action(str(status))
        if action is Action.CREDENTIAL_EXPIRED:
            return CredentialExpired(detail=detail)
        if action is Action.UNAVAILABLE:
            return Unavailable(
                f"The service cannot do this now ({detail}).",
                retry_after_s=retry_after,
                detail=detail,
                refused=put_off(status, retry_after),
            )
        if action is Action.REJECTED:
            return Rejected(f"The service refused this ({detail}).", detail=detail)
        return ConnectorFault("The service's answer cannot be used.", code="contract_broken", detail=detail)
