"""`toolgate credential`: what the gateway shows to the servers behind it."""

import asyncio
import os
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.durations import span_ms
from gateway.cli.loaded import Loaded
from gateway.cli.output import Refused, done, emit, fail_with, say, table
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.connector.auth import AuthorizationCode
from gateway.connector.credential import Behalf, Sought
from gateway.connector.registry import load_connectors, sought_in
from gateway.credentials.accounts import Account, Accounts
from gateway.credentials.consent import Consent, keep
from gateway.credentials.fault import CredentialFault, GrantRefused
from gateway.credentials.loopback import listening
from gateway.credentials.oauth import OAuth
from gateway.credentials.vault import Vault, account_name
from gateway.model.clock import SystemClock
from gateway.model.errors import ConnectorFault
from gateway.store.ports import EventKind, Record, Store

__all__ = ["commands"]

PORT: Final = 8749
"""What authorization servers are told of: the same each time, for those that compare redirect URIs whole."""
Server = Annotated[str, typer.Argument(help="The server's name, as under `mcpServers:`.")]
User = Annotated[str, typer.Option("--user", help="The user, as their tokens name them; none for agents on their own.")]
By = Annotated[str, typer.Option("--issuer", help="Who vouches for the user, if agents have several issuers.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate credential`."""
    group = typer.Typer(help="What the gateway shows to the servers behind it.", no_args_is_help=True)
    group.command()(connect)
    group.command()(disconnect)
    group.command()(renew)
    group.command("list")(list_accounts)
    return group


def connect(  # noqa: PLR0913, PLR0917  # its options
    server: Server,
    user: User = "",
    issuer: By = "",
    port: Annotated[int, typer.Option(help="Where the browser comes back to; 0 for a free port.")] = PORT,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    wait: Annotated[str, typer.Option(help="How long to wait for the user.")] = "10m",
    config: ConfigPath = Path("gateway.yaml"),
) -> None:
    """Have a user let the gateway act for them at a server: opens the page where they consent."""
    loaded = loaded_from(config)
    sought = _sought(loaded, server)
    behalf = _behalf(loaded, user, issuer, server)
    vault = Vault(home_of(loaded).private, os.environ)
    oauth = OAuth(sought, Accounts(vault), SystemClock(), loaded.path.parent)

    async def ask() -> Account:
        async with listening(port) as loopback, asyncio.timeout(span_ms(wait) / 1000):
            consent = await Consent.asked(oauth, loopback.redirect, vault, SystemClock())
            say(f"{_whose(server, user)}:\n\n{consent.url}\n")
            if browser:
                webbrowser.open(consent.url)
            account = await loopback.account(consent)
            await keep(account, server, behalf, vault)
            return account

    account = _carried_out(ask, port)
    facts = {"as": account.issuer, "client": account.client_id, "scopes": list(account.token.scopes)}
    _note(loaded, behalf, {"what": "credential connected", "server": server, **facts})
    done(f"{server} is connected{f' for {user}' if user else ''}")


def disconnect(server: Server, user: User = "", issuer: By = "", config: ConfigPath = Path("gateway.yaml")) -> None:
    """Forget a user's consent; what the authorization server has on file is withdrawn there."""
    loaded = loaded_from(config)
    behalf = _behalf(loaded, user, issuer, server)
    vault = Vault(home_of(loaded).private, os.environ)
    try:
        there = vault.remove(account_name(server, behalf.user, behalf.issuer))
        vault.renew(server, behalf.user, behalf.issuer)
    except CredentialFault as fault:
        fail_with(Refused(fault.code, str(fault)))
    if not there:
        fail_with(Refused("not_connected", f"no account is connected to {server}{f' for {user}' if user else ''}"))
    _note(loaded, behalf, {"what": "credential disconnected", "server": server})
    done(f"{server} is no longer connected{f' for {user}' if user else ''}")


def renew(server: Server, config: ConfigPath = Path("gateway.yaml")) -> None:
    """Say that a server's credential works again, after it was put right where it is issued."""
    loaded = loaded_from(config)
    if server not in loaded.config.mcpServers:
        fail_with(_unknown(loaded, server))
    try:
        Vault(home_of(loaded).private, os.environ).renew(server)
    except CredentialFault as fault:
        fail_with(Refused(fault.code, str(fault)))
    _note(loaded, Behalf(), {"what": "credential renewed", "server": server})
    done(f"the next call to {server} tries its credential again")


def list_accounts(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """List the accounts that users have connected, never a token."""
    loaded = loaded_from(config, as_json=as_json)
    vault = Vault(home_of(loaded).private, os.environ)
    try:
        names = [name for name in vault.names() if name[0] == "account"]
        rows = [_row(name, Account.of(entry)) for name in names if (entry := vault.get(name))]
    except CredentialFault as fault:
        fail_with(Refused(fault.code, str(fault)), as_json=as_json)
    emit(rows, table(rows) or ["no account is connected"], as_json=as_json)


def _row(name: tuple[str, ...], account: Account) -> dict[str, str]:
    since = datetime.fromtimestamp(account.connected_ms / 1000, UTC).isoformat(timespec="seconds")
    scopes = " ".join(account.token.scopes)
    return {"server": name[1], "user": name[2] or "-", "at": account.issuer, "scopes": scopes, "connected": since}


def _carried_out(ask: Any, port: int) -> Account:
    try:
        account: Account = asyncio.run(ask())
    except OSError as error:
        if isinstance(error, TimeoutError):
            fail_with(Refused("timeout", "nobody consented in time", "repeat the command; --wait gives more time"))
        fail_with(Refused("port", f"127.0.0.1:{port} cannot be listened on ({error.strerror})", "name another: --port"))
    except ConnectorFault as fault:
        fail_with(Refused(fault.code, fault.message, fault.detail))
    except GrantRefused as refusal:
        fail_with(Refused("refused", str(refusal)))
    except CredentialFault as fault:
        fail_with(Refused(fault.code, str(fault)))
    return account


def _sought(loaded: Loaded, server: str) -> Sought:
    """Return the server's section; one to which users connect."""
    for sought in sought_in(loaded.config.mcpServers, load_connectors()):
        if sought.server == server and isinstance(sought.auth, AuthorizationCode):
            return sought
    if server not in loaded.config.mcpServers:
        fail_with(_unknown(loaded, server))
    hint = f"write `auth: {{ type: authorization_code }}` for {server} in {loaded.path.name}"
    fail_with(Refused("no_accounts", f"users do not connect accounts to {server}", hint))


def _unknown(loaded: Loaded, server: str) -> Refused:
    known = ", ".join(sorted(loaded.config.mcpServers)) or "none"
    return Refused("unknown_server", f"no server is called {server!r}", f"there: {known}")


def _whose(server: str, user: str) -> str:
    """Return what whoever runs the command is to do, and with whose account at the server."""
    if user:
        return f"Have {user} open this page, log in to {server} with their own account, and consent"
    return (
        f"Open this page, log in to {server} with the account that the gateway itself is to have there, and consent. "
        "It lists the server's tools, unless `list_as` names a user, and agents that act for no user work with it"
    )


def _behalf(loaded: Loaded, user: str, issuer: str, server: str) -> Behalf:
    """Return whom an account is of: two issuers may each have a user of that name."""
    if not user:
        return Behalf()
    issuers = sorted({agent.auth.jwt.issuer for agent in loaded.config.agents.values() if agent.auth.jwt})
    if issuer not in issuers and (issuer or len(issuers) != 1):
        if not issuers:
            hint = f"leave `--user` out (and `list_as`): the gateway's own: toolgate credential connect {server}"
            fail_with(Refused("issuer", "users are known from agents' JWTs, and no agent has `auth: { jwt: … }`", hint))
        fail_with(Refused("issuer", "say who vouches for the user: --issuer", f"there: {', '.join(issuers)}"))
    return Behalf(user, issuer or issuers[0])


def _note(loaded: Loaded, behalf: Behalf, body: dict[str, Any]) -> None:
    async def work(store: Store) -> None:
        told = {**body, "by": "command line"}
        await store.record(Record("", SystemClock().now_ms(), "", "", behalf.user, "", told, EventKind.ADMIN))

    with_store(loaded, work)
