"""JSON in and out on the paths beside `/mcp`."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.codec import CodecError, dump, parse
from gateway.model.errors import RequestFault

__all__ = ["json_answer", "json_object"]


def json_answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer that nobody keeps."""
    sent = {"Cache-Control": "no-store", **(headers or {})}
    return Response(dump(body), status, sent, media_type="application/json")


async def json_object(request: Request, most_bytes: int) -> Mapping[str, Any]:
    """Return the JSON object that was sent, an empty one for nothing.

    Raises:
        RequestFault: it is none, or it is larger than that (`too_large`).
    """
    raw = b""
    try:
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > most_bytes:
                raise RequestFault(f"The body is larger than {most_bytes} bytes.", code="too_large")
        said = parse(raw) if raw else {}
    except (CodecError, ClientDisconnect) as error:
        raise RequestFault(f"The body is no JSON: {error}.") from None
    if not isinstance(said, dict):
        raise RequestFault("The body is no JSON object.")
    return said
