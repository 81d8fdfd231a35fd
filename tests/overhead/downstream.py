"""The tool at the end: an MCP 2026-07-28 echo server on bare asyncio, as cheap as Python can make one.

`downstream.py 500` has 500 tools, and their list is ready to be sent.
"""

import asyncio
import json
import sys

DEFINITIONS = [
    {
        "name": name,
        "description": "Answers with its argument.",
        "inputSchema": {
            "type": "object",
            "properties": {"value": {"type": "string"}, "amount": {"type": "number"}},
            "required": ["value"],
        },
        "annotations": {"readOnlyHint": name == "echo", "destructiveHint": False},
    }
    for name in ("echo", "write", *(f"tool_{number}" for number in range(2, int(sys.argv[1]) if sys.argv[1:] else 2)))
]
LISTED = json.dumps({"tools": DEFINITIONS, "resultType": "complete"}, separators=(",", ":")).encode()
DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}


def answer(body: bytes) -> bytes:
    """Answer one JSON-RPC request."""
    request = json.loads(body)
    match request["method"]:
        case "server/discover":
            result = DISCOVERED
        case "tools/list":
            return b'{"jsonrpc":"2.0","id":%s,"result":%b}' % (json.dumps(request["id"]).encode(), LISTED)
        case _:
            value = request["params"]["arguments"]["value"]
            result = {"content": [{"type": "text", "text": value}], "resultType": "complete"}
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}, separators=(",", ":")).encode()


class Echo(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and Content-Length bodies, nothing more."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0
            )
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            body = answer(rest[:length])
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            )


async def main() -> None:
    """Serve on a free port and print it."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
