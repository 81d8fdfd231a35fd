"""The pages on which people decide about approvals: what waits for them, and each call whole, once they showed who."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.approval.approvals import Wanted
from gateway.approval.values import Approval, ApprovalRefused
from gateway.codec import CodecError, parse
from gateway.credentials.pages import PageRefused
from gateway.credentials.visitors import BACK, LOGIN_S, PATH, Visitor, Visitors
from gateway.ledger.trace import latest_lines
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError
from gateway.pipeline.desk import Desk
from gateway.store.ports import EventFilter, Ledger
from gateway.transport.approval_html import Sheet, queue_html, sheet_html, sign_in_html
from gateway.transport.approvals import STATUS
from gateway.transport.page import form_of, onward, page

__all__ = ["ApprovalPages"]

_MOST_BYTES: Final = 1024 * 1024
_OF_A_STRANGER: Final = 16 * 1024
"""Bytes that are read of somebody who has not shown who they are: reading them keeps all others waiting."""

_STEPS: Final = 20
_SIGN_IN: Final = "Show who you are to see what waits for you to decide."


class ApprovalPages:
    """`GET` and `POST /-/approve` and `/-/approve/ID`, and `GET /-/approve/back`, where issuers send browsers.

    Whoever has not shown who they are is told nothing, not even whether there is such an approval.
    """

    def __init__(self, desk: Desk, visitors: Visitors, ledger: Ledger, clock: Clock) -> None:
        self._desk = desk
        self._visitors = visitors
        self._ledger = ledger
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route(BACK, self.back, methods=["GET"]),
            Route(PATH, self.listed, methods=["GET"]),
            Route(PATH, self.sent, methods=["POST"]),
            Route(f"{PATH}/{{approval}}", self.shown, methods=["GET"]),
            Route(f"{PATH}/{{approval}}", self.sent, methods=["POST"]),
        ]

    async def listed(self, request: Request) -> Response:
        """Show what waits, first what this person may decide."""

        async def work(visitor: Visitor) -> Response:
            found = await self._desk.page(Wanted(before=request.query_params.get("before", "")))
            rows = [(each, self._no(visitor, each)) for each in found.found]
            return page("What waits for people", queue_html(rows, found.next, self._clock.now_ms(), visitor))

        return await self._known(request, work)

    async def shown(self, request: Request) -> Response:
        """Show one approval, whole."""

        async def work(visitor: Visitor) -> Response:
            approval = await self._desk.find(request.path_params["approval"])
            sheet = Sheet(
                approval,
                self._clock.now_ms(),
                self._desk.why_not(visitor.person, approval),
                self._desk.why_not(visitor.person, approval, refusing=True),
                await self._before_edit(approval),
                await latest_lines(self._ledger, EventFilter(run_id=approval.run, limit=_STEPS))
                if approval.run
                else (),
            )
            return page(*await asyncio.to_thread(sheet_html, sheet, visitor))  # it may be megabytes

        return await self._known(request, work)

    async def sent(self, request: Request) -> Response:
        """Take who somebody is, or what they decide; then show the page anew."""

        async def work() -> Response:
            known = await self._visitors.find(self._browser(request))
            said = await form_of(request, _OF_A_STRANGER if known is None else _MOST_BYTES)
            here = _here(request)
            if said.get("deed") == "token":
                token = said.get("token", "").strip()
                return self._marked(_again(here), await self._visitors.by_token(token, _address(request)))
            if said.get("deed") == "login":
                url, (name, kept) = await self._visitors.leave_to(said.get("issuer", ""), here)
                return self._given(onward(url), self._of_login(name), kept, LOGIN_S)
            return await self._known(request, lambda visitor: self._deed(request, visitor, said))

        return await self._answer(work)

    async def back(self, request: Request) -> Response:
        """Take a browser that comes back from where it logged in."""

        async def work() -> Response:
            pairs = parse_qsl(request.scope["query_string"].decode("latin-1"))
            if len({name for name, _ in pairs}) != len(pairs):
                raise PageRefused("This is not what was asked for.", 400)
            browser, here, name = await self._visitors.back(
                dict(pairs), lambda name: request.cookies.get(self._of_login(name), ""), _address(request)
            )
            return self._marked(self._given(_again(here), self._of_login(name), "", 0), browser)

        return await self._answer(work)

    async def _deed(self, request: Request, visitor: Visitor, said: Mapping[str, str]) -> Response:
        if not visitor.sent(said.get("key", "")):
            raise PageRefused("This form is not of a page of yours that is still good. Open the link again.")
        if said.get("deed") == "leave":
            self._visitors.forget(self._browser(request))
            return _again(request.url.path)
        desk, by, which = (
            self._desk.through(f"page ({visitor.shown})"),
            visitor.person,
            request.path_params.get("approval", ""),
        )
        why = said.get("why", "").strip()
        match said.get("deed"):
            case "approve":
                await desk.approve(by, which, why)
            case "deny" if why:
                await desk.deny(by, which, why)
            case "take":
                await desk.assign(by, which, by)
            case "withdraw":
                await desk.withdraw(by, which)
            case "edit":
                which = (await desk.edit(by, which, _arguments(said.get("arguments", "")), why)).id
            case _:
                raise PageRefused("Say what is to be done with it; and why not, where you refuse it.", 400)
        return _again(f"{PATH}/{which}")

    def _no(self, visitor: Visitor, approval: Approval) -> str:
        pending = approval.is_pending(self._clock.now_ms())
        return self._desk.why_not(visitor.person, approval) if pending else "It is approved."

    async def _before_edit(self, approval: Approval) -> Approval | None:
        edited_from = approval.asked.get("edited_from", "")
        return await self._desk.find(edited_from) if edited_from else None

    async def _known(self, request: Request, work: Callable[[Visitor], Awaitable[Response]]) -> Response:
        async def known() -> Response:
            visitor = await self._visitors.find(self._browser(request))
            if visitor is None and self._is_beside(request):
                return _again(f"{self._visitors.site.base}{_here(request)}")
            if visitor is None:
                return page("Who are you?", sign_in_html(self._visitors.issuers(), _SIGN_IN))
            await self._desk.known(visitor.person)
            return await work(visitor)

        return await self._answer(known)

    async def _answer(self, work: Callable[[], Awaitable[Response]]) -> Response:
        if not self._visitors.site.base:
            return _refused("No page is shown: this gateway has no `server.public_url` with https.", 503)
        try:
            return await work()
        except PageRefused as refused:
            return _refused(str(refused), refused.status)
        except ApprovalRefused as refused:
            return _refused(str(refused), STATUS.get(refused.code, 400))
        except GatewayError as fault:
            return _refused(fault.message, 503)

    def _is_beside(self, request: Request) -> bool:
        """Whether a browser came under another name of this machine: from a login it comes back under ours.

        What it keeps of the login goes to the name it was kept for, and to no other.
        """
        site, host = self._visitors.site, request.headers.get("host", "").lower()
        return site.is_local and request.method == "GET" and f"http://{host}" != site.base

    @property
    def _cookie(self) -> str:
        return "__Host-toolgate-person" if self._visitors.site.is_secure else "toolgate-person"

    def _of_login(self, name: str) -> str:
        return f"{self._cookie}-{name}"

    def _browser(self, request: Request) -> str:
        return request.cookies.get(self._cookie, "")

    def _marked(self, response: Response, browser: str) -> Response:
        """Have the browser known again, by a secret that no other one has; links from elsewhere bring it along."""
        return self._given(response, self._cookie, browser)

    def _given(self, response: Response, name: str, value: str, lasts_s: int | None = None) -> Response:
        secure = self._visitors.site.is_secure
        path = "/" if secure else PATH  # without TLS, other servers of this machine would be sent it with every request
        response.set_cookie(name, value, lasts_s, path=path, secure=secure, httponly=True, samesite="lax")
        return response


def _refused(why: str, status: int) -> Response:
    return page("Not done", f'<p>{escape(why)}</p><p><a href="{PATH}">All that waits</a></p>', status)


def _here(request: Request) -> str:
    """Return the page that was asked for, and how far down the list."""
    before = request.query_params.get("before", "")
    return f"{request.url.path}?{urlencode({'before': before})}" if before else request.url.path


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _again(path: str) -> Response:
    return RedirectResponse(path, 303, {"Cache-Control": "no-store"})


def _arguments(text: str) -> Mapping[str, object]:
    try:
        value = parse(text.encode())
    except (CodecError, UnicodeEncodeError) as error:
        raise PageRefused(f"The arguments are no JSON: {error}. Nothing was done.", 400) from None
    if not isinstance(value, dict):
        raise PageRefused("The arguments are no JSON object. Nothing was done.", 400)
    return value
