"""Which person is calling the approvals API: their tokens are kept as agents' are, under a name no agent can have."""

from typing import Final

from gateway.identity.refusal import expired, refused, revoked
from gateway.identity.token_index import TokenIndex
from gateway.identity.tokens import is_live, matches, split_token
from gateway.model.clock import Clock
from gateway.store.ports import TokenRecord

__all__ = ["PERSON_PREFIX", "PeopleDoor"]

PERSON_PREFIX: Final = "person:"
"""What stands before a person's name where their token is kept."""

_LONGEST: Final = 8192
_NOBODY: Final = TokenRecord(id="", agent="", digest="0" * 64, created_ms=0, expires_ms=0)


class PeopleDoor:
    """Identifies people by their API tokens; an agent's token is nobody's here, and a person's no agent's."""

    def __init__(self, tokens: TokenIndex, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    async def identify(self, bearer: str) -> str:
        """Return the person's name; whether they are still known is for the caller to look up.

        Raises:
            IdentityFault: it is no token of a person, or it is over.
            StoreFault: it cannot be checked right now.
        """
        parts = split_token(bearer) if len(bearer) <= _LONGEST and bearer.isascii() else None
        if parts is None:
            raise refused("not a token")
        await self._tokens.learn(parts[0])
        record = self._tokens.find(parts[0]) or _NOBODY
        if not matches(parts[1], record.digest) or not record.agent.startswith(PERSON_PREFIX):
            raise refused("no such token")
        now = self._clock.now_ms()
        if record.revoked_ms is not None and now >= record.revoked_ms:
            raise revoked(f"token {record.id}")
        if not is_live(record, now):
            raise expired(f"token {record.id}")
        return record.agent.removeprefix(PERSON_PREFIX)
