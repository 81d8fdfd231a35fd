"""The pages beside `/mcp` on which a user lets the gateway act for them at a server."""

import secrets
from collections.abc import Awaitable, Callable
from html import escape
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.credentials.pages import AGAIN, PATH, PageRefused, Pages, Visit, said_no
from gateway.model.errors import GatewayError
from gateway.transport.page import form_of, onward, page

__all__ = ["ConsentPages"]

_MOST_BYTES: Final = 16 * 1024
_BUTTON: Final = {
    "local": "Continue",
    "login": "Log in at {issuer}",
    "token": "Continue with my token",
}
_ASKED: Final = (
    "<p>The agent <b>{agent}</b> needs the account{whose} at <b>{server}</b> ({at}). If you go on, you are asked "
    "there to let this gateway use it.</p><p>Go on only if you have just asked your assistant for something that "
    "needs it. Did somebody else send you this link? Then close the page.</p>"
)
_DONE: Final = (
    "<p>The gateway may now act for you at <b>{}</b>. Go back to your assistant. You can close this page.</p>"
)


class ConsentPages:
    """`GET` and `POST /-/consent/LINK`, and `GET /-/consent/back`, where authorization servers send browsers."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route(f"{PATH}/back", self.back, methods=["GET"]),
            Route(f"{PATH}/{{link}}", self.show, methods=["GET"]),
            Route(f"{PATH}/{{link}}", self.go_on, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show what is asked, of whom; only what is pressed there does anything."""

        async def work() -> Response:
            return self._asking(self._pages.find(request.path_params["link"]))

        return await _answer(work)

    async def go_on(self, request: Request) -> Response:
        """Take the user to where they show who they are, or consent; or take their no."""

        async def work() -> Response:
            visit = self._pages.find(request.path_params["link"])
            said = await form_of(request, _MOST_BYTES)
            way = said.get("way", "")
            if way == "no":
                await self._pages.refuse(visit.pending, "on the page")
                return page("Not connected", f"<p>{escape(said_no(visit.pending))}</p>")
            browser = self._browser(request, visit) or secrets.token_urlsafe(32)
            url = await self._pages.begin(visit, browser, way, said.get("token", "").strip())
            sent_on = onward(url)
            self._mark(sent_on, visit, browser)
            return sent_on

        return await _answer(work)

    async def back(self, request: Request) -> Response:
        """Take a browser that comes back."""

        async def work() -> Response:
            pairs = parse_qsl(request.scope["query_string"].decode("latin-1"))
            if len({name for name, _ in pairs}) != len(pairs):
                raise PageRefused("This is not what was asked for.", 400)
            visit, url = await self._pages.back(dict(pairs), lambda visit: self._browser(request, visit))
            if url:
                return onward(url)
            return page("Connected", _DONE.format(escape(visit.pending.server)))

        return await _answer(work)

    def _asking(self, visit: Visit) -> Response:
        pending = visit.pending
        server, at = escape(pending.server), escape(self._pages.server_of(visit))
        whose = f" of <b>{escape(pending.behalf.user)}</b>" if pending.behalf.user else ""
        body = _ASKED.format(agent=escape(pending.agent), whose=whose, server=server, at=at)
        return page(f"Connect {server}?", body + "".join(self._form(visit, way) for way in (*pending.ways, "no")))

    def _form(self, visit: Visit, way: str) -> str:
        label = _BUTTON.get(way, "No").format(issuer=escape(self._pages.login_of(visit)))
        field = ""
        if way == "token":
            field = '<label>Your own token <input type="password" name="token" autocomplete="off" required></label> '
        button = f'<button name="way" value="{way}">{label}</button>'
        return f'<form method="post" autocomplete="off">{field}{button}</form>'

    def _cookie(self, visit: Visit) -> str:
        name = f"toolgate-{visit.pending.id}"
        return f"__Host-{name}" if self._pages.site.is_secure else name

    def _browser(self, request: Request, visit: Visit) -> str:
        return request.cookies.get(self._cookie(visit), "")

    def _mark(self, response: Response, visit: Visit, browser: str) -> None:
        """Have the browser known again when it comes back, by a secret that no other one has."""
        secure = self._pages.site.is_secure
        response.set_cookie(self._cookie(visit), browser, max_age=600, secure=secure, httponly=True, samesite="lax")


async def _answer(work: Callable[[], Awaitable[Response]]) -> Response:
    try:
        return await work()
    except PageRefused as refused:
        return page("Not connected", f"<p>{escape(str(refused))}</p>", refused.status)
    except GatewayError as fault:
        return page("Not now", f"<p>{escape(fault.message)} If trying again does not help: {escape(AGAIN)}</p>", 503)
