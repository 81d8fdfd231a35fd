"""The error tree: one class per thing the caller can do about it.

A refusal is a value (`outcome.Denied`); a fault is one of these. `message` is safe for the agent and says what
to do next; `detail` goes to the ledger only.
"""

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "CODES",
    "ApprovalFault",
    "ConnectorFault",
    "GatewayError",
    "IdentityFault",
    "LedgerTampered",
    "LimitFault",
    "OutcomeUnknown",
    "PolicyFault",
    "RequestFault",
    "StoreFault",
    "UnwritableError",
    "fault_of",
]


class GatewayError(Exception):
    """A fault with a stable code, a message for the agent and a detail for the ledger.

    `told` are members of the refusal that a program may go by.

    Raises:
        ValueError: `code` is not one of this family's `codes`.
    """

    codes: frozenset[str] = frozenset({"internal"})
    default_code: str = "internal"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str = "",
        retry_after_s: float | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        if self.code not in self.codes:
            raise ValueError(f"{type(self).__name__} has no code {self.code!r}")
        self.message = message
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.told: Mapping[str, Any] = told or {}


class RequestFault(GatewayError):
    """The request itself must change before it can succeed."""

    codes = frozenset(
        {
            "unknown_tool",
            "invalid_arguments",
            "tool_quarantined",
            "too_large",
            "idempotency_conflict",
            "cancelled",
            "dry_run",
            "run_cancelled",
            "looping",
            "secret_in_arguments",
            "delegation_refused",
            "run_superseded",
            "not_on_record",
        }
    )
    default_code = "invalid_arguments"


class ApprovalFault(GatewayError):
    """What a call came to that people were asked about as a task or a draft; nothing was done."""

    codes = frozenset({"denied", "approval_pending", "approval_denied", "approval_edited", "approval_over"})
    default_code = "approval_denied"


class IdentityFault(GatewayError):
    """The caller is not known, or no longer; the text never hints how close a credential was."""

    codes = frozenset({"unauthenticated", "identity_expired", "identity_revoked"})
    default_code = "unauthenticated"


class LimitFault(GatewayError):
    """Not now: `retry_after_s` says when."""

    codes = frozenset({"rate_limited", "budget_exceeded", "in_progress", "paused", "shutting_down"})
    default_code = "rate_limited"
    retryable = True


class ConnectorFault(GatewayError):
    """The tool's side failed. `sent` is False only when the request provably never left the gateway.

    `refused` says that the other side put the request off before it did anything, so that it may be sent again. `rpc`
    is the JSON-RPC error object (`code`, `message`, `data`) of a server that answered with one, else None.
    `wants_consent` says that the call's own user can put it right; `page` is then perhaps where: what a client is asked
    with `elicitation/create`, which is on no record.
    """

    codes = frozenset({"unavailable", "timeout", "rejected", "forbidden", "credential_expired", "contract_broken"})
    default_code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str = "",
        retry_after_s: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message, code=code, detail=detail, retry_after_s=retry_after_s)
        self.sent = sent
        self.refused = False
        self.rpc: Mapping[str, Any] | None = None
        self.wants_consent = False
        self.page: Mapping[str, Any] | None = None
        self.retryable = self.code in {"unavailable", "timeout"}

    def reworded(self, message: str, detail: str) -> "ConnectorFault":
        """Return the same fault in other words."""
        copy = ConnectorFault(message, code=self.code, detail=detail, retry_after_s=self.retry_after_s, sent=self.sent)
        copy.refused, copy.rpc = self.refused, self.rpc
        copy.wants_consent, copy.page = self.wants_consent, self.page
        return copy


class OutcomeUnknown(GatewayError):
    """The call may or may not have had its effect; it must be settled, never blindly repeated."""

    codes = frozenset({"outcome_unknown"})
    default_code = "outcome_unknown"


class StoreFault(GatewayError):
    """The ledger could not be read or written; nothing was sent."""

    codes = frozenset({"store_unavailable"})
    default_code = "store_unavailable"
    retryable = True


class UnwritableError(StoreFault):
    """What was to be written has no place in this ledger, now or ever: trying again is no use."""


class LedgerTampered(GatewayError):
    """The ledger's hash chain does not hold; `seq` is the first event that breaks it."""

    codes = frozenset({"ledger_tampered"})
    default_code = "ledger_tampered"

    def __init__(self, message: str, *, seq: int, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.seq = seq


class PolicyFault(GatewayError):
    """The policies could not be evaluated: the call is refused."""

    codes = frozenset({"policy_error"})
    default_code = "policy_error"
    retryable = True


def fault_of(code: str, message: str) -> GatewayError:
    """Return a fault that was put on record by its code and message; as `internal` where no family has that code."""
    for family in _FAMILIES:
        if code in family.codes:
            return family(message, code=code)
    return GatewayError(message)


_FAMILIES: Final = (
    RequestFault,
    ApprovalFault,
    IdentityFault,
    LimitFault,
    ConnectorFault,
    OutcomeUnknown,
    StoreFault,
    PolicyFault,
)
CODES: Final[frozenset[str]] = frozenset().union(
    *(
        family.codes
        for family in (
            GatewayError,
            RequestFault,
            ApprovalFault,
            IdentityFault,
            LimitFault,
            ConnectorFault,
            OutcomeUnknown,
            StoreFault,
            LedgerTampered,
            PolicyFault,
        )
    )
)
"""Every code a caller can meet; the documentation lists exactly these."""
