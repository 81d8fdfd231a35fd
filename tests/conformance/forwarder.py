"""Between suite and gateway: adds `Authorization`, which the suite cannot send, and nothing else."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Forwarder", "forwarding"]

_CHUNK = 65_536
_LOST = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass
class Forwarder:
    """A TCP forwarder that reads request heads; bodies and answers pass as they come."""

    port: int = 0
    upstream: tuple[str, int] = ("", 0)
    token: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Where the suite finds the gateway."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection; when either side ends it, the other side sees that at once."""
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            writer.close()
            return
        ways = [asyncio.create_task(self._requests(reader, up_writer)), asyncio.create_task(_copy(up_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, up_writer):
            end.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*_LOST):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, _, rest = head.partition(b"\r\n")
                writer.write(line + b"\r\nAuthorization: Bearer " + self.token.encode() + b"\r\n" + rest)
                fields = dict(_field(text) for text in rest.split(b"\r\n") if b":" in text)
                if b"chunked" in fields.get(b"transfer-encoding", b""):
                    raise ConnectionError("the suite sends bodies with a length")
                left = int(fields.get(b"content-length", b"0"))
                while left:
                    data = await reader.read(min(left, _CHUNK))
                    if not data:
                        return
                    left -= len(data)
                    writer.write(data)
                await writer.drain()


def _field(text: bytes) -> tuple[bytes, bytes]:
    name, _, value = text.partition(b":")
    return name.strip().lower(), value.strip().lower()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(*_LOST):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


@contextmanager
def forwarding() -> Iterator[Forwarder]:
    """Run a forwarder in a thread; give it `upstream` and `token` before the suite comes."""
    forwarder = Forwarder()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def until_stopped() -> None:
        server = await asyncio.start_server(forwarder.serve, "127.0.0.1", 0)
        forwarder.port = server.sockets[0].getsockname()[1]
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(until_stopped()), daemon=True)
    thread.start()
    loop, stop = started.result(10)
    try:
        yield forwarder
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
