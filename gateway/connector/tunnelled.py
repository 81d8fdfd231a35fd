"""What goes through a tunnel, as an HTTP client of httpcore reads and writes it."""

import asyncio
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar

import httpcore2

__all__ = ["TunnelStream"]

_T = TypeVar("_T")


class TunnelStream(httpcore2.AsyncNetworkStream):
    """A tunnel as httpcore takes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's
        return await _as_httpcore(self._reader.read(max_bytes), timeout, httpcore2.ReadTimeout, httpcore2.ReadError)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's
        self._writer.write(buffer)
        await _as_httpcore(self._writer.drain(), timeout, httpcore2.WriteTimeout, httpcore2.WriteError)

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
    ) -> httpcore2.AsyncNetworkStream:
        shaking = self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        await _as_httpcore(shaking, timeout, httpcore2.ConnectTimeout, httpcore2.ConnectError)
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._reader.at_eof()
        return self._writer.get_extra_info(info)


async def _as_httpcore(
    work: Awaitable[_T], timeout_s: float | None, late: type[Exception], failed: type[Exception]
) -> _T:
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
