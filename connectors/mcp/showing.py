"""One credential, shown on one behalf, as the header lines of a request."""

from collections.abc import Mapping
from typing import Final

from connectors.mcp.http_client import Reply
from gateway.connector import Behalf, ConnectorFault, Credential, Refusal

__all__ = ["REFUSALS", "Showing"]

REFUSALS: Final = frozenset({401, 403})


class Showing:
    """What a server is shown, of which the credential decides anew for every request."""

    def __init__(self, credential: Credential, behalf: Behalf) -> None:
        self._credential = credential
        self._behalf = behalf
        self._shown: Mapping[str, str] = {}
        self._lines = b""

    async def lines(self) -> tuple[Mapping[str, str], bytes]:
        """Return the headers to send, and the same as bytes. Raises `ConnectorFault`: nothing was sent."""
        shown = await self._credential.headers(self._behalf)
        if shown is not self._shown:
            self._lines = b"".join(_line(name, value) for name, value in shown.items())
            self._shown = shown
        return shown, self._lines

    async def refused(self, sent: Mapping[str, str], reply: Reply, *, again: bool) -> None:
        """Return if the request is to be tried again. Raises `ConnectorFault` if not."""
        challenge = reply.headers.get(b"www-authenticate", b"").decode("latin-1")
        await self._credential.refused(self._behalf, sent, Refusal(reply.status, challenge, again=again))


def _line(name: str, value: str) -> bytes:
    if not all(char == "\t" or " " <= char <= "~" or "\xa0" <= char <= "\xff" for char in value):
        text = f"What is to be shown in {name} has characters that a header cannot carry."
        raise ConnectorFault(text, code="credential_expired", sent=False)
    return f"{name}: {value}\r\n".encode("latin-1")
