"""What of an agent's request goes on to a server, and in whose name."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.connector import ITSELF, Behalf, Secret
from gateway.model.call import Call

__all__ = ["OWN_META_PREFIX", "behalf_of", "passed_meta", "task_id_of"]

OWN_META_PREFIX: Final = "io.toolgate/"
"""`_meta` keys the gateway reads or writes; they never go downstream."""


def behalf_of(call: Call) -> Behalf:
    """Return for whom the call is made; only a verified JWT says so, and can be exchanged for another."""
    identity = call.identity
    if identity.method != "jwt":
        return ITSELF
    return Behalf(identity.on_behalf_of or "", identity.issuer, Secret(call.request.caller.credential.value))


def passed_meta(call: Call) -> Mapping[str, Any]:
    """Return what of a request's `_meta` goes on to the server."""
    return {name: value for name, value in call.request.meta.items() if not name.startswith(OWN_META_PREFIX)}


def task_id_of(call_id: str) -> str:
    """Return what a client knows the task by that a call becomes."""
    return f"task_{call_id.partition('_')[2]}"
