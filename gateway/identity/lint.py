"""What `toolgate doctor` says about the agents' credentials."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.identity.config import AgentConfig
from gateway.identity.people import PERSON_PREFIX
from gateway.identity.tokens import is_live
from gateway.store.ports import TokenRecord

__all__ = ["Finding", "lint_tokens"]

_YEAR_MS: Final = 366 * 24 * 3_600_000
_SOON_MS: Final = 7 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a credential. `error` findings must be refused, the others are warnings."""

    agent: str
    error: bool
    message: str


def lint_tokens(
    agents: Mapping[str, AgentConfig], people: Collection[str], tokens: Sequence[TokenRecord], now_ms: int
) -> list[Finding]:
    """Judge the live tokens: shared by two agents, in effect without expiry, about to expire, of nobody."""
    findings = []
    owners: dict[str, str] = {}
    for token in tokens:
        if not is_live(token, now_ms):
            continue
        other = owners.setdefault(token.digest, token.agent)
        if other != token.agent:
            findings.append(
                Finding(
                    token.agent,
                    error=True,
                    message=f"agents {other!r} and {token.agent!r} share one token; "
                    f"fix: toolgate token rotate {token.agent} --overlap 0s",
                )
            )
        texts = _of_nobody(agents, people, token) or _warnings(token, now_ms)
        findings += [Finding(token.agent, error=False, message=text) for text in texts]
    return findings


def _of_nobody(agents: Mapping[str, AgentConfig], people: Collection[str], token: TokenRecord) -> list[str]:
    agent = token.agent
    if agent.startswith(PERSON_PREFIX) and agent.removeprefix(PERSON_PREFIX) in people:
        return []
    if agent not in agents:
        return [f"token {token.id} belongs to {agent!r}, who is not configured; fix: toolgate token revoke {agent}"]
    if not agents[agent].auth.accepts_token:
        return [f"agent {agent!r} has a token but does not accept tokens; fix: toolgate token revoke {agent}"]
    return []


def _warnings(token: TokenRecord, now_ms: int) -> list[str]:
    agent = token.agent
    if token.revoked_ms is not None:  # it has a successor, or is to end in any case
        return []
    if token.expires_ms - token.created_ms > _YEAR_MS:
        return [f"the token of {agent!r} does not expire within a year; fix: toolgate token rotate {agent}"]
    if token.expires_ms - now_ms < _SOON_MS:
        return [f"the token of {agent!r} expires within 7 days; fix: toolgate token rotate {agent}"]
    return []
