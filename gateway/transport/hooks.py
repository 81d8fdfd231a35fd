"""Where other systems post messages: `POST /hooks/SERVER/HOOK`."""

from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.model.errors import ConnectorFault, StoreFault
from gateway.pipeline.hooks import Hooks, UnknownHook
from gateway.transport.plain_json import json_answer

__all__ = ["HooksApi"]

_MOST_BYTES: Final = 256 * 1024


class HooksApi:
    """Answers 202 for what is kept, 200 for a repetition of it, 401 for what is not signed as it has to be."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [Route("/hooks/{server}/{hook}", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Take one message."""
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MOST_BYTES:
                    return json_answer(
                        413, {"error": "too_large", "message": f"At most {_MOST_BYTES} bytes are taken."}
                    )
        except ClientDisconnect:
            return json_answer(400, {"error": "bad_request"})
        where = request.path_params
        try:
            new = await self._hooks.receive(where["server"], where["hook"], dict(request.headers), body)
        except UnknownHook:
            return json_answer(404, {"error": "not_found"})
        except ConnectorFault as fault:
            return json_answer(401, {"error": "refused", "message": fault.message})
        except StoreFault as fault:
            return json_answer(503, {"error": fault.code}, {"Retry-After": "5"})
        return json_answer(202 if new else 200, {"received": True})
