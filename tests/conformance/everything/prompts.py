"""The prompts."""

from collections.abc import Awaitable, Callable, Mapping

from mcp.shared.exceptions import MCPError
from mcp_types import (
    ContentBlock,
    ElicitResult,
    EmbeddedResource,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
    TextResourceContents,
)

from tests.conformance.everything.asking import Request, ask, elicitation, one_field
from tests.conformance.everything.content import IMAGE

__all__ = ["PROMPTS", "get_prompt"]

Make = Callable[[Request, GetPromptRequestParams], Awaitable[list[ContentBlock]]]


async def _simple(_: Request, __: GetPromptRequestParams) -> list[ContentBlock]:
    return [TextContent(text="This is a simple prompt for testing.")]


async def _with_arguments(_: Request, params: GetPromptRequestParams) -> list[ContentBlock]:
    given = params.arguments or {}
    return [TextContent(text=f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]


async def _with_resource(_: Request, params: GetPromptRequestParams) -> list[ContentBlock]:
    uri = (params.arguments or {})["resourceUri"]
    text = TextResourceContents(uri=uri, mime_type="text/plain", text="Embedded resource content for testing.")
    return [EmbeddedResource(resource=text), TextContent(text="Please process the embedded resource above.")]


async def _with_image(_: Request, __: GetPromptRequestParams) -> list[ContentBlock]:
    return [ImageContent(data=IMAGE, mime_type="image/png"), TextContent(text="Please analyze the image above.")]


async def _with_input(context: Request, params: GetPromptRequestParams) -> list[ContentBlock]:
    form = elicitation("What context should the prompt use?", one_field("context"))
    answer = (await ask(context, params, {"user_context": form}))["user_context"]
    given = (answer.content or {}).get("context") if isinstance(answer, ElicitResult) else None
    return [TextContent(text=f"Use this context: {given}")]


def _prompt(name: str, description: str, **arguments: str) -> Prompt:
    declared = [PromptArgument(name=key, description=text, required=True) for key, text in arguments.items()]
    return Prompt(name=name, description=description, arguments=declared or None)


PROMPTS: Mapping[str, tuple[Prompt, Make]] = {
    prompt.name: (prompt, make)
    for prompt, make in (
        (_prompt("test_simple_prompt", "A prompt without arguments"), _simple),
        (
            _prompt("test_prompt_with_arguments", "A prompt with arguments", arg1="First", arg2="Second"),
            _with_arguments,
        ),
        (
            _prompt("test_prompt_with_embedded_resource", "A prompt with a resource", resourceUri="The resource's URI"),
            _with_resource,
        ),
        (_prompt("test_prompt_with_image", "A prompt with an image"), _with_image),
        (_prompt("test_input_required_result_prompt", "A prompt that asks the user first"), _with_input),
    )
}


async def get_prompt(context: Request, params: GetPromptRequestParams) -> GetPromptResult:
    """Answer `prompts/get`."""
    if params.name not in PROMPTS:
        raise MCPError(code=-32602, message=f"Unknown prompt: {params.name}")
    prompt, make = PROMPTS[params.name]
    missing = [a.name for a in prompt.arguments or () if a.name not in (params.arguments or {})]
    if missing:
        raise MCPError(code=-32602, message=f"Missing arguments: {', '.join(missing)}")
    blocks = await make(context, params)
    return GetPromptResult(messages=[PromptMessage(role="user", content=block) for block in blocks])
