"""Where browsers reach the gateway's own pages."""

from typing import Final
from urllib.parse import urlsplit

__all__ = ["Site"]

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Site:
    """The address of the gateway's pages, as links to them begin: `base` is empty where no safe way leads there.

    `is_local` says that it is this very machine.
    """

    def __init__(self) -> None:
        self.base = ""
        self.is_local = False

    def serve_at(self, host: str, port: int, public_url: str) -> None:
        """Note where the gateway is served: at an address to listen on, and perhaps at a public URL."""
        self.is_local = not public_url and host in _LOOPBACK
        parts = urlsplit(public_url)
        if self.is_local:
            self.base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        elif parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            self.base = f"{parts.scheme}://{parts.netloc}"

    @property
    def is_secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self.base.startswith("https:")
