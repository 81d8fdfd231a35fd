"""What of an agent's request goes on to a server, and in whose name."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.codec import CodecError, digest
from gateway.connector import ITSELF, Behalf, Secret
from gateway.model.back import Back
from gateway.model.call import Call

__all__ = ["OWN_META_PREFIX", "behalf_of", "passed_meta", "said_besides", "task_id_of"]

OWN_META_PREFIX: Final = "io.toolgate/"
"""`_meta` keys the gateway reads or writes; they never go downstream."""

_OF_ONE_CALL: Final = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})
_OF_PROTOCOL: Final = (OWN_META_PREFIX, "io.modelcontextprotocol/")
"""Beginnings of `_meta` keys that do not reach the tool."""


def behalf_of(call: Call) -> Behalf:
    """Return for whom the call is made; only a verified JWT says so, and can be exchanged for another."""
    identity = call.identity
    if identity.method != "jwt":
        return ITSELF
    return Behalf(identity.on_behalf_of or "", identity.issuer, Secret(call.request.caller.credential.value))


def passed_meta(call: Call) -> Mapping[str, Any]:
    """Return what of a request's `_meta` goes on to the server; with most clients that is nothing."""
    meta = call.request.meta
    for name in meta:
        if not name.startswith(_OF_PROTOCOL):
            return {name: value for name, value in meta.items() if not name.startswith(_OF_PROTOCOL)}
    return {}


def said_besides(call: Call, way: Back) -> str:
    """Return what beside its arguments may make a call's answer another one, as one text: empty where nothing does.

    That is what the tool sees of `_meta`, and what its server is told by the `way` back of what the client can do:
    servers answer a client that shows widgets, or can be asked, in other words than one that is not.
    """
    meta = call.request.meta
    told = {key: meta[key] for key in meta if key not in _OF_ONE_CALL and not key.startswith(_OF_PROTOCOL)}
    if not (told or way.capabilities or way.declares):
        return ""
    try:
        return digest([told, dict(way.capabilities), dict(way.declares)])
    except CodecError:
        return call.id  # nobody can say the same


def task_id_of(call_id: str) -> str:
    """Return what a client knows the task by that a call becomes."""
    return f"task_{call_id.partition('_')[2]}"
