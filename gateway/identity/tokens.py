"""API tokens: `tg_<id>_<secret>`, one live token per agent, stored only as a digest of the secret."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from gateway.model.clock import Clock, IdSource
from gateway.model.errors import StoreFault
from gateway.store.ports import TokenRecord, TokenStore

__all__ = [
    "API_PREFIX",
    "DEFAULT_OVERLAP_MS",
    "DEFAULT_TTL_MS",
    "IssuedToken",
    "TokenRefused",
    "Tokens",
    "fresh_token",
    "is_live",
    "matches",
    "split_token",
]

API_PREFIX: Final = "tg_"
DEFAULT_TTL_MS: Final = 90 * 24 * 3_600_000
DEFAULT_OVERLAP_MS: Final = 60_000
_TOKEN: Final = re.compile(r"(tg_[a-z0-9]{1,128})_([a-z0-9]{1,256})")


class TokenRefused(Exception):
    """A token cannot be issued as asked; the text names the command that can."""

    code = "token_refused"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token. `token` is shown to a person once and is stored nowhere."""

    token: str = field(repr=False)
    record: TokenRecord
    revoked: tuple[str, ...] = ()


class Tokens:
    """Issues, rotates and revokes the API tokens of agents; `by` is on record as who does."""

    def __init__(self, store: TokenStore, clock: Clock, ids: IdSource, by: str = "") -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._by = by

    async def issue(self, agent: str, *, ttl_ms: int = DEFAULT_TTL_MS) -> IssuedToken:
        """Give `agent` its token, valid for `ttl_ms` milliseconds.

        Raises:
            TokenRefused: it has a live one, or `ttl_ms` is not positive.
            StoreFault: the store cannot answer.
        """
        live = await self._live(agent)
        if live:
            raise _has_one(agent, live[0])
        issued = await self._put(agent, ttl_ms)
        rivals = await self._live(agent)
        first = min(rivals, key=lambda token: (token.created_ms, token.id), default=issued.record)
        if first.id != issued.record.id:  # two commands at once: both see the same winner
            await self._store.revoke_tokens(agent, self._clock.now_ms(), keep=first.id, by=self._by)
            raise _has_one(agent, first)
        return issued

    async def rotate(
        self, agent: str, *, ttl_ms: int = DEFAULT_TTL_MS, overlap_ms: int = DEFAULT_OVERLAP_MS
    ) -> IssuedToken:
        """Give `agent` a new token; its old ones stop working after `overlap_ms`.

        Raises:
            TokenRefused: `ttl_ms` is not positive or `overlap_ms` negative.
            StoreFault: the store cannot answer.
        """
        if overlap_ms < 0:
            raise TokenRefused("the overlap cannot be negative; 0s ends the old token at once")
        issued = await self._put(agent, ttl_ms)
        until_ms = self._clock.now_ms() + overlap_ms
        revoked = await self._store.revoke_tokens(agent, until_ms, keep=issued.record.id, by=self._by)
        return IssuedToken(issued.token, issued.record, tuple(revoked))

    async def revoke(self, agent: str) -> list[str]:
        """End all of the agent's tokens now, those in an overlap too; return their ids.

        Raises:
            StoreFault: the store cannot answer, or a token still works afterwards: whoever revokes must know.
        """
        revoked = await self._store.revoke_tokens(agent, self._clock.now_ms(), by=self._by)
        live = await self._live(agent)
        if live:
            raise StoreFault(f"Tokens of {agent!r} still work: {', '.join(token.id for token in live)}.")
        return revoked

    async def _live(self, agent: str) -> list[TokenRecord]:
        now = self._clock.now_ms()
        return [token for token in await self._store.tokens() if token.agent == agent and is_live(token, now)]

    async def _put(self, agent: str, ttl_ms: int) -> IssuedToken:
        if ttl_ms <= 0:
            raise TokenRefused("a token must be valid for some time: give a positive duration, such as 90d")
        now = self._clock.now_ms()
        token_id, digest, token = fresh_token(self._ids)
        record = TokenRecord(token_id, agent, digest, now, now + ttl_ms)
        await self._store.put_token(record, by=self._by)
        return IssuedToken(token, record)


def fresh_token(ids: IdSource) -> tuple[str, str, str]:
    """Return a new token: its id, what is kept of its secret, and the token itself, which is kept nowhere."""
    token_id = ids.new("tg")
    secret = ids.new("s").removeprefix("s_")
    return token_id, _digest(secret), f"{token_id}_{secret}"


def _has_one(agent: str, token: TokenRecord) -> TokenRefused:
    return TokenRefused(
        f"agent {agent!r} has a live token already ({token.id}): an agent has one. "
        f"Replace it: toolgate token rotate {agent}"
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def split_token(value: str) -> tuple[str, str] | None:
    """Return the id and the secret part of a token, or None for anything else."""
    found = _TOKEN.fullmatch(value)
    return (found[1], found[2]) if found else None


def matches(secret: str, digest: str) -> bool:
    """Tell, in constant time, whether `digest` is of `secret`."""
    return hmac.compare_digest(_digest(secret), digest)


def is_live(token: TokenRecord, now_ms: int) -> bool:
    """Tell whether a token works at `now_ms`; a revocation may lie ahead (an overlap)."""
    return now_ms < token.expires_ms and (token.revoked_ms is None or now_ms < token.revoked_ms)
