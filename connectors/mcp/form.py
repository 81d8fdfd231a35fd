"""A tool's calls as they are written, as far as that is the same for each."""

from collections.abc import Mapping
from typing import Any

from connectors.mcp.era import Era
from connectors.mcp.request import TOOL_CALL
from gateway.connector import Back, dump

__all__ = ["Form"]


class Form:
    """Writes calls with nothing but arguments, of clients of whom there is nothing to tell, as `era.params` has them.

    `headers` are their HTTP header lines; where the tool `mirrors` arguments in others, these do not do.
    """

    __slots__ = ("_before", "_heard", "_unheard", "era", "headers", "mirrors")

    def __init__(self, era: Era, tool: str, mirrors: bool = False) -> None:
        self.era = era
        self.mirrors = mirrors
        self.headers = era.headers(TOOL_CALL, tool)
        self._before = b'"method":"%b","params":{"name":%b,"arguments":' % (TOOL_CALL.encode(), dump(tool))
        self._heard = b',"_meta":%b}}' % dump(era.logged) if era.modern else b"}}"
        self._unheard = b',"_meta":%b}}' % dump(era.bare) if era.modern else b"}}"

    def written(self, arguments: Mapping[str, Any], back: Back) -> bytes:
        """Return the JSON-RPC message that calls the tool for the client behind `back`, after its number."""
        return self._before + dump(arguments) + (self._heard if back.logs_by_default else self._unheard)
