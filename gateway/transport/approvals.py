"""The approvals API beside `/mcp`: a person, by their own token, sees what waits and decides it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.approval.approvals import MOST_LISTED, Wanted
from gateway.approval.values import Approval, ApprovalRefused
from gateway.model.clock import Clock
from gateway.model.errors import GatewayError, IdentityFault, RequestFault
from gateway.pipeline.desk import Desk, Grant, described
from gateway.transport.plain_json import json_answer, json_object

__all__ = ["STATUS", "ApprovalsApi"]

_MOST_BYTES: Final = 1024 * 1024
_NUMBER: Final = re.compile("[1-9][0-9]{0,3}")
STATUS: Final[Mapping[str, int]] = {
    "unknown_approval": 404,
    "may_not_approve": 403,
    "policies_refuse": 403,
    "unknown_person": 403,
    "approval_over": 409,
    "approval_changed": 409,
    "approval_void": 409,
    "voted_already": 409,
    "too_large": 413,
}
"""The HTTP status of what is refused; 400 where it is not said."""

Deed = Callable[[str, str, Mapping[str, Any]], Awaitable[Approval]]
"""What a person, named first, does to an approval, named second, with the members of a JSON object."""


class ApprovalsApi:
    """`GET /-/approvals`, `GET /-/approvals/ID`, `POST /-/approvals/ID/DEED`, `POST /-/approvals/standing`.

    Every request is a person's, told by the bearer token they present; every answer is JSON. What is refused says why:
    `{"error": CODE, "message": TEXT}`.
    """

    def __init__(self, desk: Desk, identify: Callable[[str], Awaitable[str]], clock: Clock) -> None:
        self._desk = desk = desk.through("token")
        self._identify = identify
        self._clock = clock
        self._deeds: Mapping[str, Deed] = {
            "approve": lambda by, which, said: desk.approve(by, which, _text(said, "reason")),
            "deny": lambda by, which, said: desk.deny(by, which, _text(said, "reason")),
            "assign": lambda by, which, said: desk.assign(by, which, _text(said, "to")),
            "withdraw": lambda by, which, said: desk.withdraw(by, which),
            "revoke": lambda by, which, said: desk.revoke(by, which, _text(said, "reason")),
            "edit": lambda by, which, said: desk.edit(by, which, _object(said, "arguments"), _text(said, "reason")),
        }

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/-/approvals", self.listed, methods=["GET"]),
            Route("/-/approvals/standing", self.grant, methods=["POST"]),
            Route("/-/approvals/{approval}", self.shown, methods=["GET"]),
            Route("/-/approvals/{approval}/{deed}", self.decide, methods=["POST"]),
        ]

    async def listed(self, request: Request) -> Response:
        """Return what waits, or is approved and not used yet; `?standing=true` those, `?all=true` what is over too.

        At most `?limit=`, the newest first; where that is not all, `next` is the `?before=` with which it goes on.
        """

        async def work(by: str) -> Any:
            await self._desk.known(by)
            asked = request.query_params
            which = asked.get("standing") == "true", asked.get("all") != "true"
            limit = _limit(asked.get("limit", str(MOST_LISTED)))
            page = await self._desk.page(Wanted(*which, limit, asked.get("before", "")))
            found = [described(each, self._clock.now_ms()) for each in page.found]
            return {"approvals": found, **({"next": page.next} if page.next else {})}

        return await self._answer(request, work)

    async def shown(self, request: Request) -> Response:
        """Return one approval, whole."""

        async def work(by: str) -> Any:
            await self._desk.known(by)
            return described(await self._desk.find(request.path_params["approval"]), self._clock.now_ms())

        return await self._answer(request, work)

    async def decide(self, request: Request) -> Response:
        """Do what the last part of the path says."""

        async def work(by: str) -> Any:
            deed = self._deeds.get(request.path_params["deed"])
            if deed is None:
                raise ApprovalRefused("unknown_approval", f"An approval can be: {', '.join(self._deeds)}.")
            done = await deed(by, request.path_params["approval"], await _said(request))
            return described(done, self._clock.now_ms())

        return await self._answer(request, work)

    async def grant(self, request: Request) -> Response:
        """Make a standing approval, or with `access` true a grant: `agent`, `tool`, `most` and `until_ms`.

        Perhaps also `where`, `on_behalf_of`, `run` and `reason`.
        """

        async def work(by: str) -> Any:
            said = await _said(request)
            wanted = Grant(
                agent=_text(said, "agent"),
                tool=_text(said, "tool"),
                most=_whole(said, "most"),
                until_ms=_whole(said, "until_ms"),
                where=_texts(said, "where"),
                on_behalf_of=_text(said, "on_behalf_of"),
                why=_text(said, "reason"),
                access=_flag(said, "access"),
                run=_text(said, "run"),
            )
            return described(await self._desk.grant(by, wanted), self._clock.now_ms())

        return await self._answer(request, work)

    async def _answer(self, request: Request, work: Callable[[str], Awaitable[Any]]) -> Response:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        try:
            by = await self._identify(bearer.strip() if scheme.lower() == "bearer" else "")
            return json_answer(200, await work(by))
        except IdentityFault as fault:
            return json_answer(401, {"error": fault.code, "message": fault.message}, {"WWW-Authenticate": "Bearer"})
        except ApprovalRefused as refused:
            return json_answer(STATUS.get(refused.code, 400), {"error": refused.code, "message": str(refused)})
        except GatewayError as fault:
            return json_answer(503, {"error": fault.code, "message": fault.message})


async def _said(request: Request) -> Mapping[str, Any]:
    try:
        return await json_object(request, _MOST_BYTES)
    except RequestFault as fault:
        code = fault.code if fault.code == "too_large" else "bad_request"
        raise ApprovalRefused(code, fault.message) from None


def _limit(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > MOST_LISTED:
        raise ApprovalRefused("bad_request", f"`limit` is no number from 1 to {MOST_LISTED}.")
    return int(text)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise ApprovalRefused("bad_request", f"`{name}` is no text.")
    return value


def _texts(said: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = said.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ApprovalRefused("bad_request", f"`{name}` is no list of texts.")
    return tuple(value)


def _whole(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ApprovalRefused("bad_request", f"`{name}` is no whole number.")
    return value


def _flag(said: Mapping[str, Any], name: str) -> bool:
    value = said.get(name, False)
    if not isinstance(value, bool):
        raise ApprovalRefused("bad_request", f"`{name}` is neither true nor false.")
    return value


def _object(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = said.get(name)
    if not isinstance(value, dict):
        raise ApprovalRefused("bad_request", f"`{name}` is no JSON object.")
    return value
