"""The OAuth grants, each a way to get the next token."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.connector.auth import AuthorizationCode, ClientCredentials, OAuthSection, TokenExchange
from gateway.connector.credential import Behalf, Sought
from gateway.connector.target import Target
from gateway.connector.tunnel import Tunnel
from gateway.credentials.accounts import Account, Accounts
from gateway.credentials.client import Client, TokenEndpoint
from gateway.credentials.discovery import Issuer, issuer_for
from gateway.credentials.fault import GrantRefused
from gateway.credentials.fetch import Fetch, Where
from gateway.credentials.token import Token
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault

__all__ = ["OAuth", "named_hosts"]

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_OF_ACCESS: Final = "urn:ietf:params:oauth:token-type:access_token"
_METADATA_MS: Final = 3_600_000


def named_hosts(section: OAuthSection, url: str) -> frozenset[str]:
    """Return the hosts that the operator named, which may be on private addresses."""
    urls = (url, section.issuer, getattr(section, "token_url", ""))
    return frozenset({*section.allow_private, *(Target.read(each).host for each in urls if each)})


class OAuth:
    """One `auth:` section for one server: finds the authorization server, and asks it for tokens.

    Files are relative to `folder`.
    """

    def __init__(self, sought: Sought, accounts: Accounts, clock: Clock, folder: Path = Path()) -> None:
        self.section: Final[Any] = sought.auth
        self.resource: Final = self.section.resource or sought.url
        self.fetch: Final = Fetch(
            Where(named_hosts(self.section, sought.url)), sought.ca_file, tunnel=Tunnel.through(sought.proxy)
        )
        self._assertion_file = folder / self.section.assertion_file if self.section.assertion_file else None
        self._sought = sought
        self._accounts = accounts
        self._clock = clock
        self._issuer: Issuer | None = None
        self._read_ms = 0

    async def issuer(self) -> Issuer:
        """Return the authorization server; its metadata is read once an hour. Raises `ConnectorFault`."""
        token_url = getattr(self.section, "token_url", "")
        if token_url:
            self.fetch.where.check(token_url)
            return Issuer(self.section.issuer or token_url, token_url)
        now = self._clock.now_ms()
        if self._issuer is None or now >= self._read_ms + _METADATA_MS:
            self._issuer = await issuer_for(self.fetch, self.section.issuer, self._sought.url)
            self._read_ms = now
        return self._issuer

    def client(self) -> Client:
        """Return who the section says the gateway is."""
        secret = self.section.client_secret
        return Client(self.section.client_id, secret.reveal() if secret else "", self._assertion_file)

    async def mint(self, behalf: Behalf, last: Token | None) -> Token:
        """Return the next token. Raises `GrantRefused` and `ConnectorFault`."""
        if isinstance(self.section, AuthorizationCode):
            return await self._of_account(behalf, last)
        if isinstance(self.section, TokenExchange) and behalf.proof is not None:
            return await self._exchanged(behalf.proof.reveal())
        assert isinstance(self.section, (ClientCredentials, TokenExchange))
        form = {"grant_type": "client_credentials", "scope": self._scope(), "resource": self.resource}
        return await (await self._endpoint(self.client())).ask(form)

    def _scope(self) -> str:
        return " ".join(self.section.scopes)

    async def _endpoint(self, client: Client) -> TokenEndpoint:
        return TokenEndpoint(await self.issuer(), client, self.fetch, self._clock)

    async def _exchanged(self, proof: str) -> Token:
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": proof,
            "subject_token_type": _OF_ACCESS,
            "requested_token_type": _OF_ACCESS,
            "resource": self.resource,
            "audience": self.section.audience,
            "scope": self._scope(),
        }
        return await (await self._endpoint(self.client())).ask(form)

    async def _of_account(self, behalf: Behalf, last: Token | None) -> Token:
        """Return the token of a user who has connected an account, refreshed if what is kept no longer holds."""
        account = await self._accounts.find(self._sought.server, behalf)
        if account is None:
            raise self._not_connected(behalf)
        if account.resource != self.resource:
            raise GrantRefused("the account was connected for another resource")
        kept = account.token
        if not kept.over(self._clock.now_ms()) and not kept.ageing(self._clock.now_ms()) and _is_news(kept, last):
            return kept
        if not kept.refresh:
            raise GrantRefused("the consent has ended, and there is no refresh token")
        return await self._refreshed(behalf, account)

    def _not_connected(self, behalf: Behalf) -> ConnectorFault:
        """Return what a caller is told who never was connected: nothing has died."""
        user = f" --user {shlex.quote(behalf.user)}" if behalf.user else ""
        whose = behalf.user or "the gateway"
        command = f"toolgate credential connect {self._sought.server}{user}"
        text = f"No account of {whose} is connected to this server: `{command}` does it."
        fault = ConnectorFault(text, code="credential_expired", sent=False)
        fault.wants_consent = True
        return fault

    async def _refreshed(self, behalf: Behalf, account: Account) -> Token:
        issuer = await self.issuer()
        if issuer.issuer != account.issuer:
            raise GrantRefused("the server now names another authorization server than the user consented to")
        client = Client(account.client_id, account.client_secret, self._assertion_file)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": account.token.refresh,
            "resource": self.resource,
        }
        fresh = await TokenEndpoint(issuer, client, self.fetch, self._clock).ask(form)
        fresh = replace(
            fresh, refresh=fresh.refresh or account.token.refresh, scopes=fresh.scopes or account.token.scopes
        )
        if not await self._accounts.renewed(self._sought.server, behalf, replace(account, token=fresh)):
            raise self._not_connected(behalf)
        return fresh


def _is_news(kept: Token, last: Token | None) -> bool:
    """Tell whether what is kept is another token than the one that was refused; a void one has no value."""
    return last is None or kept.got_ms > last.got_ms
