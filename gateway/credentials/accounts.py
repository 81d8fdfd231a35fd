"""The accounts that users have connected: what the gateway may do for whom, sealed in the vault."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gateway.connector.credential import Behalf
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.token import Token
from gateway.credentials.vault import Vault, account_name

__all__ = ["Account", "Accounts"]

_T = TypeVar("_T")


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
        entry = await _off_the_loop(self._entry, server, behalf)
        return Account.of(entry) if entry is not None else None

    async def keep(self, server: str, behalf: Behalf, account: Account) -> None:
        """Keep an account, durably. Raises `GrantRefused` where the vault cannot be written."""
        await _off_the_loop(self._vault.put, account_name(server, behalf.user, behalf.issuer), account.entry())

    async def renewed(self, server: str, behalf: Behalf, account: Account) -> bool:
        """Keep what an account was refreshed to; not, and False, if it was disconnected meanwhile. Raises as `keep`."""
        return await _off_the_loop(self._replaced, server, behalf, account)

    def _entry(self, server: str, behalf: Behalf) -> Mapping[str, Any] | None:
        name = self._name(server, behalf)
        return self._vault.get(name) if name is not None else None

    def _replaced(self, server: str, behalf: Behalf, account: Account) -> bool:
        name = self._name(server, behalf)
        return name is not None and self._vault.replace(name, account.entry())

    def _name(self, server: str, behalf: Behalf) -> tuple[str, ...] | None:
        """Return an entry's name; where nobody vouches for the user's, as in a configuration, the only one's."""
        if behalf.issuer or not behalf.user:
            return account_name(server, behalf.user, behalf.issuer)
        found = [name for name in self._vault.names() if name[:3] == ("account", server, behalf.user)]
        if len(found) > 1:
            raise CredentialFault("account", f"several users called {behalf.user} have connected an account")
        return found[0] if found else None


async def _off_the_loop(work: Callable[..., _T], *given: Any) -> _T:
    try:
        return await asyncio.to_thread(work, *given)
    except CredentialFault as fault:
        raise GrantRefused(str(fault)) from None
