"""What identities ask of storage: who handed on what to whom. The events say it all; there are no rows beside them."""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.model.light import light

__all__ = ["Delegation", "DelegationChange", "DelegationEnd", "DelegationStore"]


@dataclass(frozen=True, slots=True)
class Delegation:
    """That an agent handed a part of what it may do on to a child, which proves itself by a token.

    `id` is the token's, `digest` a SHA-256 of its secret part. `name` is the child's, from its agent downwards
    (`payer:reader:ocr`), `parent` the delegation it was made under, empty for one by the agent itself. `method`,
    `root`, `issuer` and `claims` are of the credential that the agent that made it, or its children, go back to;
    `actors` of the first of the chain; `depth` counts from 1. `to` is the registered agent that acts under it, where
    that is not `agent`, with which the chain begins. One that is made to it has no token, and an empty `digest`.
    """

    id: str
    digest: str = field(repr=False)
    agent: str
    name: str
    parent: str
    method: str
    root: str
    issuer: str
    on_behalf_of: str
    run_id: str
    scopes: tuple[str, ...]
    claims: tuple[str, ...]
    actors: tuple[str, ...]
    depth: int
    created_ms: int
    expires_ms: int
    to: str = ""

    @property
    def acting(self) -> str:
        """The registered agent that acts under it."""
        return self.to or self.agent


@dataclass(frozen=True, slots=True)
class DelegationEnd:
    """That a delegation is withdrawn, and with it all that were made under it."""

    id: str
    agent: str
    run_id: str
    at_ms: int
    by: str
    reason: str = ""


@light
@dataclass(frozen=True, slots=True)
class DelegationChange:
    """The event `seq`: a delegation was made, or one was withdrawn."""

    seq: int
    what: Delegation | DelegationEnd


class DelegationStore(Protocol):
    """Delegations. What another process did is seen by the next read."""

    async def put_delegation(self, made: Delegation) -> None:
        """Put a delegation on record, durably."""
        ...

    async def end_delegation(self, end: DelegationEnd) -> None:
        """Put on record that a delegation is withdrawn, durably."""
        ...

    async def delegation_changes(self, after_seq: int, limit: int) -> list[DelegationChange]:
        """Return what became of delegations after an event: the first `limit` changes, in order."""
        ...
