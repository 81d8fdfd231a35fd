"""All of a gateway's credentials: one object for each, however many servers and tools share it."""

import asyncio
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.connector.credential import ITSELF, Behalf, Credential, Sought
from gateway.connector.target import Target
from gateway.credentials.accounts import Account, Accounts
from gateway.credentials.consent import keep
from gateway.credentials.holder import Holder
from gateway.credentials.life import Death, Life
from gateway.credentials.managed import Fixed, Managed
from gateway.credentials.oauth import OAuth
from gateway.credentials.sources import of_command, of_file
from gateway.credentials.token import Token
from gateway.credentials.vault import Vault
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault
from gateway.store.ports import EventKind, Record

__all__ = ["Book", "Hold", "Keeper"]

_LOG: Final = logging.getLogger(__name__)
_MOST_HOLDERS: Final = 4096
_LATEST: Final = 64
_OF_OAUTH: Final = frozenset({"client_credentials", "authorization_code", "token_exchange"})
Hold = Callable[[frozenset[str]], None]
"""Has these secrets, in place of those given before, kept out of whatever leaves the gateway."""


class Book(Protocol):
    """Where events are recorded."""

    def record(self, record: Record) -> Awaitable[None]:
        """Append an event."""
        ...


class Keeper:
    """Makes credentials, says when one dies, and brings it back when it was renewed.

    `folder` is the gateway's private one; files that a section names are relative to the folder it is in.
    """

    def __init__(self, folder: Path, clock: Clock, hold: Hold, book: Book | None = None) -> None:
        self.vault: Final = Vault(folder, os.environ)
        self._files = folder.parent
        self._accounts = Accounts(self.vault)
        self._clock = clock
        self._hold = hold
        self._book = book
        self._lives: dict[tuple[str, ...], Life] = {}
        self._holders: OrderedDict[tuple[str, ...], Holder] = OrderedDict()
        self._given: dict[str, Managed | Fixed] = {}
        self._latest: OrderedDict[str, None] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def credential(self, sought: Sought) -> Credential:
        """Return the credential that a server's section describes."""
        made: Managed | Fixed
        if sought.auth is None or sought.auth.type == "mtls":
            made = Fixed(sought, self._life_of_headers)
        else:
            made = Managed(sought, self._circle)
        self._given[sought.server] = made
        return made

    def follow(self, sought: Sought) -> None:
        """Go by a server's section as it is now: what is changed in it is shown from the next request on.

        A server that is reached elsewhere, or shown another kind of credential, changes with a restart: until then it
        is not shown what is meant for another place.
        """
        given = self._given.get(sought.server)
        if given is None or given.sought == sought or _fixture(given.sought) != _fixture(sought):
            return
        for life in self._lives.values():
            life.marks.pop(sought.server, None)
        given.sought = sought

    def concerning(self, server: str, behalf: Behalf) -> Behalf:
        """Return what of `behalf` makes a difference to a server. Raises `ConnectorFault`, as its credential does."""
        return self._given[server].concerning(behalf)

    def oauth(self, server: str) -> OAuth | None:
        """Return how a server's users are asked for their consent; None where they are not."""
        given = self._given.get(server)
        if given is None or given.sought.auth is None or given.sought.auth.type != "authorization_code":
            return None
        return OAuth(given.sought, self._accounts, self._clock, self._files)

    async def connected(self, server: str, behalf: Behalf, account: Account) -> None:
        """Use a user's account from now on. Raises `GrantRefused` and `CredentialFault` where it cannot be kept."""
        await keep(account, server, behalf, self.vault)
        for key, holder in self._holders.items():
            if key[2:5] == (server, behalf.user, behalf.issuer):
                holder.forget()

    def status(self) -> list[dict[str, Any]]:
        """Return the credentials that have been asked for, as JSON, without any value."""
        return [
            {
                "servers": sorted(life.marks),
                "kind": life.kind,
                "user": life.behalf.user,
                "state": "dead" if life.death else "in use",
                "since_ms": life.death.since_ms if life.death else None,
                "reason": life.death.reason if life.death else "",
                "fix": life.death.remedy if life.death else "",
            }
            for life in self._lives.values()
            if life.marks
        ]

    def _circle(self, sought: Sought) -> "_Circle":
        section = sought.auth
        digest = _digest(section.model_dump_json(), *_secrets_of(section), sought.ca_file or "")
        place = sought.url if section.type in _OF_OAUTH else Target.read(sought.url).origin
        server = sought.server if section.type == "authorization_code" else ""
        return _Circle(self, sought, (digest, place, server))

    def holder(self, sought: Sought, circle: tuple[str, ...], behalf: Behalf) -> Holder:
        """Return what holds the token of a circle for a behalf; the same one every time."""
        key = (*circle, behalf.user, behalf.issuer, _digest(behalf.proof.reveal()) if behalf.proof else "")
        holder = self._holders.get(key)
        if holder is None:
            life = self._life((*key, "token"), sought, behalf)
            life.is_consent = sought.auth.type == "authorization_code"
            client = self._life((*_registered(sought, circle), "client"), sought, ITSELF)
            holder = self._holders[key] = Holder(self._mint(sought, behalf), life, client, self._clock)
            self._make_room()
        self._holders.move_to_end(key)
        if sought.server not in holder.life.marks:
            for life in (holder.life, holder.client):
                self._share(life, sought.server)
        return holder

    async def close(self) -> None:
        """Leave nothing under way."""
        for holder in self._holders.values():
            await holder.close()
        if self._telling:
            await asyncio.wait(self._telling)

    def _life_of_headers(self, sought: Sought) -> Life:
        values = (f"{name}: {value.reveal()}" for name, value in sorted(sought.headers.items()))
        life = self._life((_digest(*values), Target.read(sought.url).origin), sought, ITSELF)
        self._share(life, sought.server)
        return life

    def _life(self, key: tuple[str, ...], sought: Sought, behalf: Behalf) -> Life:
        life = self._lives.get(key)
        if life is None:
            kind = sought.auth.type if sought.auth else "headers"
            life = self._lives[key] = Life(kind, behalf, self._clock, self._died)
        return life

    def _share(self, life: Life, server: str) -> None:
        life.marks[server] = (self.vault.mark(server), self.vault.mark(server, life.behalf.user, life.behalf.issuer))

    def _make_room(self) -> None:
        """Let go of the token that was not asked for for longest, with what is known of it."""
        if len(self._holders) > _MOST_HOLDERS:
            key, holder = self._holders.popitem(last=False)
            self._lives.pop((*key, "token"), None)
            closing = asyncio.ensure_future(holder.close())
            self._telling.add(closing)
            closing.add_done_callback(self._telling.discard)

    def _mint(self, sought: Sought, behalf: Behalf) -> Callable[[Token | None], Awaitable[Token]]:
        section = sought.auth
        oauth = OAuth(sought, self._accounts, self._clock, self._files) if section.type in _OF_OAUTH else None

        async def mint(last: Token | None) -> Token:
            if oauth is not None:
                token = await oauth.mint(behalf, last)
            elif section.type == "command":
                token = await of_command(section, os.environ, self._clock)
            else:
                token = await of_file(self._files / section.path, self._clock)
            self._keep_out(token)
            return token

        return mint

    def _keep_out(self, token: Token) -> None:
        """Have the latest tokens kept out of answers: a server may send back what it was shown."""
        for value in filter(None, (token.value, token.refresh)):
            self._latest[value] = None
            self._latest.move_to_end(value)
        while len(self._latest) > _LATEST:
            self._latest.popitem(last=False)
        self._hold(frozenset(self._latest))

    def _died(self, life: Life, death: Death) -> None:
        servers = ", ".join(sorted(life.marks))
        whose = f" of {life.behalf.user}" if life.behalf.user else ""
        _LOG.error("the credential%s for %s no longer works: %s; fix: %s", whose, servers, death.reason, death.remedy)
        if self._book is None:
            return
        body = {
            "what": "credential dead",
            "servers": sorted(life.marks),
            "kind": life.kind,
            "reason": death.reason,
            "remedy": death.remedy,
        }
        record = Record("", death.since_ms, "", "", life.behalf.user, "", body, EventKind.ADMIN)
        telling = asyncio.ensure_future(self._record(self._book, record))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _record(self, book: Book, record: Record) -> None:
        try:
            await book.record(record)
        except StoreFault as fault:
            _LOG.error("the death of a credential is not on record: %s", fault.message)  # it says why


class _Circle:
    """What shares one section at one place: each behalf has a token of its own in it."""

    def __init__(self, keeper: Keeper, sought: Sought, key: tuple[str, ...]) -> None:
        self._keeper = keeper
        self._sought = sought
        self._key = key

    def holder(self, behalf: Behalf) -> Holder:
        """Return what holds the token for a behalf."""
        return self._keeper.holder(self._sought, self._key, behalf)


def _registered(sought: Sought, circle: tuple[str, ...]) -> tuple[str, ...]:
    """Return what tells a client at an authorization server from others; one that is not named, each server finds."""
    section = sought.auth
    if getattr(section, "issuer", None) or getattr(section, "token_url", None):
        return circle[:1]
    return circle[0], Target.read(sought.url).origin, circle[2]


def _fixture(sought: Sought) -> tuple[str, str]:
    """Return what a live server's credential cannot change in."""
    return sought.url, sought.auth.type if sought.auth else ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _secrets_of(section: Any) -> tuple[str, ...]:
    secret = getattr(section, "client_secret", None)
    env: Mapping[str, Any] = getattr(section, "env", {})
    return (secret.reveal() if secret else "", *(f"{name}={value.reveal()}" for name, value in sorted(env.items())))
