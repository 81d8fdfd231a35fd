"""A user lets the gateway act for them: authorization code, with PKCE, state and the issuer's name checked."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.connector.credential import Behalf
from gateway.credentials.accounts import Account, Accounts
from gateway.credentials.client import Client, TokenEndpoint
from gateway.credentials.discovery import Issuer
from gateway.credentials.fault import GrantRefused
from gateway.credentials.flow import CodeFlow, NotOurs, check_page
from gateway.credentials.oauth import OAuth
from gateway.credentials.vault import Vault, registration_name
from gateway.model.clock import Clock

__all__ = ["Consent", "NotOurs", "keep"]


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
    known = await asyncio.to_thread(vault.get, name)
    if known is None:
        known = await _registered(oauth, issuer, redirect)
        await asyncio.to_thread(vault.put, name, known)
    return Client(known["client_id"], known["client_secret"])


async def _registered(oauth: OAuth, issuer: Issuer, redirect: str) -> Mapping[str, str]:
    if not issuer.register_url:
        raise GrantRefused(f"{issuer.issuer} registers no clients by itself: set `client_id` under `auth:`")
    page = await oauth.fetch.post_json(
        issuer.register_url,
        {
            "client_name": "toolgate",
            "application_type": "native" if urlsplit(redirect).scheme == "http" else "web",
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

    def __init__(self, oauth: OAuth, flow: CodeFlow, clock: Clock) -> None:
        self.flow: Final = flow
        self._oauth = oauth
        self._clock = clock

    @classmethod
    async def asked(cls, oauth: OAuth, redirect: str, vault: Vault, clock: Clock) -> "Consent":
        """Prepare to ask.

        Raises:
            GrantRefused: the gateway cannot register there.
            ConnectorFault: the authorization server does not answer, or cannot do it safely.
            CredentialFault: the vault does not open.
        """
        issuer = await oauth.issuer()
        check_page(issuer)
        client = await _client_at(oauth, issuer, redirect, vault)
        return cls(oauth, CodeFlow(TokenEndpoint(issuer, client, oauth.fetch, clock), redirect), clock)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the user is asked for."""
        return tuple(self._oauth.section.scopes or self.flow.endpoint.issuer.scopes)

    @property
    def url(self) -> str:
        """Where the user is sent."""
        return self.flow.url({"resource": self._oauth.resource, "scope": " ".join(self.scopes)})

    async def given(self, came: Mapping[str, str]) -> Account:
        """Return the account that the query of the redirect stands for; works once.

        Raises:
            NotOurs: it answers another question than this one, or one that has been answered.
            GrantRefused: the user or the authorization server said no, or another server answered (mix-up).
            ConnectorFault: the authorization server does not answer, or not as it should.
        """
        endpoint, resource = self.flow.endpoint, self._oauth.resource
        token = await endpoint.ask(self.flow.form(came, resource=resource))
        client = endpoint.client
        return Account(endpoint.issuer.issuer, resource, client.id, client.secret, token, self._clock.now_ms())


async def keep(account: Account, server: str, behalf: Behalf, vault: Vault) -> None:
    """Have the gateway use an account from its next call on. Raises `GrantRefused` where it cannot be kept."""
    await Accounts(vault).keep(server, behalf, account)
    await asyncio.to_thread(vault.renew, server, behalf.user, behalf.issuer)
