"""People on the gateway's own pages: who has shown in which browser who they are, and for how long that holds.

A browser is known by a secret in its cookie, of which only the digest is kept, in memory: after a restart people show
again who they are. Of one that is sent to log in nothing is kept here: anybody may have it sent, as often as they
like, and would push out whoever is logging in just then. It keeps that itself, in a cookie for each login.
"""

import asyncio
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from gateway.credentials.client import TokenEndpoint
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.flow import CodeFlow, Login, Profile, logins_at
from gateway.credentials.keeper import Book
from gateway.credentials.pages import PageRefused
from gateway.credentials.site import Site
from gateway.model.clock import Clock
from gateway.model.errors import IdentityFault
from gateway.store.ports import EventKind, Record

__all__ = ["BACK", "LOGIN_S", "PATH", "KnowsPeople", "Visitor", "Visitors"]

PATH: Final = "/-/approve"
"""Where the pages are: the list of what waits, and below it each approval by its id."""

BACK: Final = f"{PATH}/back"
"""Where issuers send browsers back to: a redirect URI of the gateway's client there."""

_LONGEST_MS: Final = 8 * 3_600_000
_IDLE_MS: Final = 3_600_000
LOGIN_S: Final = 600
"""How long a login may take."""

_ISSUER_MS: Final = 300_000
"""How long what an issuer says of itself is believed: strangers can have it asked no more often."""

_MOST_EACH: Final = 16
"""Browsers of one person: who logs in again and again pushes out themselves, and nobody else."""

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


@dataclass(frozen=True, slots=True)
class _Leaving:
    """One login: `text` is what the browser keeps of it, `tag` what only the gateway can make of that, and `until`."""

    text: str
    tag: str
    until_ms: int

    @property
    def name(self) -> str:
        """What the text is kept under: each tab has its own."""
        return self.tag[:12]


class Visitors:
    """Everybody who has shown who they are, each in their latest browsers."""

    def __init__(self, knows: KnowsPeople, site: Site, book: Book, clock: Clock) -> None:
        self.site = site
        self._book = book
        self._knows = knows
        self._clock = clock
        self.heeds: Callable[[str], bool] = lambda _: True
        """Tells whether one more of what nobody knows, from an address, is put on record."""
        self._here: dict[str, Visitor] = {}
        self._key: Final = secrets.token_bytes(32)
        self._issuers: dict[tuple[str, str, str], tuple[TokenEndpoint, int]] = {}
        self._asking = asyncio.Lock()

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

    async def by_token(self, bearer: str, address: str) -> str:
        """Take a person's own token, sent from an address; return the secret of their browser from now on.

        Raises:
            PageRefused: it is nobody's.
            StoreFault: it cannot be checked.
        """
        still = partial(self._knows.person_of_token, bearer)
        try:
            return self._enter(await still(), "token", still)
        except IdentityFault as fault:
            raise await self._stranger("token", fault.detail, address) from None

    async def leave_to(self, issuer: str, onward: str) -> tuple[str, tuple[str, str]]:
        """Return where a browser goes to log in, and what it keeps till then under which name.

        After that it goes `onward`.

        Raises:
            PageRefused: nobody logs in there.
            GatewayError: it cannot be done now.
        """
        text = f"{secrets.token_urlsafe(32)} {issuer} {onward}".encode()
        kept, until_ms = urlsafe_b64encode(text).decode().rstrip("="), self._clock.now_ms() + LOGIN_S * 1000
        left = _Leaving(kept, self._drawn(f"login {until_ms} {kept}"), until_ms)
        return (await self._login(issuer, left)).url, (left.name, left.text)

    async def back(self, came: Mapping[str, str], kept: Callable[[str], str], address: str) -> tuple[str, str, str]:
        """Take a browser that comes back from its login; return its new secret, and where it goes on to.

        `kept` tells what it has kept under a name; last comes the name of what it need not keep any longer.

        Raises:
            PageRefused: it was not sent there, or the login shows nobody.
            GatewayError: it cannot be done now.
        """
        left = self._left(came.get("state", ""), kept)
        if left is None or self._clock.now_ms() >= left.until_ms:
            raise PageRefused(_LATE, 404)
        if not hmac.compare_digest(left.tag, self._drawn(f"login {left.until_ms} {left.text}")):
            await self._stranger("login", "another browser came back", address)
            raise PageRefused("This login was begun in another browser, so it counts for nothing here.")
        _, issuer, onward = urlsafe_b64decode(f"{left.text}==").decode().split(" ", 2)
        try:
            login = await self._login(issuer, left)
            person, still = await self._knows.person_of_login(await login.given(came), issuer, login.nonce)
        except IdentityFault as fault:
            raise await self._stranger(f"login at {issuer}", fault.detail, address) from None
        except (GrantRefused, CredentialFault) as refused:
            raise PageRefused(f"You are not logged in: {refused}. Open the link again.") from None
        return self._enter(person, f"login at {issuer}", still), onward, left.name

    async def _login(self, issuer: str, left: _Leaving) -> Login:
        """Return the login as which a browser left. Raises as `leave_to`."""
        profile = self._knows.login(issuer)
        if profile is None:
            raise PageRefused("Nobody logs in there.", 400)
        state = f"{left.until_ms}.{left.tag}.{self._drawn(f'state {left.until_ms} {left.tag}')}"
        flow = CodeFlow(
            await self._endpoint(profile, issuer),
            f"{self.site.base}{BACK}",
            (state, self._drawn(f"verifier {left.tag}")),
        )
        return Login(flow, self._drawn(f"nonce {left.tag}"))

    def _left(self, state: str, kept: Callable[[str], str]) -> _Leaving | None:
        """Return the login that a state is of, with what the browser has kept of it; None where it is of none."""
        until, _, rest = state.partition(".")
        tag, _, mark = rest.partition(".")
        if not hmac.compare_digest(mark.encode(), self._drawn(f"state {until} {tag}").encode()):
            return None
        left = _Leaving("", tag, int(until))
        return replace(left, text=kept(left.name))

    async def _endpoint(self, profile: Profile, issuer: str) -> TokenEndpoint:
        known = issuer, profile.client_id, profile.secret
        async with self._asking:  # of many at once, one asks
            found, until_ms = self._issuers.get(known, (None, 0))
            if found is None or self._clock.now_ms() >= until_ms:
                found = await logins_at(profile, issuer, self._clock)
                now = self._clock.now_ms()
                fresh = {name: each for name, each in self._issuers.items() if now < each[1]}
                self._issuers = {**fresh, known: (found, now + _ISSUER_MS)}
        return found

    def _drawn(self, what: str) -> str:
        """Return a secret that only this process can make of `what`."""
        return urlsafe_b64encode(hmac.digest(self._key, what.encode(), "sha256")).decode().rstrip("=")

    def forget(self, browser: str) -> None:
        """Have nobody sit at a browser any more."""
        self._here.pop(_digest(browser), None)

    async def _stranger(self, shown: str, why: str, address: str) -> PageRefused:
        """Put on record that somebody did not show to be one of the people. Raises `StoreFault`."""
        about = {"what": "approval page refused", "by": "approval page", "shown": shown, "why": why}
        if self.heeds(address):
            await self._book.record(Record("", self._clock.now_ms(), "", "", "", "", about, EventKind.ADMIN))
        return PageRefused(_STRANGER)

    def _enter(self, person: str, shown: str, still: Callable[[], Awaitable[str]]) -> str:
        browser, now = secrets.token_urlsafe(32), self._clock.now_ms()
        self._here[_digest(browser)] = Visitor(person, shown, now + _LONGEST_MS, now + _IDLE_MS, still)
        for each in [key for key, visitor in self._here.items() if visitor.person == person][:-_MOST_EACH]:
            del self._here[each]
        return browser


def _digest(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()
