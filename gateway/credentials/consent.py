"""A user lets the gateway act for them: authorization code, with PKCE, state and the issuer's name checked."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from gateway.connector.credential import Behalf
from gateway.credentials.accounts import Account, Accounts
from gateway.credentials.client import Client, TokenEndpoint
from gateway.credentials.discovery import Issuer
from gateway.credentials.fault import GrantRefused, unusable
from gateway.credentials.oauth import OAuth
from gateway.credentials.vault import Vault, registration_name
from gateway.model.clock import Clock

__all__ = ["Consent", "NotOurs", "keep"]


class NotOurs(Exception):
    """What came to the redirect URI is no answer to what was asked; whoever sent it, the user did not."""


async def _client_at(oauth: OAuth, issuer: Issuer, redirect: str, vault: Vault) -> Client:
    """Return who the gateway is at an authorization server: as configured, or as it registered itself there, once.

    Raises:
        GrantRefused: it cannot register.
        ConnectorFault: the authorization server does not answer, or not as it should.
        CredentialFault: the vault does not open.
    """
    if oauth.section.client_id:
        return oauth.client()
    name = registration_name(issuer.issuer, redirect)
    known = vault.get(name)
    if known is None:
        known = await _registered(oauth, issuer, redirect)
        vault.put(name, known)
    return Client(known["client_id"], known["client_secret"])


async def _registered(oauth: OAuth, issuer: Issuer, redirect: str) -> Mapping[str, str]:
    if not issuer.register_url:
        raise GrantRefused(f"{issuer.issuer} registers no clients by itself: set `client_id` under `auth:`")
    page = await oauth.fetch.post_json(
        issuer.register_url,
        {
            "client_name": "toolgate",
            "application_type": "native",
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        },
    )
    identity, secret = page.document.get("client_id"), page.document.get("client_secret", "")
    if page.status not in {200, 201} or not isinstance(identity, str) or not identity or not isinstance(secret, str):
        raise GrantRefused(f"{issuer.issuer} does not register the gateway (HTTP {page.status})")
    return {"client_id": identity, "client_secret": secret}


class Consent:
    """One user asked once, on one redirect URI: where to send them, and what their coming back is good for."""

    def __init__(self, oauth: OAuth, endpoint: TokenEndpoint, redirect: str, clock: Clock) -> None:
        self._oauth = oauth
        self._endpoint = endpoint
        self._redirect = redirect
        self._clock = clock
        self._state: Final = secrets.token_urlsafe(32)
        self._verifier: Final = secrets.token_urlsafe(64)
        self._used = False

    @classmethod
    async def asked(cls, oauth: OAuth, redirect: str, vault: Vault, clock: Clock) -> "Consent":
        """Prepare to ask.

        Raises:
            GrantRefused: the gateway cannot register there.
            ConnectorFault: the authorization server does not answer, or cannot do it safely.
            CredentialFault: the vault does not open.
        """
        issuer = await oauth.issuer()
        if not issuer.authorize_url:
            raise unusable(f"{issuer.issuer} has no page where users consent.")
        if not issuer.pkce:
            raise unusable(f"{issuer.issuer} does not say that it checks PKCE with S256, so codes could be stolen.")
        client = await _client_at(oauth, issuer, redirect, vault)
        return cls(oauth, TokenEndpoint(issuer, client, oauth.fetch, clock), redirect, clock)

    @property
    def url(self) -> str:
        """Where the user is sent."""
        digest = hashlib.sha256(self._verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._endpoint.client.id,
            "redirect_uri": self._redirect,
            "state": self._state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "resource": self._oauth.resource,
            "scope": " ".join(self._oauth.section.scopes or self._endpoint.issuer.scopes),
        }
        place = self._endpoint.issuer.authorize_url
        wanted = urlencode({name: value for name, value in query.items() if value})
        return f"{place}{'&' if '?' in place else '?'}{wanted}"

    async def given(self, came: Mapping[str, str]) -> Account:
        """Return the account that the query of the redirect stands for; works once.

        Raises:
            NotOurs: it answers another question than this one, or one that has been answered.
            GrantRefused: the user or the authorization server said no, or another server answered (mix-up).
            ConnectorFault: the authorization server does not answer, or not as it should.
        """
        if self._used or not hmac.compare_digest(came.get("state", "").encode(), self._state.encode()):
            raise NotOurs
        self._used = True
        issuer = self._endpoint.issuer
        if came.get("iss", "" if issuer.names_itself else issuer.issuer) != issuer.issuer:
            raise GrantRefused("the answer is not of the authorization server that was asked (RFC 9207)")
        if "error" in came or not came.get("code"):
            raise GrantRefused("consent was not given")
        token = await self._endpoint.ask(
            {
                "grant_type": "authorization_code",
                "code": came["code"],
                "redirect_uri": self._redirect,
                "code_verifier": self._verifier,
                "resource": self._oauth.resource,
            }
        )
        client = self._endpoint.client
        return Account(issuer.issuer, self._oauth.resource, client.id, client.secret, token, self._clock.now_ms())


async def keep(account: Account, server: str, behalf: Behalf, vault: Vault) -> None:
    """Have the gateway use an account from its next call on. Raises `GrantRefused` where it cannot be kept."""
    await Accounts(vault).keep(server, behalf, account)
    vault.renew(server, behalf.user, behalf.issuer)
