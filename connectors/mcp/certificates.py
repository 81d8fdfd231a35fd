"""How connections to an https server are verified, and the certificate that is shown to it as its file is now."""

import ssl
from pathlib import Path

from connectors.mcp.config import HttpServer
from gateway.connector import MutualTls

__all__ = ["Certificates"]


class Certificates:
    """What new connections of one server use; made anew when the files of a client certificate have changed.

    The files are relative to `folder`.
    """

    def __init__(self, config: HttpServer, folder: Path) -> None:
        self._config = config
        self._own: MutualTls | None = None
        if isinstance(config.auth, MutualTls):
            files = {"cert_file": folder / config.auth.cert_file, "key_file": folder / config.auth.key_file}
            self._own = config.auth.model_copy(update=files)
        self._seen: tuple[tuple[int, int], ...] = ()
        self._context: ssl.SSLContext | None = None

    def tls(self) -> ssl.SSLContext:
        """Return the settings of a connection made now. Raises `OSError` where a certificate cannot be used."""
        files = (self._own.cert_file, self._own.key_file) if self._own else ()
        seen = tuple((found.st_ctime_ns, found.st_ino) for found in (path.stat() for path in files))
        if self._context is None or seen != self._seen:
            context = self._config.tls()
            if self._own:
                self._own.show_in(context)
            self._context, self._seen = context, seen
        return self._context
