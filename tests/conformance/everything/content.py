"""Tools that answer at once: each kind of content, errors, schemas, headers."""

from typing import Any

from mcp_types import (
    AudioContent,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextResourceContents,
)

from tests.conformance.everything.asking import Request
from tests.conformance.everything.tool import ServedTool, ToolFault, said

__all__ = ["AUDIO", "CONTENT_TOOLS", "IMAGE"]

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
JSON_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADER_SCHEMA = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


async def _text(_: Request, __: CallToolRequestParams) -> CallToolResult:
    return said("This is a simple text response for testing.")


async def _image(_: Request, __: CallToolRequestParams) -> CallToolResult:
    return said(ImageContent(data=IMAGE, mime_type="image/png"))


async def _audio(_: Request, __: CallToolRequestParams) -> CallToolResult:
    return said(AudioContent(data=AUDIO, mime_type="audio/wav"))


async def _embedded(_: Request, __: CallToolRequestParams) -> CallToolResult:
    return said(_resource("test://embedded-resource", "text/plain", "This is an embedded resource content."))


async def _mixed(_: Request, __: CallToolRequestParams) -> CallToolResult:
    return said(
        "Multiple content types test:",
        ImageContent(data=IMAGE, mime_type="image/png"),
        _resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    )


async def _error(_: Request, __: CallToolRequestParams) -> CallToolResult:
    raise ToolFault("This tool intentionally returns an error for testing")


async def _echo(_: Request, params: CallToolRequestParams) -> CallToolResult:
    arguments: dict[str, Any] = params.arguments or {}
    return said(", ".join(f"{name}={value}" for name, value in sorted(arguments.items())))


CONTENT_TOOLS = (
    ServedTool("test_simple_text", "Answers with a text", _text),
    ServedTool("test_image_content", "Answers with an image", _image),
    ServedTool("test_audio_content", "Answers with a sound", _audio),
    ServedTool("test_embedded_resource", "Answers with an embedded resource", _embedded),
    ServedTool("test_multiple_content_types", "Answers with a text, an image and a resource", _mixed),
    ServedTool("test_error_handling", "Always fails", _error),
    ServedTool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", _echo, JSON_SCHEMA),
    ServedTool("test_x_mcp_header", "Has an argument that is also a header", _echo, HEADER_SCHEMA),
)
