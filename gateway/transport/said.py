"""What a client says of itself with a request, read once while it says the same: clients repeat it with every one."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from gateway.model.identity import ClientInfo
from gateway.transport.back import LEVELS, askable, declared

__all__ = ["CAPABILITIES", "CLIENT", "LEAST", "NOTHING", "VERSION", "Said", "client_info"]

_ENVELOPE: Final = "io.modelcontextprotocol/"
VERSION: Final = f"{_ENVELOPE}protocolVersion"
CAPABILITIES: Final = f"{_ENVELOPE}clientCapabilities"
CLIENT: Final = f"{_ENVELOPE}clientInfo"
_LOG_LEVEL: Final = f"{_ENVELOPE}logLevel"
_OWN: Final = "io.toolgate/"
LEAST: Final[Mapping[str, Any]] = MappingProxyType({})


class Said:
    """`params._meta` of a request, and what follows from it. To compare by equality is to take 1 for true.

    `version`, `capabilities`, `declares`, `level` and `client` are the envelope of 2026-07-28, of which `well_formed`
    says that its objects are objects. `plain` says that nothing in it is the gateway's own.
    """

    __slots__ = ("capabilities", "client", "declares", "level", "meta", "plain", "version", "well_formed")

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self.meta = meta
        self.version = meta.get(VERSION)
        capabilities, client = meta.get(CAPABILITIES), meta.get(CLIENT, LEAST)
        self.capabilities: Mapping[str, Any] = _askable(capabilities) if capabilities else LEAST
        self.declares: Mapping[str, Any] = declared(capabilities) if capabilities else LEAST
        level = meta.get(_LOG_LEVEL)
        self.level: str = level if level in LEVELS else ""
        self.client = client_info(client)
        self.well_formed = isinstance(capabilities, dict) and (client is LEAST or isinstance(client, dict))
        self.plain = not any(name.startswith(_OWN) for name in meta)


def _askable(said: Any) -> Mapping[str, Any]:
    """Return what the client can be asked; when its roots change it cannot tell in this era."""
    found = askable(said)
    if "roots" in found:
        found["roots"] = {name: value for name, value in found["roots"].items() if name != "listChanged"}
    return found


def client_info(said: Any) -> ClientInfo:
    """Return what a client says of itself, bounded."""
    if not isinstance(said, dict):
        return ClientInfo()
    return ClientInfo(str(said.get("name", ""))[:100], str(said.get("version", ""))[:50])


NOTHING: Final = Said(LEAST)
"""What follows from a request that says nothing."""
