"""One token, got when it is first needed, and renewed ahead of its end by one request at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from gateway.credentials.fault import GrantRefused, unsent
from gateway.credentials.life import Life
from gateway.credentials.token import Token
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault

__all__ = ["Holder", "Mint"]

Mint = Callable[[Token | None], Awaitable[Token]]
"""Gets the next token, given the last one. Raises `GrantRefused`, or `ConnectorFault` for what may pass."""

_PAUSE_MS: Final = 1_000
_LOOK_MS: Final = 1_000
"""How often it is looked whether a user has taken their consent back, on the disk."""

_LAST_S: Final = 2.0
_PROOF_MS: Final = 5_000
"""A token that was got because the one before was refused, and is refused within this time, was the last."""


class Holder:
    """`client` is the life of what `life` hangs on: where the client is refused, none of its tokens is got again."""

    def __init__(self, mint: Mint, life: Life, client: Life, clock: Clock) -> None:
        self.life: Final = life
        self.client: Final = client
        self._mint = mint
        self._clock = clock
        self._token: Token | None = None
        self._minting: asyncio.Task[Token] | None = None
        self._failed: ConnectorFault | None = None
        self._not_before_ms = 0
        self._unproven_until_ms = 0
        self._buried = False
        self._look_ms = 0
        self._forgot = 0

    @property
    def token(self) -> Token | None:
        """What is held now."""
        return self._token

    def at_hand(self) -> Token | None:
        """Return the token that is held, where `get` would do nothing else."""
        token, now = self._token, self._clock.now_ms()
        lives = self.life.death is None and self.client.death is None and not self._buried
        if token is None or not lives or self.life.is_consent or token.over(now) or token.ageing(now):
            return None
        return token

    async def get(self) -> Token:
        """Return a token that holds.

        Raises:
            ConnectorFault: there is none; `sent` is False.
        """
        self._check()
        now = self._clock.now_ms()
        if self.life.is_consent and now >= self._look_ms:
            self._look_ms = now + _LOOK_MS
            if self.life.was_touched():
                self.forget()
        token = self._token
        if token is None or token.over(now):
            return await self._next(now)
        if token.ageing(now) and now >= self._not_before_ms:
            self._start()
        return token

    async def replace(self, refused: str, reason: str, *, again: bool) -> None:
        """Return when there is another token than the `refused` one.

        That one which came to its end on its way was refused tells nothing of the next.

        Raises:
            ConnectorFault: there will be none, or it has been refused `again`: the credential is dead.
        """
        self._check()
        now, token = self._clock.now_ms(), self._token
        renewed = token is not None and token.value != refused
        over = token is not None and token.over(now)
        if again and (renewed or over):
            raise unsent("The gateway's credential for this server has just been renewed. Repeat the call.")
        if renewed:
            return
        if not over:
            if again or now < self._unproven_until_ms:
                raise self._end(reason)
            self._token_is_void()
            self._unproven_until_ms = now + _PROOF_MS
        fresh = await self._next(now)
        if fresh.value == refused:
            raise self._end(reason)

    def forget(self) -> None:
        """Have the next use get a new token, also where it was not to be had a moment ago."""
        self._token = None
        self._not_before_ms = 0
        self._forgot += 1

    async def close(self, last_s: float = _LAST_S) -> None:
        """Leave no request for a token under way, after `last_s` at most.

        What renews the next token may be in its answer, and a server that gave that out takes the one before no more.
        """
        minting = self._minting
        if minting is not None:
            await asyncio.wait({minting}, timeout=last_s)
            minting.cancel()
            with suppress(asyncio.CancelledError, ConnectorFault, GrantRefused):
                await minting

    def _check(self) -> None:
        for life in (self.client, self.life):
            life.check()
        if self._buried:  # a person has renewed it since
            self._buried = False
            self._token = None
            self._not_before_ms = self._unproven_until_ms = 0

    def _token_is_void(self) -> None:
        """Keep what renews it: the last token is given to the mint."""
        if self._token is not None:
            self._token = Token("", self._token.got_ms, 0, self._token.refresh, self._token.scopes)

    async def _next(self, now: int) -> Token:
        if self._minting is None and now < self._not_before_ms and self._failed is not None:
            raise self._failed
        try:
            return await asyncio.shield(self._start())
        except GrantRefused as refusal:
            life = self.client if refusal.client else self.life
            self._buried = True
            fault = life.end(str(refusal))
            fault.sent = False
            raise fault from refusal

    def _end(self, reason: str) -> ConnectorFault:
        self._buried = True
        return self.life.end(reason)

    def _start(self) -> "asyncio.Task[Token]":
        """Return the request for a token that is under way; there is one at most."""
        if self._minting is None:
            self._minting = asyncio.ensure_future(self._renew())
            self._minting.add_done_callback(self._ended)
        return self._minting

    async def _renew(self) -> Token:
        forgot = self._forgot
        try:
            token = await self._mint(self._token)
        except ConnectorFault as fault:
            self._failed = fault
            self._not_before_ms = self._clock.now_ms() + max(int((fault.retry_after_s or 0) * 1000), _PAUSE_MS)
            raise
        if forgot == self._forgot:  # else it was got with what has been taken back since
            self._token = token
        return token

    def _ended(self, minting: "asyncio.Task[Token]") -> None:
        self._minting = None
        if minting.cancelled():
            return
        refusal = minting.exception()  # said to whoever waits; where nobody does, it counts all the same
        if isinstance(refusal, GrantRefused):
            self._buried = True
            (self.client if refusal.client else self.life).end(str(refusal))
