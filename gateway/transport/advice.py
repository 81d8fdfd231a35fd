"""What a caller can do about each error code, in words for an agent."""

from collections.abc import Mapping
from typing import Final

__all__ = ["ADVICE"]

ADVICE: Final[Mapping[str, str]] = {
    "unknown_tool": "Call a tool that tools/list shows; ask the operator of the gateway for access to others.",
    "invalid_arguments": "Correct the arguments and call again.",
    "tool_quarantined": "Do without this tool until the operator of the gateway has looked at its new definition.",
    "too_large": "Send less.",
    "idempotency_conflict": "Use a new idempotency key for new work.",
    "cancelled": "Call again if it is wanted after all.",
    "dry_run": "Make the call without asking for a dry run, if it is to be done.",
    "secret_in_arguments": "Leave it out: name what the tool needs otherwise, or ask the operator of the gateway.",
    "looping": "Do something else: use what you know already, or ask a person.",
    "delegation_refused": "Hand on less, or leave the work to who may do it.",
    "run_cancelled": "End this piece of work; begin other work in a run of its own.",
    "run_superseded": "Stop: another process goes on with this run.",
    "not_on_record": "Make the calls that are on record: in a run that is only played back nothing else is answered.",
    "denied": "Repeating it unchanged will not help; ask the operator of the gateway for access.",
    "approval_pending": "Ask approvals_wait how it stands, and carry it out once it is approved.",
    "approval_denied": "Do without it: a person refused, and repeating it does not help.",
    "approval_edited": "Make the call that the person put in its place.",
    "approval_over": "Make the call again to have people asked anew.",
    "unauthenticated": "Send a credential that the gateway knows.",
    "identity_expired": "Get a fresh credential.",
    "identity_revoked": "Ask the owner of this agent.",
    "rate_limited": "Wait, then repeat the call.",
    "budget_exceeded": "Wait until the budget renews, or ask its owner for more.",
    "in_progress": "Wait, then repeat the call: it is answered from the record.",
    "paused": "Wait until the operator of the gateway resumes it.",
    "shutting_down": "Repeat the call in a moment.",
    "unavailable": "Repeat the call later, or go on without it; the operator of the gateway sees why.",
    "timeout": "Repeat the call later, or ask for less at once.",
    "rejected": "Change the call: repeated unchanged it is refused again.",
    "forbidden": "Go on without it, and tell the operator of the gateway that its credential may not do this.",
    "credential_expired": "Go on without it, and tell the operator of the gateway to renew its credential.",
    "contract_broken": "Go on without it, and tell the owner of the tool that its answers break its own contract.",
    "outcome_unknown": "Never repeat it blindly: look up whether it happened, or have a person settle it.",
    "store_unavailable": "Repeat the call later; the operator of the gateway checks its disk and database.",
    "ledger_tampered": "Stop, and tell the operator of the gateway to run `toolgate verify`.",
    "policy_error": "Repeat the call later; the operator of the gateway checks its policies.",
    "internal": "Report it to the operator of the gateway, with the call's id; it is a bug.",
}
"""One sentence for each of `gateway.model.errors.CODES`."""
