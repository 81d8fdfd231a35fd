"""HTTP to the gateway over kept-alive connections, one exchange per connection at a time."""

import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Channel", "Exchange", "Lost", "NotSent"]

_CONNECT_S: Final = 5.0
_IDLE_KEPT: Final = 8


class NotSent(Exception):
    """The gateway could not be reached: the request provably never left."""


class Lost(Exception):
    """The connection broke after the request may have arrived."""


class _Connection(HTTPConnection):
    """Sends a request in one piece: the gateway has a short way for those that arrive so."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, timeout=_CONNECT_S)
        self._parts: list[bytes] = []

    def send_whole(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> None:
        """As `request`. Raises `OSError`, `HTTPException`."""
        self.request(method, path, body, headers)
        whole = b"".join(self._parts)
        self._parts.clear()  # the connection may rest for long
        self.sock.sendall(whole)

    def send(self, data: bytes) -> None:  # type: ignore[override]  # theirs takes files as well
        """Keep a part of a request until it is whole."""
        self._parts.append(data)


class Exchange:
    """A request that was sent, and its answer, read as it comes. Use as a context manager, or `begin` it yourself."""

    def __init__(self, channel: "Channel", connection: _Connection) -> None:
        self._channel = channel
        self._connection = connection
        self._socket = connection.sock  # the response takes it from the connection when it is the last one

        self._ending = threading.Lock()
        self._ended = False

    def begin(self, patience_s: float | None = None) -> "Exchange":
        """Wait until the answer begins; a call may take as long as the gateway lets it. Raises `Lost`."""
        try:
            if patience_s is not None:
                self._socket.settimeout(patience_s)
            self._response = self._connection.getresponse()
            if patience_s is not None:
                self._socket.settimeout(None)
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise Lost(str(error) or type(error).__name__) from error
        self.status = self._response.status
        return self

    def __enter__(self) -> "Exchange":
        return self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Give the connection back when the answer was read to its end, else close it; once is enough."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
        if self._response.isclosed() and not self._response.will_close:
            self._channel.keep(self._connection)
        else:
            self._response.close()
            self._connection.close()

    def header(self, name: str) -> str:
        return self._response.getheader(name) or ""

    def body(self) -> bytes:
        """Read the whole answer. Raises `Lost` when it breaks off."""
        try:
            return self._response.read()
        except (OSError, HTTPException, ValueError) as error:
            raise Lost(str(error) or type(error).__name__) from error

    def messages(self) -> Iterator[bytes]:
        """Yield each JSON-RPC message of the answer, on one line each, as it arrives. Raises `Lost`."""
        if self.header("Content-Type").partition(";")[0].strip().lower() != "text/event-stream":
            payload = self.body()
            self.end()  # whoever reads the payload may ask again at once
            if payload.strip():
                yield _one_line(payload)
            return
        data: list[bytes] = []
        for line in self._lines():
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                payload, data = _one_line(b"\n".join(data)), []
                if payload:  # else the event only tells how to come back to the stream
                    yield payload

    def drain(self) -> None:
        """Read until the answer ends, keeping none of it. Raises `Lost`."""
        for _ in self._lines():
            continue

    def _lines(self) -> Iterator[bytes]:
        while True:
            try:
                line = self._response.readline()
            except (OSError, HTTPException, ValueError, AttributeError) as error:  # AttributeError: closed meanwhile
                raise Lost(str(error) or type(error).__name__) from error
            if not line:
                return
            yield line.rstrip(b"\r\n")

    def abort(self) -> None:
        """End the exchange from another thread: whoever reads it sees its end."""
        with self._ending, suppress(OSError):  # it may have ended by itself
            if not self._ended:  # else the connection may be serving another request
                self._socket.shutdown(socket.SHUT_RDWR)


class Channel:
    """Connections to the gateway at `url`, reused while it keeps them open."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._idle: list[_Connection] = []
        self._closed = False
        self._lock = threading.Lock()

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Exchange:
        """Send one request.

        Raises:
            NotSent: nothing left.
            Lost: something may have.
        """
        connection = self._take() or self._connect()
        try:
            connection.send_whole(method, path, headers, body)
            return Exchange(self, connection)
        except (OSError, HTTPException) as error:
            connection.close()
            raise Lost(str(error) or type(error).__name__) from error

    def keep(self, connection: _Connection) -> None:
        """Take back a connection whose answer was read to its end."""
        with self._lock:
            if len(self._idle) < _IDLE_KEPT and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections, and each busy one when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> _Connection | None:
        """Return an idle connection the gateway has not closed: a readable one has ended."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]:
                return connection
            connection.close()

    def _connect(self) -> _Connection:
        connection = _Connection(self._host, self._port)
        try:
            connection.connect()
        except OSError as error:
            raise NotSent(f"{self._host}:{self._port}: {error}") from error
        connection.sock.settimeout(None)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _one_line(payload: bytes) -> bytes:
    """Line breaks of a JSON text stand between tokens only: inside strings they are escaped."""
    return payload.replace(b"\r", b" ").replace(b"\n", b" ").strip()
