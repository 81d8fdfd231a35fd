"""How a tool asks the client: one function for both eras."""

import asyncio
from collections.abc import Mapping
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    InputResponse,
    InputResponseRequestParams,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

__all__ = ["Answers", "NeedsInput", "Request", "ask", "elicitation", "is_modern", "one_field", "roots", "sampling"]

Request = ServerRequestContext[Any, Any]
Answers = Mapping[str, InputResponse]
_RESULTS: Mapping[str, type[ElicitResult] | type[CreateMessageResult] | type[ListRootsResult]] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}


class NeedsInput(Exception):
    """Ends a round: the client is to answer and to call again."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("the client's input is needed")
        self.result = result


def is_modern(context: Request) -> bool:
    """Say whether the request came in the era without requests to the client."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask(
    context: Request,
    params: InputResponseRequestParams,
    requests: Mapping[str, InputRequest],
    *,
    state: str | None = None,
) -> Answers:
    """Return the client's answers to all `requests`; raises `NeedsInput` when they must come with another call."""
    if is_modern(context):
        given = params.input_responses or {}
        if not requests.keys() <= given.keys():
            raise NeedsInput(InputRequiredResult(input_requests=dict(requests), request_state=state))
        return given
    answers = await asyncio.gather(*(_push(context, request) for request in requests.values()))
    return dict(zip(requests, answers, strict=True))


async def _push(context: Request, request: InputRequest) -> InputResponse:
    own_stream = ServerMessageMetadata(related_request_id=context.request_id)
    return await context.session.send_request(request, _RESULTS[request.method], metadata=own_stream)


def one_field(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    """Return the schema of a form with one required field."""
    return {"type": "object", "properties": {name: {"type": kind, **more}}, "required": [name]}


def elicitation(message: str, schema: dict[str, Any]) -> ElicitRequest:
    """Ask the user to fill in a form."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(prompt: str, max_tokens: int = 100) -> CreateMessageRequest:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def roots() -> ListRootsRequest:
    """Ask for the client's roots."""
    return ListRootsRequest()
