"""People on the gateway's own pages: who has shown in which browser who they are, and for how long that holds.

A browser is known by a secret in its cookie, of which only the digest is kept, in memory: after a restart people show
again who they are.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.flow import Login, Profile
from gateway.credentials.keeper import Book
from gateway.credentials.pages import PageRefused
from gateway.credentials.site import Site
from gateway.model.clock import Clock
from gateway.model.errors import IdentityFault
from gateway.store.ports import EventKind, Record

__all__ = ["BACK", "PATH", "KnowsPeople", "Visitor", "Visitors"]

PATH: Final = "/-/approve"
"""Where the pages are: the list of what waits, and below it each approval by its id."""

BACK: Final = f"{PATH}/back"
"""Where issuers send browsers back to: a redirect URI of the gateway's client there."""

_LONGEST_MS: Final = 8 * 3_600_000
_IDLE_MS: Final = 3_600_000
_LOGIN_MS: Final = 600_000
_MOST: Final = 1_000
_STRANGER: Final = "That shows none of the people whom this gateway knows. Nothing was done."
_LATE: Final = "This login has had its time. Open the link again."


class KnowsPeople(Protocol):
    """Tells which of the configured people somebody is. What proves nothing raises `IdentityFault`."""

    def issuers(self) -> Sequence[str]:
        """Return where people can log in."""
        ...

    def login(self, issuer: str) -> Profile | None:
        """Return who the gateway is at an issuer."""
        ...

    async def person_of_token(self, bearer: str) -> str:
        """Return whose token it is."""
        ...

    async def person_of_login(self, id_token: str, issuer: str, nonce: str) -> tuple[str, Callable[[], Awaitable[str]]]:
        """Return whose login it is, and what tells whether it still is theirs."""
        ...


@dataclass(slots=True, eq=False)
class Visitor:
    """One person in one browser. `shown` says how they showed it; a form carries `form_key` to be theirs."""

    person: str
    shown: str
    until_ms: int
    idle_ms: int
    still: Callable[[], Awaitable[str]] = field(repr=False)
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def sent(self, form_key: str) -> bool:
        """Tell whether a form was this visitor's page's."""
        return hmac.compare_digest(form_key.encode(), self.form_key.encode())


@dataclass(frozen=True, slots=True, eq=False)
class _Leaving:
    """A browser that was sent to log in, and where it goes after that."""

    login: Login
    issuer: str
    browser: str
    onward: str
    until_ms: int


class Visitors:
    """Everybody who has shown who they are, the latest thousand."""

    def __init__(self, knows: KnowsPeople, site: Site, book: Book, clock: Clock) -> None:
        self.site = site
        self._book = book
        self._knows = knows
        self._clock = clock
        self._here: dict[str, Visitor] = {}
        self._leaving: dict[str, _Leaving] = {}

    def issuers(self) -> Sequence[str]:
        """Return where people can log in."""
        return self._knows.issuers()

    async def find(self, browser: str) -> Visitor | None:
        """Return who sits at a browser, if that holds still. Raises `StoreFault`: it cannot be checked."""
        key, now = _digest(browser), self._clock.now_ms()
        visitor = self._here.get(key)
        if visitor is None:
            return None
        try:
            holds = now < min(visitor.until_ms, visitor.idle_ms) and await visitor.still() == visitor.person
        except IdentityFault:
            holds = False
        if not holds:
            self._here.pop(key, None)
            return None
        visitor.idle_ms = now + _IDLE_MS
        return visitor

    async def by_token(self, bearer: str) -> str:
        """Take a person's own token; return the secret of their browser from now on.

        Raises:
            PageRefused: it is nobody's.
            StoreFault: it cannot be checked.
        """
        still = partial(self._knows.person_of_token, bearer)
        try:
            return self._enter(await still(), "token", still)
        except IdentityFault as fault:
            raise await self._stranger("token", fault.detail) from None

    async def leave_to(self, issuer: str, onward: str) -> tuple[str, str]:
        """Return where a browser goes to log in, and its secret till then; after that it goes `onward`.

        Raises:
            PageRefused: nobody logs in there.
            GatewayError: it cannot be done now.
        """
        profile = self._knows.login(issuer)
        if profile is None:
            raise PageRefused("Nobody logs in there.", 400)
        login = await Login.at(profile, issuer, (f"{self.site.base}{BACK}", self._clock))
        browser = secrets.token_urlsafe(32)
        until = self._clock.now_ms() + _LOGIN_MS
        _keep(self._leaving, login.flow.state, _Leaving(login, issuer, _digest(browser), onward, until))
        return login.url, browser

    async def back(self, came: Mapping[str, str], browser: str) -> tuple[str, str]:
        """Take a browser that comes back from its login; return its new secret, and where it goes on to.

        Raises:
            PageRefused: it was not sent there, or the login shows nobody.
            GatewayError: it cannot be done now.
        """
        left = self._leaving.pop(came.get("state", ""), None)
        if left is None or self._clock.now_ms() >= left.until_ms:
            raise PageRefused(_LATE, 404)
        if not hmac.compare_digest(left.browser, _digest(browser)):
            await self._stranger(f"login at {left.issuer}", "another browser came back")
            raise PageRefused("This login was begun in another browser, so it counts for nothing here.")
        try:
            id_token = await left.login.given(came)
            person, still = await self._knows.person_of_login(id_token, left.issuer, left.login.nonce)
        except IdentityFault as fault:
            raise await self._stranger(f"login at {left.issuer}", fault.detail) from None
        except (GrantRefused, CredentialFault) as refused:
            raise PageRefused(f"You are not logged in: {refused}. Open the link again.") from None
        return self._enter(person, f"login at {left.issuer}", still), left.onward

    def forget(self, browser: str) -> None:
        """Have nobody sit at a browser any more."""
        self._here.pop(_digest(browser), None)

    async def _stranger(self, shown: str, why: str) -> PageRefused:
        """Put on record that somebody did not show to be one of the people. Raises `StoreFault`."""
        about = {"what": "approval page refused", "by": "approval page", "shown": shown, "why": why}
        await self._book.record(Record("", self._clock.now_ms(), "", "", "", "", about, EventKind.ADMIN))
        return PageRefused(_STRANGER)

    def _enter(self, person: str, shown: str, still: Callable[[], Awaitable[str]]) -> str:
        browser, now = secrets.token_urlsafe(32), self._clock.now_ms()
        _keep(self._here, _digest(browser), Visitor(person, shown, now + _LONGEST_MS, now + _IDLE_MS, still))
        return browser


def _keep(kept: dict[str, Any], key: str, value: Any) -> None:
    """Keep one more, in the place of the oldest of too many."""
    kept[key] = value
    while len(kept) > _MOST:
        del kept[next(iter(kept))]


def _digest(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()
