"""Whose fact it is: the run's, session's, agent's, user's or team's that calls, never another's that a caller names."""

from collections.abc import Sequence
from enum import StrEnum

from gateway.model.call import Call

__all__ = ["FactScope", "owner_of"]


class FactScope(StrEnum):
    """How far a fact reaches."""

    RUN = "run"
    SESSION = "session"
    AGENT = "agent"
    USER = "user"
    TEAM = "team"


def owner_of(scope: FactScope, call: Call, run_id: str, teams: Sequence[str], team: str = "") -> str:
    """Return the owner of a call's facts of a scope, or nothing where it has none.

    `teams` are those of the calling agent; without a `team` it has to be in exactly one.
    """
    identity, session = call.identity, call.request.caller.session
    mine = team or (teams[0] if len(teams) == 1 else "")
    owners = {
        FactScope.RUN: run_id,
        FactScope.SESSION: f"{identity.agent}/{session}" if session else "",
        FactScope.AGENT: identity.agent,
        FactScope.USER: identity.on_behalf_of or "",
        FactScope.TEAM: mine if mine in teams else "",
    }
    return owners[scope]
