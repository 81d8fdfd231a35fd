"""Which labels the answers of a tool carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.model.duration import milliseconds
from gateway.model.operation import TOOL_CALL
from gateway.model.tool import Tool
from gateway.taint.config import TaintSection

__all__ = ["PRIVATE", "UNHEEDED", "UNTRUSTED", "Labels", "Source", "labels_of"]

UNTRUSTED: Final = "untrusted"
PRIVATE: Final = "private"


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer comes from: a server and how far it is trusted, and what is known of the tool."""

    server: str
    trust: int
    open_world: bool = False
    classification: int = 0


def labels_of(section: TaintSection, source: Source) -> tuple[str, ...]:
    """Return what an answer from there carries: whose word it is, and whether it is private."""
    untrusted = source.open_world or source.trust < section.trusted_from
    private = source.classification >= section.private_from
    return (*((UNTRUSTED, f"from:{source.server}") if untrusted else ()), *((PRIVATE,) if private else ()))


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of every tool by name, and those of what else a server answers.

    Where no policy looks at them (not `heeded`) nothing is followed. What nobody knows is not trusted.
    """

    heeded: bool = False
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    servers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    window_ms: int = milliseconds("24h")

    def of(self, tool: Tool, origin: str = "") -> tuple[str, ...]:
        """Return what an answer of a tool carries; `origin` is the tool that had given it, where that is another."""
        is_tool = tool.method == TOOL_CALL
        own = self.tools.get(tool.name) if is_tool else self.servers.get(tool.server)
        if own is None:
            own = self._or_strange(own, tool.server)
        if not origin or not is_tool:
            return own
        return tuple(dict.fromkeys((*own, *self._or_strange(self.tools.get(origin), origin.partition(".")[0]))))

    def _or_strange(self, found: tuple[str, ...] | None, server: str) -> tuple[str, ...]:
        return (UNTRUSTED, f"from:{server}") if found is None else found


UNHEEDED: Final = Labels()
