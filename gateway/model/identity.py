"""Who is calling, and on whose behalf."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from gateway.model.light import light

__all__ = ["ANONYMOUS_AGENT", "Child", "ClientInfo", "Credential", "Identity", "principal_of"]

ANONYMOUS_AGENT = "unknown"
"""The agent name under which refused, unidentified calls are recorded."""


@light
@dataclass(frozen=True, slots=True)
class Credential:
    """What a caller presented, unverified.

    `kind` is `bearer` (an API token or a JWT) or `none`. `value` is never logged or stored.
    """

    kind: str
    value: str

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


@light
@dataclass(frozen=True, slots=True)
class ClientInfo:
    """What the client program says of itself; it decides nothing (USERS.md §1.4)."""

    name: str = ""
    version: str = ""


_FINDING_ONES_WAY: Final = frozenset(
    {"approvals.escalate", "approvals.execute", "approvals.wait"}
    | {"results.read", "tools.call", "tools.describe", "tools.search"}
)
"""The gateway's own tools that show a caller what it may see anyway, ask a person, or stand for a call that is decided
as what it is: every child has them."""


@dataclass(frozen=True, slots=True)
class Child:
    """What an agent handed on: a part of what it may do itself, in one run.

    `id` names the delegation, `name` the child from its agent downwards (`payer:reader`). `scopes` are patterns of
    tools and methods (`fraud.*`, `files.resources/read`), in which `*` stands for any text. `depth` counts from 1.
    `above` are other agents that the work was handed on by, the nearest first: each must be allowed the call as well.
    `itself_for` is the user that a registered agent acts for elsewhere, to which the work was handed on.
    """

    id: str
    name: str
    run: str
    scopes: tuple[str, ...]
    depth: int
    above: tuple["Identity", ...] = ()
    itself_for: str | None = None

    def covers(self, name: str) -> bool:
        """Tell whether a tool or operation of this name (`server.tool`, `server.method`) was handed on."""
        return name in _FINDING_ONES_WAY or any(fnmatchcase(name, scope) for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified agent.

    `agent` is the registered id that policies name. `on_behalf_of` is the verified user the agent acts for, if any;
    `delegation` is the actor chain, outermost first. `credential_id` names the credential without revealing it.
    `method` is `token`, `jwt`, `local` or `child`. `expires_at_ms` is None where the credential does not expire by
    itself. `child` is set where the agent handed this identity on: it is the agent to policies, budgets and pauses, and
    may do no more than `child` covers; and where another agent handed work on to it, in the run of that work.
    """

    agent: str
    method: str
    credential_id: str
    owner: str = ""
    teams: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    delegation: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    issuer: str = ""
    expires_at_ms: int | None = None
    child: Child | None = None

    @property
    def delegators(self) -> tuple["Identity", ...]:
        """The other agents for which this one works in a run that was handed on to it, the nearest first."""
        return () if self.child is None else self.child.above

    @property
    def is_handed(self) -> bool:
        """Whether this is a registered agent, known by its own credential, that does what was handed on to it."""
        return self.child is not None and self.method != "child"

    @property
    def itself(self) -> "Identity":
        """Who this is outside the run in which work was handed on to it."""
        if self.child is None or not self.is_handed:
            return self
        return replace(self, child=None, on_behalf_of=self.child.itself_for)


def principal_of(identity: Identity) -> str:
    """Return who somebody is, as one text: the issuer, the agent, the user it acts for, and which child it is."""
    child = () if identity.child is None else (identity.child.id,)
    return "\0".join((identity.issuer, identity.agent, identity.on_behalf_of or "", *child))
