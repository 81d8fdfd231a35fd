"""The protocol's versions, and what the head and the body of a request of 2026-07-28 must say alike.

The SDK says the same (`mcp.shared.inbound`, `mcp_types.version`), and a test compares every word; but to import any of
it is to import all of the SDK: 0.4 s of CPU and 16 MiB of memory for a gateway that needs nothing else of it.
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

from gateway.transport.said import CAPABILITIES, VERSION
from gateway.transport.wire import RpcError, RpcRequest

__all__ = ["HANDSHAKE_VERSIONS", "MODERN_VERSIONS", "STATUS", "check_envelope"]

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Of the eras with a handshake, the oldest first."""
MODERN_VERSIONS: Final = ("2026-07-28",)
"""Of the era in which every request brings its envelope."""
STATUS: Final[Mapping[int, int]] = {
    **dict.fromkeys((-32700, -32600, -32602, -32020, -32021, -32022), 400),
    -32601: 404,
}
"""The HTTP status of a JSON-RPC error code, in the modern era."""

_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_SPELLED: Final = re.compile(r"=\?base64\?(.*)\?=")


def check_envelope(request: RpcRequest, headers: Mapping[str, str]) -> None:
    """Hold a request against its routing headers, which are by lower-case name.

    Raises:
        RpcError: -32602 the envelope lacks something, -32020 head and body disagree, -32022 nobody speaks the version.
    """
    meta = request.params.get("_meta")
    if not isinstance(meta, dict):
        keys = f"{VERSION!r} and {CAPABILITIES!r}"
        raise RpcError(-32602, f"params._meta must be an object carrying the required {keys} envelope keys")
    missing = [key for key in (VERSION, CAPABILITIES) if key not in meta]
    if missing:
        raise RpcError(-32602, f"params._meta is missing the required envelope key(s): {', '.join(missing)}")
    version = meta[VERSION]
    if headers.get("mcp-protocol-version", ...) != version:
        raise RpcError(-32020, "mcp-protocol-version header does not match the request envelope's protocol version")
    if headers.get("mcp-method") != request.method:
        raise RpcError(-32020, "mcp-method header does not match the request body's method")
    key = _NAMED_BY.get(request.method, "")
    name = request.params.get(key)
    if key and name is not None and _decoded(headers.get("mcp-name")) != name:
        raise RpcError(-32020, f"mcp-name header does not match the request body's {key!r} parameter")
    if version not in MODERN_VERSIONS:
        told = {"supported": [*MODERN_VERSIONS], "requested": version}
        raise RpcError(-32022, "Unsupported protocol version", data=told)


def _decoded(value: str | None) -> str | None:
    """Return what a header's value says, which may be spelled in base64; None where that is not spelled exactly."""
    spelled = _SPELLED.fullmatch(value) if value is not None else None
    if spelled is None:
        return value
    try:
        plain = base64.b64decode(spelled[1], validate=True)
        return plain.decode() if base64.b64encode(plain).decode() == spelled[1] else None
    except ValueError:
        return None
