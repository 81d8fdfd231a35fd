"""The reference: a bare asyncio forwarder that governs nothing and parses only Content-Length."""

import asyncio
import sys
from collections import deque


def whole(buffer: bytes) -> tuple[bytes, bytes] | None:
    """Split one HTTP message off the buffer, or None while it is incomplete."""
    head, found, rest = buffer.partition(b"\r\n\r\n")
    if not found:
        return None
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0)
    if len(rest) < length:
        return None
    end = len(head) + 4 + length
    return buffer[:end], buffer[end:]


class Back(asyncio.Protocol):
    """One pooled connection to the server behind."""

    def __init__(self, idle: "deque[Back]") -> None:
        self._idle = idle
        self._buffer = b""
        self.front: Front | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        message = whole(self._buffer)
        if message is not None and self.front is not None:
            answer, self._buffer = message
            front, self.front = self.front, None
            self._idle.append(self)
            front.transport.write(answer)


class Front(asyncio.Protocol):
    """One client connection."""

    def __init__(self, idle: deque[Back], port: int) -> None:
        self._idle = idle
        self._port = port
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        message = whole(self._buffer)
        if message is None:
            return
        request, self._buffer = message
        if self._idle:
            self._forward(self._idle.popleft(), request)
        else:
            self._task = asyncio.ensure_future(self._connect(request))

    async def _connect(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, back = await loop.create_connection(lambda: Back(self._idle), "127.0.0.1", self._port)
        self._forward(back, request)

    def _forward(self, back: Back, request: bytes) -> None:
        back.front = self
        back.transport.write(request)


async def main() -> None:
    """Forward from a free port, which is printed, to the port given."""
    port = int(sys.argv[1])
    idle: deque[Back] = deque()
    server = await asyncio.get_running_loop().create_server(lambda: Front(idle, port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
