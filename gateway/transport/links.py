"""Links in answers lead back to the server that made them, also where several have resources."""

from typing import Any

from gateway.catalog.uris import links_in
from gateway.model.call import Call
from gateway.pipeline.directory import Directory

__all__ = ["follow_back", "follow_back_in_messages", "links_in"]


async def follow_back(directory: Directory, call: Call, endpoint: str, result: dict[str, Any]) -> None:
    """Have the links in the result of a tool call lead back to who answered: its server, or that of a fallback."""
    server = call.tool.server
    if call.source is not None and "." in call.source.fallback:
        server = call.source.fallback.partition(".")[0]
    result["content"] = await directory.linked(server, endpoint, result["content"])


async def follow_back_in_messages(directory: Directory, server: str, endpoint: str, result: dict[str, Any]) -> None:
    """Have the links in the messages of a prompt lead back to its server."""
    messages = result.get("messages")
    if not isinstance(messages, list):
        return
    content = [message.get("content") if isinstance(message, dict) else None for message in messages]
    if links_in(content):
        said = await directory.linked(server, endpoint, content)
        result["messages"] = [
            {**message, "content": each} if isinstance(message, dict) and "content" in message else message
            for message, each in zip(messages, said, strict=True)
        ]
