"""What the machine's own operator asks of a running gateway: how it stands, and to undo a run."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.model.errors import GatewayError, RequestFault
from gateway.pipeline.rollback import Rollback
from gateway.pipeline.trying import Tried, Trying
from gateway.transport.exchange import LOOPBACK_PEERS
from gateway.transport.plain_json import json_answer, json_object

__all__ = ["OperatorApi"]

_MOST_BYTES: Final = 64 * 1024
_TRIED: Final = frozenset({"agent", "tool", "by", "run", "on_behalf_of"})


@dataclass(frozen=True, slots=True)
class OperatorApi:
    """`GET /-/status`, `POST /-/runs/RUN/rollback`, `POST /-/explain`.

    For whoever holds a token only the gateway's user can make.
    """

    token: str
    status: Callable[[], Mapping[str, Any]]
    rollback: Rollback
    trying: Trying

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/-/status", self.stands),
            Route("/-/runs/{run}/rollback", self.undo, methods=["POST"]),
            Route("/-/explain", self.explain, methods=["POST"]),
        ]

    async def stands(self, request: Request) -> Response:
        """Say how the gateway stands."""

        async def work() -> Mapping[str, Any]:
            return self.status()

        return await self._answer(request, work)

    async def undo(self, request: Request) -> Response:
        """Undo a run but for its first calls: `{"by": NAME, "after": N}`; with `"plan": true` say what it takes."""

        async def work() -> Mapping[str, Any]:
            said = await json_object(request, _MOST_BYTES)
            by, after, run = said.get("by"), said.get("after", 0), request.path_params["run"]
            if not isinstance(by, str) or not by or type(after) is not int or after < 0:
                raise RequestFault("Say `by`, a name, and perhaps `after`, a number of calls.")
            if said.get("plan") is True:
                return (await self.rollback.plan(run, after)).described()
            return (await self.rollback.roll_back(run, by, after)).described()

        return await self._answer(request, work)

    async def explain(self, request: Request) -> Response:
        """Say what would be decided of a call, and why: `{"agent": …, "tool": …, "arguments": {…}, "by": NAME}`.

        There may be `run` and `on_behalf_of` as well.
        """

        async def work() -> Mapping[str, Any]:
            said = dict(await json_object(request, _MOST_BYTES))
            arguments = said.pop("arguments", {})
            if not said.keys() <= _TRIED or not all(isinstance(each, str) for each in said.values()):
                raise RequestFault(f"Say {', '.join(sorted(_TRIED))}, all texts, and `arguments`.")
            if not isinstance(arguments, dict) or not all(said.get(name) for name in ("agent", "tool", "by")):
                raise RequestFault("Say `agent`, `tool` and `by`, and `arguments`, an object.")
            return await self.trying.explain(Tried(**said, arguments=arguments))

        return await self._answer(request, work)

    async def _answer(self, request: Request, work: Callable[[], Awaitable[Mapping[str, Any]]]) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        peer = request.client
        known = hmac.compare_digest(given, self.token.encode())
        if peer is None or peer.host not in LOOPBACK_PEERS or not known:
            return json_answer(401, {"error": "unauthenticated"})
        try:
            return json_answer(200, await work())
        except RequestFault as fault:
            return json_answer(409, {"error": fault.code, "message": fault.message})
        except GatewayError as fault:
            return json_answer(503, {"error": fault.code, "message": fault.message})
