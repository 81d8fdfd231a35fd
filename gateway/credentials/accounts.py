"""The accounts that users have connected: what the gateway may do for whom, sealed in the vault."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.connector.credential import Behalf
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.token import Token
from gateway.credentials.vault import Vault, account_name

__all__ = ["Account", "Accounts"]


@dataclass(frozen=True, slots=True)
class Account:
    """A user's consent: the token, and the authorization server, client and resource that it is bound to."""

    issuer: str
    resource: str
    client_id: str
    client_secret: str = field(repr=False)
    token: Token
    connected_ms: int

    def entry(self) -> Mapping[str, Any]:
        """Return it as JSON."""
        token = self.token
        return {
            "issuer": self.issuer,
            "resource": self.resource,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "connected_ms": self.connected_ms,
            "token": [token.value, token.got_ms, token.ends_ms, token.refresh, list(token.scopes)],
        }

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Account":
        """Return the account in an entry."""
        value, got_ms, ends_ms, refresh, scopes = entry["token"]
        token = Token(value, got_ms, ends_ms, refresh, tuple(scopes))
        members = {name: entry[name] for name in ("issuer", "resource", "client_id", "client_secret", "connected_ms")}
        return cls(**members, token=token)


class Accounts:
    """The vault's accounts, by server and user. The disk is never waited for on the event loop."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def find(self, server: str, behalf: Behalf) -> Account | None:
        """Return the account of a user, or None. Raises `GrantRefused` where the vault does not open."""
        try:
            entry = await asyncio.to_thread(self._entry, server, behalf)
        except CredentialFault as fault:
            raise GrantRefused(str(fault)) from None
        return Account.of(entry) if entry is not None else None

    def _entry(self, server: str, behalf: Behalf) -> Mapping[str, Any] | None:
        """Return an entry; where nobody vouches for the name, as in a configuration, the only one of that name."""
        if behalf.issuer or not behalf.user:
            return self._vault.get(account_name(server, behalf.user, behalf.issuer))
        found = [name for name in self._vault.names() if name[:3] == ("account", server, behalf.user)]
        if len(found) > 1:
            raise CredentialFault("account", f"several users called {behalf.user} have connected an account")
        return self._vault.get(found[0]) if found else None

    async def keep(self, server: str, behalf: Behalf, account: Account) -> None:
        """Keep an account, durably. Raises `GrantRefused` where the vault cannot be written."""
        name = account_name(server, behalf.user, behalf.issuer)
        try:
            await asyncio.to_thread(self._vault.put, name, account.entry())
        except CredentialFault as fault:
            raise GrantRefused(str(fault)) from None
