"""Who is calling, and on whose behalf."""

from dataclasses import dataclass

from gateway.model.light import light

__all__ = ["ANONYMOUS_AGENT", "ClientInfo", "Credential", "Identity", "principal_of"]

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


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified agent.

    `agent` is the registered id that policies name. `on_behalf_of` is the verified user the agent acts for, if any;
    `delegation` is the actor chain, outermost first. `credential_id` names the credential without revealing it.
    `method` is `token`, `jwt` or `local`. `expires_at_ms` is None where the credential does not expire by itself.
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


def principal_of(identity: Identity) -> str:
    """Return who somebody is, as one text: the issuer, the agent and the user it acts for."""
    return "\0".join((identity.issuer, identity.agent, identity.on_behalf_of or ""))
