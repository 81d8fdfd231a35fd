"""What an answer's status means for the call."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.connector.faults import CredentialExpired, Forbidden, Rejected, Unavailable, put_off
from gateway.model.errors import ConnectorFault

__all__ = ["ANSWER", "DEFAULT_FAILURES", "Action", "Failures"]

_CLASS: Final = re.compile(r"[345](xx|[0-9][0-9])")


class Action(StrEnum):
    """What to make of a failure; each is one of the gateway's error codes."""

    CREDENTIAL_EXPIRED = "credential_expired"
    FORBIDDEN = "forbidden"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


ANSWER: Final = "answer"
"""What a plugin says of a failure that it reads itself, such as a 404 that means that there is none."""

DEFAULT_FAILURES: Final[Mapping[str, Action]] = {
    "401": Action.CREDENTIAL_EXPIRED,
    "403": Action.FORBIDDEN,
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
    """The table in force: the default one, which has every class, and what the operator or a plugin says over it.

    Raises:
        ValueError: a key is neither a status from 300 to 599 nor a class such as `4xx`, or its meaning is none.
    """

    def __init__(self, over: Mapping[str, Action | str]) -> None:
        wrong = [key for key in over if not _CLASS.fullmatch(key)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a status from 300 to 599, nor 3xx, 4xx or 5xx")
        known = {ANSWER, *Action}
        if unknown := [f"{key} means {said!r}" for key, said in over.items() if said not in known]:
            raise ValueError(f"{unknown[0]}, which is none of {', '.join(sorted(known))}")
        self._read = {key: said == ANSWER for key, said in over.items()}
        mapped = {key: Action(said) for key, said in over.items() if said != ANSWER}
        self._actions = {**DEFAULT_FAILURES, **mapped}

    def action(self, status: str) -> Action | None:
        """Return what a status, or a class of them, means; None for what no answer to a call has."""
        return self._actions.get(status) or self._actions.get(f"{status[:1]}xx") if len(status) == 3 else None

    def is_read(self, status: int) -> bool:
        """Tell whether a plugin said that it reads answers of this status itself."""
        return self._read.get(str(status), self._read.get(f"{status // 100}xx", False))

    def fault(self, status: int, said: str, retry_after: str | None, who: str = "The service") -> ConnectorFault:
        """Return the fault for a failed answer. `said` is its body, fit for the agent; `retry_after` as it came."""
        detail = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        action = self.action(str(status))
        if action is Action.CREDENTIAL_EXPIRED:
            return CredentialExpired(detail=detail)
        if action is Action.UNAVAILABLE:
            return Unavailable(
                f"{who} cannot do this now ({detail}).",
                retry_after_s=retry_after,
                detail=detail,
                refused=put_off(status, retry_after),
            )
        if action is Action.FORBIDDEN:
            return Forbidden(f"{who} does not let the gateway do this ({detail}).", detail=detail)
        if action is Action.REJECTED:
            return Rejected(f"{who} refused this ({detail}).", detail=detail)
        return ConnectorFault(f"{who}'s answer cannot be used.", code="contract_broken", detail=detail)
