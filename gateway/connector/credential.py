"""What a connector shows the other side to say who it is; where that comes from is the gateway's business."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.connector.faults import CredentialExpired, Forbidden
from gateway.connector.secret import Secret
from gateway.model.errors import ConnectorFault

__all__ = ["ITSELF", "Behalf", "Credential", "Credentials", "Refusal", "Sought", "as_written"]


@dataclass(frozen=True, slots=True)
class Behalf:
    """For whom a request is made: the gateway itself where `user` is empty.

    `issuer` says whose word the user's name is. `proof` is the verified token that the caller showed: it is exchanged
    for another at the authorization server at most, and never sent to a server.
    """

    user: str = ""
    issuer: str = ""
    proof: Secret | None = None


ITSELF: Final = Behalf()


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer 401 or 403. `challenge` is its WWW-Authenticate; `again` says that it was the second try's."""

    status: int
    challenge: str = ""
    again: bool = False


class Credential(Protocol):
    """What one server is shown. It may change between two requests; it is never kept by who asks for it."""

    def concerning(self, behalf: Behalf) -> Behalf:
        """Return what of `behalf` makes a difference: `ITSELF` where every caller's requests show the same.

        Requests of different behalves must not share a session of the server.

        Raises:
            ConnectorFault: a caller like this gets nothing to show; `sent` is False.
        """
        ...

    def at_hand(self, behalf: Behalf) -> Mapping[str, str] | None:
        """Return what `headers` would, where nothing has to be waited for or looked up for that; else None."""
        ...

    async def headers(self, behalf: Behalf) -> Mapping[str, str]:
        """Return the headers to send with one request.

        Raises:
            ConnectorFault: there is nothing to show; `sent` is False, and the text says what helps.
        """
        ...

    async def refused(self, behalf: Behalf, sent: Mapping[str, str], refusal: Refusal) -> None:
        """Take note that a request with the headers `sent` was answered 401 or 403; return if it is worth trying again.

        Such a request was not carried out. It is tried again once, with the headers there are then.

        Raises:
            ConnectorFault: it is not; this is what the caller is told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sought:
    """What a server's section says of its credential. `url` is what the credential is shown to, and no other origin.

    `auth` is one of the sections of gateway.connector.auth, or None. The authorization server is asked through `proxy`,
    as the server is.
    """

    server: str
    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    auth: Any = None
    ca_file: str | None = None
    proxy: Secret | None = None


Credentials = Callable[[Sought], Credential]
"""Returns the credential for a section. Raises `ConnectorFault` where it needs a gateway and there is none."""


class _AsWritten:
    """Shows what the configuration says, come what may."""

    def __init__(self, headers: Mapping[str, Secret]) -> None:
        self._headers = {name: value.reveal() for name, value in headers.items()}

    def concerning(self, behalf: Behalf) -> Behalf:
        del behalf
        return ITSELF

    def at_hand(self, behalf: Behalf) -> Mapping[str, str]:
        del behalf
        return self._headers

    async def headers(self, behalf: Behalf) -> Mapping[str, str]:
        del behalf
        return self._headers

    async def refused(self, behalf: Behalf, sent: Mapping[str, str], refusal: Refusal) -> None:
        del behalf, sent
        if refusal.status == 401:
            raise CredentialExpired(detail="HTTP 401")
        raise Forbidden("The server does not let the gateway do this (403).")


def as_written(sought: Sought) -> Credential:
    """Return a credential of headers alone, for a connector outside a gateway. Raises `ConnectorFault`."""
    if sought.auth is not None and sought.auth.type != "mtls":
        raise ConnectorFault(f"`auth: {sought.auth.type}` needs a gateway around the connector.", sent=False)
    return _AsWritten(sought.headers)
