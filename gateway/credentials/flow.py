"""Sending somebody to an authorization server, and what their coming back is good for (OAuth 2.1, RFC 7636, 9207)."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit

from gateway.credentials.client import Client, TokenEndpoint
from gateway.credentials.discovery import Issuer, issuer_at
from gateway.credentials.fault import GrantRefused, unusable
from gateway.credentials.fetch import Fetch, Where
from gateway.model.clock import Clock

__all__ = ["CodeFlow", "ConsentDenied", "Login", "NotOurs", "Profile", "check_page", "logins_at"]


class NotOurs(Exception):
    """What came to the redirect URI is no answer to what was asked; whoever sent it, the user did not."""


class ConsentDenied(GrantRefused):
    """The user said no."""


def check_page(issuer: Issuer, *, by_nonce: bool = False) -> None:
    """Return if users can be sent to the authorization server safely. Raises `ConnectorFault`.

    A stolen code is of no use without its verifier, or `by_nonce` where what it is exchanged for says what it answers
    (OAuth 2.1 §7.5.1): many issuers of identities check PKCE and do not say so.
    """
    if not issuer.authorize_url:
        raise unusable(f"{issuer.issuer} has no page where users consent.")
    if not (issuer.pkce or by_nonce):
        raise unusable(f"{issuer.issuer} does not say that it checks PKCE with S256, so codes could be stolen.")


class CodeFlow:
    """One question at one authorization server, on one redirect URI, good for one answer.

    `drawn` are its state and its verifier, where whoever asks can tell them again; else they are drawn here.
    """

    def __init__(self, endpoint: TokenEndpoint, redirect: str, drawn: tuple[str, str] = ("", "")) -> None:
        self.endpoint: Final = endpoint
        self.state: Final = drawn[0] or secrets.token_urlsafe(32)
        self._redirect = redirect
        self._verifier: Final = drawn[1] or secrets.token_urlsafe(64)
        self._used = False

    def url(self, wanted: Mapping[str, str]) -> str:
        """Return where the user is sent; of what is `wanted`, empty values are left out."""
        digest = hashlib.sha256(self._verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.endpoint.client.id,
            "redirect_uri": self._redirect,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            **wanted,
        }
        place = self.endpoint.issuer.authorize_url
        asked = urlencode({name: value for name, value in query.items() if value})
        return f"{place}{'&' if '?' in place else '?'}{asked}"

    def form(self, came: Mapping[str, str], **more: str) -> Mapping[str, str]:
        """Return what the query of the redirect is exchanged with for a token; works once.

        Raises:
            NotOurs: it answers another question than this one, or one that has been answered.
            GrantRefused: the user (`ConsentDenied`) or the authorization server said no, or another server answered.
        """
        if self._used or not hmac.compare_digest(came.get("state", "").encode(), self.state.encode()):
            raise NotOurs
        self._used = True
        issuer = self.endpoint.issuer
        if came.get("iss", "" if issuer.names_itself else issuer.issuer) != issuer.issuer:
            raise GrantRefused("the answer is not of the authorization server that was asked (RFC 9207)")
        if came.get("error") == "access_denied":
            raise ConsentDenied("consent was not given")
        if "error" in came or not came.get("code"):
            raise GrantRefused("consent was not given: the authorization server says that something went wrong")
        return {
            "grant_type": "authorization_code",
            "code": came["code"],
            "redirect_uri": self._redirect,
            "code_verifier": self._verifier,
            **more,
        }


class Profile(Protocol):
    """Who the gateway is at an issuer of people's identities."""

    @property
    def client_id(self) -> str:
        """Its name there."""
        ...

    @property
    def secret(self) -> str:
        """Its secret there; empty for a public client."""
        ...


async def logins_at(profile: Profile, issuer: str, clock: Clock) -> TokenEndpoint:
    """Return the token endpoint of the issuer of that URL, where people can be sent. Raises `ConnectorFault`."""
    host = urlsplit(issuer).hostname
    fetch = Fetch(Where({host} if host else ()), None)
    found = await issuer_at(fetch, issuer)
    check_page(found, by_nonce=True)
    return TokenEndpoint(found, Client(profile.client_id, profile.secret), fetch, clock)


class Login:
    """One person asked once, at their issuer, who they are (OpenID Connect Core §3.1)."""

    def __init__(self, flow: CodeFlow, nonce: str = "") -> None:
        self.flow: Final = flow
        self.nonce: Final = nonce or secrets.token_urlsafe(32)

    @classmethod
    async def at(cls, profile: Profile, issuer: str, where: tuple[str, Clock]) -> "Login":
        """Prepare to ask at the issuer of that URL; `where` is the redirect URI, and the clock.

        Raises `ConnectorFault`.
        """
        redirect, clock = where
        return cls(CodeFlow(await logins_at(profile, issuer, clock), redirect))

    @property
    def url(self) -> str:
        """Where the person is sent: to log in anew, for an attacker may have logged their browser in as another."""
        return self.flow.url({"scope": "openid", "nonce": self.nonce, "prompt": "login"})

    async def given(self, came: Mapping[str, str]) -> str:
        """Return the ID token, which is not believed yet. Raises as `CodeFlow.form`, and `ConnectorFault`."""
        answer: Mapping[str, Any] = await self.flow.endpoint.answer(self.flow.form(came))
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise unusable(f"{self.flow.endpoint.issuer.issuer} gives no ID token.")
        return token
