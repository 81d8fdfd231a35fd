"""The resources."""

import json
import re
from collections.abc import Mapping

from mcp.shared.exceptions import MCPError
from mcp_types import (
    BlobResourceContents,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from tests.conformance.everything.asking import Request, is_modern
from tests.conformance.everything.content import IMAGE

__all__ = ["RESOURCES", "TEMPLATES", "read_resource"]

Contents = TextResourceContents | BlobResourceContents
_READABLE: Mapping[str, Contents] = {
    content.uri: content
    for content in (
        TextResourceContents(
            uri="test://static-text",
            mime_type="text/plain",
            text="This is the content of the static text resource.",
        ),
        BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=IMAGE),
        TextResourceContents(uri="test://watched-resource", mime_type="text/plain", text="Watched resource content"),
    )
}
_NAMES = ("Static Text Resource", "Static Binary Resource", "Watched Resource")
RESOURCES = tuple(
    Resource(uri=uri, name=name, description=f"{name} for testing", mime_type=content.mime_type)
    for (uri, content), name in zip(_READABLE.items(), _NAMES, strict=True)
)
TEMPLATES = (
    ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="Resource Template",
        description="A resource template with parameter substitution",
        mime_type="application/json",
    ),
)


async def read_resource(context: Request, params: ReadResourceRequestParams) -> ReadResourceResult:
    """Answer `resources/read`; the code of an unknown resource differs by era."""
    uri = str(params.uri)
    if uri in _READABLE:
        return ReadResourceResult(contents=[_READABLE[uri]])
    if found := re.fullmatch(r"test://template/([^/]+)/data", uri):
        text = json.dumps({"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"})
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="application/json", text=text)])
    code = -32602 if is_modern(context) else -32002
    raise MCPError(code=code, message="Resource not found", data={"uri": uri})
