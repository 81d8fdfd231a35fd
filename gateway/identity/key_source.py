"""An issuer's public keys: cached, renewed, and never a way to make the gateway storm the issuer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.identity.config import JwtAuth
from gateway.identity.key_fetch import KeysUnavailable, fetch_keys
from gateway.model.clock import Clock

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["COOL_DOWN_S", "FRESH_S", "STALE_S", "KeyRing", "KeySource"]

FRESH_S: Final = 300.0
STALE_S: Final = 3600.0
COOL_DOWN_S: Final = 10.0
_MAX_KEYS: Final = 100

Fetch = Callable[[], Awaitable[Sequence[Any]]]


class KeySource:
    """The keys of one issuer.

    Keys are used for FRESH_S seconds, then read again; while that fails, for STALE_S seconds and no longer. A key id
    that is not known makes the source look again. All of it at most once per COOL_DOWN_S seconds, one fetch at a time,
    in a task of its own: a caller who goes away does not stop it.
    """

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        from gateway.identity.jwt_keys import the_key  # PyJWT, which only a gateway needs that trusts an issuer

        self._the_key = the_key
        self._fetch = fetch
        self._clock = clock
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._failure = ""

    async def key(self, kid: str | None, algorithm: str) -> "PyJWK | None":
        """Return the key `kid` for `algorithm` (without `kid`: the only one that fits), or None where there is none.

        Raises:
            KeysUnavailable: the issuer's keys cannot be read and those known are too old.
        """
        if self._age() > FRESH_S:
            await self._renew()
        if self._age() > STALE_S:
            raise KeysUnavailable(self._failure or "the keys were not read yet")
        found = self._the_key(self._keys, kid, algorithm)
        if found is None:
            await self._renew()
            found = self._the_key(self._keys, kid, algorithm)
        return found

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _age(self) -> float:
        return self._clock.monotonic() - self._read_at

    async def _renew(self) -> None:
        if self._task is None or self._task.done():
            if self._clock.monotonic() - self._tried_at < COOL_DOWN_S:
                return
            self._tried_at = self._clock.monotonic()
            self._task = asyncio.create_task(self._read())
        await asyncio.shield(self._task)

    async def _read(self) -> None:
        began = self._clock.monotonic()
        try:
            keys = await self._fetch()
        except KeysUnavailable as error:
            self._failure = str(error)
            return
        self._keys = [key for key in keys[:_MAX_KEYS] if isinstance(key, dict)]
        self._read_at = began


class KeyRing:
    """One KeySource per issuer, kept across reloads of the configuration. Files are relative to `folder`."""

    def __init__(self, clock: Clock, folder: Path = Path()) -> None:
        self._clock = clock
        self._folder = folder
        self._sources: dict[tuple[str, str, str], KeySource] = {}

    def source(self, auth: JwtAuth) -> KeySource:
        """Return the keys `auth` trusts."""
        auth = auth.beside(self._folder)
        name = (auth.issuer, auth.jwks_url or "", str(auth.jwks_file or ""))
        if name not in self._sources:
            self._sources[name] = KeySource(lambda: fetch_keys(auth), self._clock)
        return self._sources[name]

    async def close(self) -> None:
        """Stop every fetch under way."""
        for source in self._sources.values():
            await source.close()
