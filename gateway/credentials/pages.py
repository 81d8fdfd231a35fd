"""The pages on which users let the gateway act for them: whom one is for, who has opened it, and what came of it.

Whoever opens a page is nobody until they have shown to be the user whose call asked for it, and from then on it is one
browser that goes on: else an attacker could have a victim's account connected to a name of their own. Everything is
kept in memory and for ten minutes; after a restart users start again.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from gateway.connector.credential import Behalf
from gateway.credentials.accounts import Account
from gateway.credentials.consent import Consent
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.flow import ConsentDenied, Login, Profile
from gateway.credentials.keeper import Book, Keeper
from gateway.credentials.site import Site
from gateway.model.clock import Clock
from gateway.model.errors import IdentityFault, StoreFault
from gateway.store.ports import EventKind, Record

__all__ = ["AGAIN", "PATH", "Asker", "NoPage", "PageRefused", "Pages", "Pending", "Recognises", "Visit", "said_no"]

_LIFE_MS: Final = 600_000
_REFUSED_MS: Final = 60_000
_MOST: Final = 1_000
_MOST_LINKS: Final = 8
_MOST_TRIES: Final = 5
PATH: Final = "/-/consent"
"""Where the pages are."""

AGAIN: Final = "Go back to your assistant and repeat what you asked for: it gives you a new link."
"""What a person does whose page is of no use any more."""

_OVER: Final = (
    "This page is over: a link is good for one answer, for ten minutes, and until the gateway is started again. "
    f"{AGAIN}"
)


class NoPage(Exception):
    """No page can be offered; the text says why."""


class PageRefused(Exception):
    """What a browser asks for is not to be had: the text, for a person, says what to do; `status` is HTTP's."""

    def __init__(self, text: str, status: int = 403) -> None:
        super().__init__(text)
        self.status = status


class Recognises(Protocol):
    """Tells whether somebody is a user (name, issuer). What proves nothing raises `IdentityFault`."""

    def login(self, issuer: str) -> Profile | None:
        """Return where the users of an issuer log in."""
        ...

    def is_person(self, user: tuple[str, str]) -> bool:
        """Tell whether a user is one of the configured people."""
        ...

    async def by_token(self, bearer: str, user: tuple[str, str]) -> str:
        """Return which person a token shows to be the user."""
        ...

    async def by_login(self, id_token: str, user: tuple[str, str], nonce: str) -> None:
        """Return if an ID token that answers `nonce` is the user's."""
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Whose call wants a consent: the agent, its client's session, and whether it is of this machine's own user."""

    agent: str
    session: str | None = None
    local: bool = False


@dataclass(slots=True, eq=False)
class Pending:
    """A consent that a user is asked for, once for all their calls. `ways` are those in which they may be recognised.

    `agent` made the first of the calls, `sessions` are the client sessions that were sent here, `tries` counts those
    who were not the user. `given` is None until the user has answered, `where` is where they said no; `ending` says
    that their consent is being kept.
    """

    id: str
    server: str
    behalf: Behalf
    ways: tuple[str, ...]
    until_ms: int
    agent: str
    sessions: set[str] = field(default_factory=set)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    given: bool | None = None
    where: str = ""
    ending: bool = False
    tries: int = 0


@dataclass(slots=True, eq=False)
class Visit:
    """One link to a page, which the first browser that goes on from it has for itself."""

    link: str
    pending: Pending
    browser: str = ""
    step: Login | Consent | None = None
    shown: str = ""


class Pages:
    """Offers pages to users without a credential, and takes them through. `told` hears which sessions' page is done."""

    def __init__(self, keeper: Keeper, book: Book, recognises: Recognises, clock: Clock) -> None:
        self.told: Callable[[frozenset[str], Mapping[str, Any]], None] = lambda sessions, about: None
        self._keeper = keeper
        self._book = book
        self._recognises = recognises
        self._clock = clock
        self.site = Site()
        self._pending: dict[str, Pending] = {}
        self._visits: dict[str, Visit] = {}
        self._states: dict[str, Visit] = {}

    async def offer(self, server: str, behalf: Behalf, asker: Asker) -> Mapping[str, Any]:
        """Return where a user goes to consent, as what a client is asked in URL mode.

        Raises:
            NoPage: there is no safe way.
            StoreFault: it cannot be put on record.
        """
        self._forget()
        behalf = self._keeper.concerning(server, behalf)
        ways = self._ways(behalf, local=asker.local)
        of_user = [each for each in self._pending.values() if (each.server, each.behalf) == (server, behalf)]
        declined = next((each for each in of_user if each.given is False), None)
        if declined is not None:
            raise NoPage(_told_no(declined, self._clock.now_ms()))
        pending = next((each for each in of_user if each.given is None and each.ways == ways), None)
        if pending is None:
            pending = await self._asked(server, behalf, ways, asker.agent)
        visit = next((each for each in self._visits.values() if each.pending is pending and not each.browser), None)
        if visit is None:
            visit = self._linked(pending)
        if asker.session:
            pending.sessions.add(asker.session)
        return {
            "mode": "url",
            "elicitationId": pending.id,
            "url": f"{self.site.base}{PATH}/{visit.link}",
            "message": f"The gateway needs {f'the account of {behalf.user}' if behalf.user else 'your account'} at "
            f"{server} for this call. Open the page, show who you are, and consent; then the call can be made.",
        }

    def find(self, link: str) -> Visit:
        """Return what a link leads to. Raises `PageRefused`."""
        self._forget()
        visit = self._visits.get(link)
        if visit is None:
            raise PageRefused(_OVER, 404)
        if visit.pending.tries >= _MOST_TRIES:
            raise PageRefused("Too many tried to pass for somebody else here. Wait ten minutes, then start again.")
        return visit

    def server_of(self, visit: Visit) -> str:
        """Return where the user's account is, for them to see."""
        oauth = self._keeper.oauth(visit.pending.server)
        return urlsplit(oauth.resource).netloc if oauth is not None else ""

    def login_of(self, visit: Visit) -> str:
        """Return the host where the user logs in, for them to see."""
        return urlsplit(visit.pending.behalf.issuer).netloc

    async def begin(self, visit: Visit, browser: str, way: str, bearer: str = "") -> str:
        """Go on in the browser that holds the secret `browser`; return the URL where it goes next.

        Raises:
            PageRefused: another browser has the page, or whoever sits there did not show to be the user.
            GatewayError: it cannot be done now.
        """
        pending = visit.pending
        if way not in pending.ways:
            raise PageRefused("The gateway does not recognise people in this way.", 400)
        if visit.browser and not hmac.compare_digest(visit.browser, _digest(browser)):
            raise PageRefused(f"This page is open in another browser. Go on there. Or: {AGAIN}")
        shown = {"local": "local user"}.get(way, "")
        if way == "token":
            shown = f"token of {await self._by_token(pending, bearer)}"
        visit.browser, visit.shown = _digest(browser), shown
        if way == "login":
            return self._send(visit, await self._login(pending.behalf.issuer))
        return await self._consent(visit)

    async def back(self, came: Mapping[str, str], browser_of: Callable[[Visit], str]) -> tuple[Visit, str]:
        """Take what came to the redirect URI; return the visit, and the URL where it goes next, "" when it is done.

        `browser_of` tells which secret the browser holds for a visit.

        Raises:
            PageRefused: it is no answer to what was asked, of this browser; or not of the user; or it is a refusal.
            GatewayError: it cannot be done now.
        """
        self._forget()
        visit = self._states.pop(came.get("state", ""), None)
        if visit is None or visit.step is None:
            raise PageRefused(_OVER, 404)
        step, visit.step = visit.step, None
        if not hmac.compare_digest(visit.browser, _digest(browser_of(visit))):
            await self._note(visit.pending, "consent page refused", why="another browser came back")
            raise PageRefused(f"This was begun in another browser, so nothing was connected. {AGAIN}")
        try:
            if isinstance(step, Consent):
                await self._given(visit, await step.given(came), step.scopes)
                return visit, ""
            await self._by_login(visit, step, await step.given(came))
        except ConsentDenied:
            if isinstance(step, Consent):
                await self.refuse(visit.pending, "at the authorization server")
            raise PageRefused(said_no(visit.pending), 200) from None
        except (GrantRefused, CredentialFault) as refused:
            await self._note(visit.pending, "consent page refused", why=str(refused))
            raise PageRefused(f"Nothing was connected: {refused}. {AGAIN}", 502) from None
        return visit, await self._consent(visit)

    async def refuse(self, pending: Pending, where: str) -> None:
        """Put on record that the user does not consent; for a minute they are not asked again."""
        if pending.given is None and not pending.ending:
            await self._note(pending, "consent refused", where=where)
            pending.until_ms = min(pending.until_ms, self._clock.now_ms() + _REFUSED_MS)
            pending.where = where
            self._end(pending, given=False)

    async def declined(self, page: str) -> None:
        """Take a client's word that its user does not want to go to the page of an elicitation."""
        pending = self._pending.get(page)
        if pending is not None:
            await self.refuse(pending, "in the client")

    async def settled(self, page: str, wait_s: float) -> None:
        """Wait for what becomes of a page, so long at most."""
        pending = self._pending.get(page)
        if pending is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await pending.over.wait()

    def stop(self) -> None:
        """Have nobody wait any longer for what becomes of a page: the gateway stops."""
        for pending in self._pending.values():
            pending.over.set()

    def _ways(self, behalf: Behalf, *, local: bool) -> tuple[str, ...]:
        if not self.site.base:
            raise NoPage("no page is offered for it: the gateway has no `server.public_url` with https")
        if not behalf.user:
            if local and self.site.is_local:
                return ("local",)
            raise NoPage("no page is offered for it: the account is the gateway's own, which its operator connects")
        user = behalf.user, behalf.issuer
        can = {"login": self._recognises.login(behalf.issuer) is not None, "token": self._recognises.is_person(user)}
        ways = tuple(way for way, is_there in can.items() if is_there)
        if not ways:
            raise NoPage(
                f"no page is offered for it, because nothing is configured by which {behalf.user} could be recognised "
                "there: `identity.logins`, or a person under `people:`"
            )
        return ways

    def _linked(self, pending: Pending) -> Visit:
        """Return a new link for it, in the place of the oldest of too many."""
        links = [link for link, visit in self._visits.items() if visit.pending is pending]
        for link in links[: 1 - _MOST_LINKS]:
            del self._visits[link]
        visit = Visit(secrets.token_urlsafe(32), pending)
        self._visits[visit.link] = visit
        return visit

    async def _asked(self, server: str, behalf: Behalf, ways: tuple[str, ...], agent: str) -> Pending:
        if len(self._pending) >= _MOST:
            raise NoPage("no page is offered for it now: too many users are asked at once")
        until_ms = self._clock.now_ms() + _LIFE_MS
        pending = Pending(f"consent_{secrets.token_hex(12)}", server, behalf, ways, until_ms, agent)
        self._pending[pending.id] = pending
        try:
            await self._note(pending, "consent asked", ways=list(ways))
        except StoreFault:
            del self._pending[pending.id]
            raise
        return pending

    async def _login(self, issuer: str) -> Login:
        profile = self._recognises.login(issuer)
        if profile is None:
            raise PageRefused("Nobody logs in there any more.")
        return await Login.at(profile, issuer, (self._redirect, self._clock))

    async def _consent(self, visit: Visit) -> str:
        oauth = self._keeper.oauth(visit.pending.server)
        if oauth is None:
            raise PageRefused(f"Users connect no accounts to {visit.pending.server} any more.", 404)
        try:
            asked = await Consent.asked(oauth, self._redirect, self._keeper.vault, self._clock)
        except (GrantRefused, CredentialFault) as refused:
            raise PageRefused(f"Nobody can be asked now: {refused}.", 502) from None
        return self._send(visit, asked)

    def _send(self, visit: Visit, step: Login | Consent) -> str:
        for state in [state for state, each in self._states.items() if each is visit]:
            del self._states[state]
        visit.step = step
        self._states[step.flow.state] = visit
        return step.url

    @property
    def _redirect(self) -> str:
        return f"{self.site.base}{PATH}/back"

    async def _by_token(self, pending: Pending, bearer: str) -> str:
        try:
            return await self._recognises.by_token(bearer, (pending.behalf.user, pending.behalf.issuer))
        except IdentityFault as fault:
            raise await self._stranger(pending, fault) from None

    async def _by_login(self, visit: Visit, step: Login, id_token: str) -> None:
        behalf = visit.pending.behalf
        try:
            await self._recognises.by_login(id_token, (behalf.user, behalf.issuer), step.nonce)
        except IdentityFault as fault:
            visit.browser = ""  # the link is still good for the user
            raise await self._stranger(visit.pending, fault) from None
        visit.shown = f"login at {behalf.issuer}"

    async def _stranger(self, pending: Pending, fault: IdentityFault) -> PageRefused:
        pending.tries += 1
        await self._note(pending, "consent page refused", why=f"not shown to be the user: {fault.detail}")
        return PageRefused(
            f"This page is for {pending.behalf.user} only, and you did not show to be them, so nothing was connected. "
            "If somebody else sent you the link, tell whoever runs this gateway."
        )

    async def _given(self, visit: Visit, account: Account, asked: Sequence[str]) -> None:
        pending = visit.pending
        if pending.given is not None or pending.ending:
            raise PageRefused(f"This has been answered already. {AGAIN}", 409)
        facts = {"as": account.issuer, "client": account.client_id, "scopes": list(account.token.scopes or asked)}
        pending.ending = True
        try:
            await self._note(pending, "credential connected", **facts, shown_by=visit.shown)
            await self._kept(pending, account)
        finally:
            pending.ending = False
        self._end(pending, given=True)

    async def _kept(self, pending: Pending, account: Account) -> None:
        try:
            await self._keeper.connected(pending.server, pending.behalf, account)
        except (GrantRefused, CredentialFault):
            await self._note(pending, "credential disconnected", why="it could not be kept")
            raise

    def _end(self, pending: Pending, *, given: bool) -> None:
        pending.given = given
        pending.over.set()
        self._drop(lambda each: each is pending)
        self.told(frozenset(pending.sessions), {"elicitationId": pending.id})

    def _forget(self) -> None:
        """Let go of what has had its time."""
        now = self._clock.now_ms()
        late = [page for page, pending in self._pending.items() if now >= pending.until_ms]
        for page in late:
            self._pending.pop(page).over.set()
        if late:
            self._drop(lambda each: each.id not in self._pending)

    def _drop(self, is_over: Callable[[Pending], bool]) -> None:
        for visits in (self._visits, self._states):
            for key in [key for key, visit in visits.items() if is_over(visit.pending)]:
                del visits[key]

    async def _note(self, pending: Pending, what: str, **more: Any) -> None:
        about = {"what": what, "server": pending.server, "by": "consent page", "elicitation": pending.id, **more}
        user = pending.behalf.user
        await self._book.record(Record("", self._clock.now_ms(), "", pending.agent, user, "", about, EventKind.ADMIN))


def said_no(pending: Pending) -> str:
    """Return what a user reads who does not consent: what does not happen now, and how they are asked again."""
    return (
        f"You said no, so {pending.agent} does not get to use your account at {pending.server}. You can close this "
        f"page. Did you mean yes? Wait a minute. {AGAIN}"
    )


def _told_no(pending: Pending, now_ms: int) -> str:
    """Return what the agent is told whose user said no: to what, and from when on they may be asked again."""
    user = pending.behalf.user or "the user"
    return (
        f"no page is offered for it now: {user} was asked for their consent that the gateway uses their account at "
        f"{pending.server}, and said no {pending.where}. Leave it at that unless they want it after all: a call in "
        f"{-(-(pending.until_ms - now_ms) // 1000)} seconds or later asks them again"
    )


def _digest(browser: str) -> str:
    return hashlib.sha256(browser.encode()).hexdigest()
