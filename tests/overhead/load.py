"""Drives `tools/call` or `tools/list` over keep-alive connections and holds every answer against what was asked."""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True, slots=True)
class Load:
    """What one round measured: whole calls, seconds, and the median latency in microseconds."""

    calls: int
    seconds: float
    p50_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call what. `session` is a legacy session id, or empty for the 2026-07-28 era.

    With `lists` the tools are listed, and that stands in every list. `answer` stands in every answer of another kind
    than the value that was sent.
    """

    port: int
    tool: str
    token: str = ""
    session: str = ""
    lists: str = ""
    answer: str = ""


def request(target: Target, number: int, value: str) -> bytes:
    """Build the bytes of one request."""
    method = "tools/list" if target.lists else "tools/call"
    params: dict[str, object] = {}
    if not target.lists:
        params = {"name": target.tool, "arguments": {"value": value, "amount": 12.5}}
    headers = [
        "POST /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
    ]
    if target.session:
        headers += [f"Mcp-Session-Id: {target.session}", "MCP-Protocol-Version: 2025-11-25"]
    else:
        params["_meta"] = ENVELOPE
        headers += ["MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}"]
        headers += [] if target.lists else [f"Mcp-Name: {target.tool}"]
    if target.token:
        headers.append(f"Authorization: Bearer {target.token}")
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    body = json.dumps(message, separators=(",", ":")).encode()  # compact, as the SDKs write
    head = "\r\n".join([*headers, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer's body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:")
    return await reader.readexactly(length)


async def client(target: Target, label: str, numbers: range, latencies: list[float]) -> None:
    """Make one call for each of `numbers`, its id, on one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    for number in numbers:
        value = f"{label}-{number}"
        started = time.perf_counter()
        writer.write(request(target, number, value))
        body = await read_answer(reader)
        latencies.append(time.perf_counter() - started)
        if f'"{target.lists or target.answer or value}"'.encode() not in body:
            raise SystemExit(f"call {value} was answered with {body[:400]!r}")
    writer.close()


async def drive(target: Target, connections: int, calls: int, label: str) -> Load:
    """Make `calls` calls in all over `connections` connections."""
    latencies: list[float] = []
    each = calls // connections
    started = time.perf_counter()
    shares = [range(n * each, (n + 1) * each) for n in range(connections)]  # a session takes no id twice at once
    await asyncio.gather(*(client(target, label, share, latencies) for share in shares))
    return Load(each * connections, time.perf_counter() - started, statistics.median(latencies) * 1e6)


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    measured = asyncio.run(drive(Target(**wanted["target"]), wanted["connections"], wanted["calls"], wanted["label"]))
    print(json.dumps(asdict(measured)))
