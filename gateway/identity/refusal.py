"""The words in which a caller is refused: what to do, and no hint of how close a credential was."""

from typing import Final

from gateway.model.errors import IdentityFault

__all__ = ["HOW_TO_CALL", "ended", "expired", "refused", "revoked", "withdrawn"]

HOW_TO_CALL: Final = (
    'Send "Authorization: Bearer <token>" with a token of a registered agent; '
    "the operator makes one: toolgate token new <agent>"
)


def refused(why: str) -> IdentityFault:
    """Return the refusal of a caller nobody knows. `why` is for the ledger."""
    return IdentityFault(f"This gateway serves registered agents only. {HOW_TO_CALL}", detail=why)


def expired(why: str) -> IdentityFault:
    """Return the refusal of a credential that was right and has run out."""
    return IdentityFault(
        "This credential has expired. Get a new one; for an API token the operator runs: toolgate token rotate <agent>",
        code="identity_expired",
        detail=why,
    )


def revoked(why: str) -> IdentityFault:
    """Return the refusal of a credential that was right and was withdrawn."""
    return IdentityFault(
        "This credential was revoked. If the agent should work again, the operator runs: toolgate token new <agent>",
        code="identity_revoked",
        detail=why,
    )


def ended(why: str) -> IdentityFault:
    """Return the refusal of a child whose time is over."""
    return IdentityFault(
        "The time that you were given for this work is over. Report how far you came; whoever gave you the work can "
        "hand it on again.",
        code="identity_expired",
        detail=why,
    )


def withdrawn(why: str) -> IdentityFault:
    """Return the refusal of a child from which what it was given was taken back, or from whoever gave it."""
    return IdentityFault(
        "What you were given for this work was taken back, or whoever gave it to you may not do it any more. Stop here "
        "and report that.",
        code="identity_revoked",
        detail=why,
    )
