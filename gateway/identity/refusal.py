"""The words in which a caller is refused: what to do, and no hint of how close a credential was."""

from typing import Final

from gateway.model.errors import IdentityFault

__all__ = ["expired", "refused", "revoked"]

_HOW: Final = (
    'Send "Authorization: Bearer <token>" with a token of a registered agent; '
    "the operator makes one: toolgate token new <agent>"
)


def refused(why: str) -> IdentityFault:
    """Return the refusal of a caller nobody knows. `why` is for the ledger."""
    return IdentityFault(f"This gateway serves registered agents only. {_HOW}", detail=why)


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
