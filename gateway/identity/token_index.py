"""The tokens as this process knows them, at most a second old."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.store.ports import TokenRecord, TokenStore

__all__ = ["LEARN_S", "MAX_AGE_S", "POLL_S", "TokenIndex"]

POLL_S: Final = 0.5
MAX_AGE_S: Final = 5.0
LEARN_S: Final = 0.1
_READ_S: Final = 2.0


class TokenIndex:
    """An in-memory picture of the token store, so that a token is checked without a read.

    `watch` renews it every POLL_S seconds: a revocation by another process counts within one second. A picture older
    than MAX_AGE_S seconds is not believed: every token is refused until the store can be read again. `generation`
    counts the changes.
    """

    def __init__(self, store: TokenStore, clock: Clock, *, read_s: float = _READ_S) -> None:
        self._store = store
        self._clock = clock
        self._read_s = read_s
        self._tokens: Mapping[str, TokenRecord] = {}
        self._read_at = float("-inf")
        self.generation = 0

    async def refresh(self) -> None:
        """Read the tokens now.

        Raises:
            StoreFault: they cannot be read; the picture stays as it is.
        """
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._read_s):
                tokens = await self._store.tokens()
        except TimeoutError:
            raise StoreFault("The gateway cannot read its tokens.", detail="reading the tokens timed out") from None
        found = {token.id: token for token in tokens}
        if found != self._tokens:
            self._tokens = found
            self.generation += 1
        self._read_at = began

    async def watch(self) -> None:
        """Keep the picture fresh until cancelled. An unreadable store is not an error here: `find` refuses."""
        while True:
            with contextlib.suppress(StoreFault):
                await self.refresh()
            await self._clock.sleep(POLL_S)

    async def learn(self, token_id: str) -> None:
        """Read the tokens now if `token_id` is not among them, unless they were read LEARN_S seconds ago or less.

        So a token works as soon as it was made, and a flood of made-up ones costs ten reads a second.

        Raises:
            StoreFault: they cannot be read.
        """
        if token_id not in self._tokens and self._clock.monotonic() - self._read_at > LEARN_S:
            await self.refresh()

    def find(self, token_id: str) -> TokenRecord | None:
        """Return a token by id, revoked and expired ones too.

        Raises:
            StoreFault: the picture is too old to be believed.
        """
        self.believe()
        return self._tokens.get(token_id)

    def believe(self) -> None:
        """Raise `StoreFault` when the picture is too old to be believed."""
        if self._clock.monotonic() - self._read_at > MAX_AGE_S:
            raise StoreFault("The gateway cannot check tokens right now. Try again.", retry_after_s=1.0)
