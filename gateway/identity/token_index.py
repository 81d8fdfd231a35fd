"""The tokens as this process knows them, at most a second old."""

from collections.abc import Mapping

from gateway.identity.picture import LEARN_S, MAX_AGE_S, POLL_S, READ_S, Picture
from gateway.identity.tokens import is_live
from gateway.model.clock import Clock
from gateway.store.ports import TokenRecord, TokenStore

__all__ = ["LEARN_S", "MAX_AGE_S", "POLL_S", "TokenIndex"]


class TokenIndex(Picture):
    """A picture of the token store, so that a token is checked without a read. Too old, every token is refused."""

    def __init__(self, store: TokenStore, clock: Clock, *, read_s: float = READ_S) -> None:
        super().__init__("tokens", clock, read_s=read_s)
        self._store = store
        self._tokens: Mapping[str, TokenRecord] = {}

    async def read(self) -> tuple[bool, bool]:
        found = {token.id: token for token in await self._store.tokens()}
        is_new = found != self._tokens
        self._tokens = found
        return is_new, False

    def __contains__(self, token_id: str) -> bool:
        return token_id in self._tokens

    async def learn(self, token_id: str) -> None:
        """Look again if `token_id` is not among the tokens. Raises `StoreFault`."""
        if token_id not in self:
            await self.look_again()

    def has_live(self, agent: str) -> bool:
        """Tell whether some token of an agent works just now.

        Raises:
            StoreFault: the picture is too old to be believed.
        """
        self.believe()
        now = self._clock.now_ms()
        return any(token.agent == agent and is_live(token, now) for token in self._tokens.values())

    def find(self, token_id: str) -> TokenRecord | None:
        """Return a token by id, revoked and expired ones too.

        Raises:
            StoreFault: the picture is too old to be believed.
        """
        self.believe()
        return self._tokens.get(token_id)
