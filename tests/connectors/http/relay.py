"""A wire between the gateway and a service that a test can cut: the service knows nothing of it."""

import socket
import threading
from types import TracebackType

__all__ = ["Relay"]


class Relay:
    """Passes bytes on both ways. An answer is handed over, `hold` keeps it back for good, `cut` closes in its place.

    `answered` is set when the service has answered something that was kept back or cut off.
    """

    def __init__(self, port: int) -> None:
        self._service = port
        self.mode = "pass"
        self.answered = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []

    def __enter__(self) -> "Relay":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in [self._listener, *self._open]:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                agent, _ = self._listener.accept()
            except OSError:
                return
            service = socket.create_connection(("127.0.0.1", self._service))
            self._open += [agent, service]
            threading.Thread(target=self._pass, args=(agent, service), daemon=True).start()
            threading.Thread(target=self._answer, args=(service, agent), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _answer(self, service: socket.socket, agent: socket.socket) -> None:
        try:
            while data := service.recv(65536):
                if self.mode == "pass":
                    agent.sendall(data)
                    continue
                if self.mode == "cut":
                    agent.shutdown(socket.SHUT_RDWR)
                self.answered.set()
                return
            agent.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
