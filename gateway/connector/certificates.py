"""How connections to an https server are verified, and the certificate that is shown to it as its file is now."""

import logging
import ssl
from pathlib import Path
from typing import Any, Final

from gateway.connector.auth import MutualTls

__all__ = ["Certificates"]

_LOG: Final = logging.getLogger(__name__)


class Certificates:
    """What new connections of one server use; a client certificate is read again when its files have changed.

    While they do not fit together, as in the middle of being replaced, the one that was shown before is.

    `auth` is a server's section of that name, or None; files are relative to `folder`. With a `ca_file`, only its
    authorities are trusted.
    """

    def __init__(self, auth: Any, folder: Path, ca_file: str | None = None) -> None:
        self._own: MutualTls | None = None
        if isinstance(auth, MutualTls):
            files = {"cert_file": folder / auth.cert_file, "key_file": folder / auth.key_file}
            self._own = auth.model_copy(update=files)
        self._ca_file = ca_file
        self._seen: tuple[tuple[int, int], ...] = ()
        self._context: ssl.SSLContext | None = None

    def tls(self) -> ssl.SSLContext:
        """Return the settings of a connection made now. Raises `OSError` where a certificate cannot be used."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=self._ca_file)
        if self._own is not None:
            try:
                self._show(self._own, self._context)
            except (ssl.SSLError, FileNotFoundError) as error:
                if not self._seen:
                    raise
                _LOG.warning("%s cannot be used, the one before is still shown: %s", self._own.cert_file, error)
        return self._context

    def _show(self, own: MutualTls, context: ssl.SSLContext) -> None:
        files = (own.cert_file, own.key_file)
        seen = tuple((found.st_ctime_ns, found.st_ino) for found in (path.stat() for path in files))
        if seen != self._seen:
            own.show_in(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # a pair that does not fit takes away the one before
            own.show_in(context)
            self._seen = seen
