"""What `toolgate doctor` finds of how agents and people prove who they are: their tokens, and the keys of issuers."""

import asyncio
from collections.abc import Iterable

from gateway.app import store_file
from gateway.cli.checks import Check
from gateway.cli.loaded import Loaded
from gateway.cli.place import home_of, in_store
from gateway.identity.key_fetch import KeysUnavailable, fetch_keys
from gateway.identity.lint import lint_tokens
from gateway.model.clock import SystemClock
from gateway.model.errors import GatewayError
from gateway.store.private_file import PrivateFileError

__all__ = ["examine_keys", "examine_tokens"]


def examine_tokens(loaded: Loaded) -> Iterable[Check]:
    """Yield what is wrong with tokens on record; nothing where there is no ledger yet."""
    file = store_file(loaded.config, home_of(loaded))
    if file is None or not file.exists():
        return
    try:
        tokens = in_store(loaded, lambda store: store.tokens())
    except (GatewayError, PrivateFileError) as error:
        yield Check("ledger", ok=False, message=str(error), fix="toolgate verify")
        return
    for found in lint_tokens(loaded.config.agents, loaded.config.people, tokens, SystemClock().now_ms()):
        message, _, fix = found.message.partition("; fix: ")
        yield Check("tokens", ok=not found.error, message=message, fix=fix, warning=not found.error)


def examine_keys(loaded: Loaded) -> Iterable[Check]:
    """Ask each issuer for the keys with which its JWTs are checked."""
    ways = {jwt.issuer: jwt for agent in loaded.config.agents.values() if (jwt := agent.auth.jwt) is not None}
    for issuer, jwt in ways.items():
        try:
            keys = asyncio.run(fetch_keys(jwt.beside(loaded.path.parent)))
        except KeysUnavailable as error:
            yield Check(f"issuer {issuer}", ok=False, message=f"none of its JWTs can be checked: {error}")
        else:
            yield Check(f"issuer {issuer}", ok=bool(keys), message=f"its keys can be read ({len(keys)})")
