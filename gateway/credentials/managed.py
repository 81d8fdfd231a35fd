"""What a connector gets to show: headers as they are written, or with a token that is held and renewed."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from gateway.connector.auth import AuthorizationCode, CommandOutput, TokenExchange
from gateway.connector.credential import ITSELF, Behalf, Refusal, Sought
from gateway.credentials.holder import Holder
from gateway.credentials.life import Life
from gateway.credentials.token import Token
from gateway.model.errors import ConnectorFault

__all__ = ["Circle", "Fixed", "Managed"]

_SCOPE: Final = re.compile(r'scope="([\x21\x23-\x5B\x5D-\x7E ]{1,200})"')


class Circle(Protocol):
    """Tokens by behalf."""

    def holder(self, behalf: Behalf) -> Holder:
        """Return what holds the token for a behalf."""
        ...


class Fixed:
    """Headers that only the configuration changes. `sought` may be put in the place of another at any time."""

    def __init__(self, sought: Sought, life_of: Callable[[Sought], Life]) -> None:
        self._life_of = life_of
        self.sought = sought

    @property
    def sought(self) -> Sought:
        """The section it goes by."""
        return self._sought

    @sought.setter
    def sought(self, sought: Sought) -> None:
        self._sought = sought
        self._headers: Mapping[str, str] = {name: value.reveal() for name, value in sought.headers.items()}
        self._life = self._life_of(sought)

    def concerning(self, behalf: Behalf) -> Behalf:
        """Return the same for everybody."""
        del behalf
        return ITSELF

    def at_hand(self, behalf: Behalf) -> Mapping[str, str] | None:
        """Return the headers, unless they were refused."""
        del behalf
        return self._headers if self._life.death is None else None

    async def headers(self, behalf: Behalf) -> Mapping[str, str]:
        """Return the headers, unless they were refused. Raises `ConnectorFault`."""
        del behalf
        self._life.check()
        return self._headers

    async def refused(self, behalf: Behalf, sent: Mapping[str, str], refusal: Refusal) -> None:
        """As `Credential`: headers that were changed meanwhile are tried."""
        del behalf
        if refusal.status == 403 and not _is_about_the_token(refusal):
            raise _forbidden(refusal)
        if sent is self._headers or refusal.again:
            raise self._life.end(f"the server answered {refusal.status}")


class Managed:
    """A header with a token. `sought` may be put in the place of another at any time."""

    def __init__(self, sought: Sought, circle_of: Callable[[Sought], Circle]) -> None:
        self._circle_of = circle_of
        self.sought = sought

    @property
    def sought(self) -> Sought:
        """The section it goes by."""
        return self._sought

    @sought.setter
    def sought(self, sought: Sought) -> None:
        self._sought = sought
        self._circle = self._circle_of(sought)
        self._last: tuple[str, Mapping[str, str]] = "", {}

    def concerning(self, behalf: Behalf) -> Behalf:
        """Return whose account, or whose proof, is used. Raises `ConnectorFault` for a caller who has neither."""
        section = self.sought.auth
        if isinstance(section, TokenExchange):
            if behalf.proof is None:
                raise _nobody("present a token of your own, which is exchanged for one that the server takes")
            return behalf
        if not isinstance(section, AuthorizationCode):
            return ITSELF
        if not behalf.user and section.list_as:  # that account is for listing, not for whoever asks
            raise _nobody("act for a user who has connected an account")
        return Behalf(behalf.user, behalf.issuer) if behalf.user else ITSELF

    def at_hand(self, behalf: Behalf) -> Mapping[str, str] | None:
        """Return the headers with the token that is held, if it holds for long."""
        token = self._holder(behalf).at_hand()
        return None if token is None else self._carrying(token)

    async def headers(self, behalf: Behalf) -> Mapping[str, str]:
        """Return the headers with a token that holds. Raises `ConnectorFault`."""
        return self._carrying(await self._holder(behalf).get())

    def _carrying(self, token: Token) -> Mapping[str, str]:
        shown, headers = self._last
        if token.value != shown:
            headers = self._with(token.value)
            self._last = token.value, headers
        return headers

    async def refused(self, behalf: Behalf, sent: Mapping[str, str], refusal: Refusal) -> None:
        """As `Credential`: the token is renewed once."""
        if refusal.status == 403 and not _is_about_the_token(refusal):
            raise _forbidden(refusal)
        name, scheme = self._place()
        value = sent.get(name, "").removeprefix(f"{scheme} " if scheme else "")
        await self._holder(behalf).replace(value, f"the server answered {refusal.status}", again=refusal.again)

    def _holder(self, behalf: Behalf) -> Holder:
        section = self.sought.auth
        if isinstance(section, AuthorizationCode) and not behalf.user:
            behalf = Behalf(section.list_as)
        return self._circle.holder(behalf)

    def _place(self) -> tuple[str, str]:
        section = self.sought.auth
        return (section.header, section.scheme) if isinstance(section, CommandOutput) else ("Authorization", "Bearer")

    def _with(self, value: str) -> Mapping[str, str]:
        name, scheme = self._place()
        others = {each: secret.reveal() for each, secret in self.sought.headers.items()}
        return {**others, name: f"{scheme} {value}" if scheme else value}


def _is_about_the_token(refusal: Refusal) -> bool:
    """Tell whether a 403 says, against RFC 6750, that the token itself no longer holds."""
    return 'error="invalid_token"' in refusal.challenge


def _nobody(what: str) -> ConnectorFault:
    text = f"The gateway has no credential for this server that is yours: {what}."
    return ConnectorFault(text, code="forbidden", sent=False)


def _forbidden(refusal: Refusal) -> ConnectorFault:
    """Return what is said where the server knows who asks, and says no to this: other tools may well go on."""
    found = _SCOPE.search(refusal.challenge)
    wanted = f"it wants the scopes {found[1]!r}" if found else "it gives no reason"
    text = (
        f"The server does not let the gateway's credential do this ({wanted}). Repeating it will not help: "
        "an operator grants it more, or the agent leaves it."
    )
    return ConnectorFault(text, code="forbidden", detail=f"HTTP {refusal.status}")
