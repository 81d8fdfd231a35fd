"""What the operator declares of a tool's answers, and where an answer came from that the tool did not give itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

__all__ = [
    "INCOMPLETE_META",
    "LAST_ANSWER",
    "PLAIN",
    "Answers",
    "CacheScope",
    "Caching",
    "Fallback",
    "Label",
    "Source",
    "Watch",
]


INCOMPLETE_META: Final = "io.toolgate/incomplete"
"""The `_meta` key with which a connector says that there is more than its result holds."""


class Label(StrEnum):
    """What a reader of an answer has to know before acting on it."""

    INCOMPLETE = "incomplete"  # there is more than it holds
    STALE = "stale"  # it was observed too long ago
    FALLBACK = "fallback"  # something else answered, because the tool could not be reached
    DRIFTED = "drifted"  # it is not like the answers before it


class Watch(StrEnum):
    """What is done about answers that are not like those before them, of a tool without an output schema."""

    OFF = "off"
    WATCH = "watch"  # they are labelled, and it is on record
    PAUSE = "pause"  # and the tool is stopped until an operator lets it go on


class CacheScope(StrEnum):
    """Who may be given an answer that somebody else asked for."""

    AGENT = "agent"  # nobody: only the same agent, acting for the same user
    USER = "user"  # the agents that act for the same user
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Caching:
    """How long an answer of a read is good for, for whom, and which writes end it.

    `invalidated_by` are patterns of canonical tool names; None stands for every write through the same server. The last
    answer is kept for `last_ms`, for when there is no other.
    """

    ttl_ms: int
    scope: CacheScope = CacheScope.AGENT
    invalidated_by: tuple[str, ...] | None = None
    last_ms: int = 0


LAST_ANSWER: Final = "cached"
"""What stands in the place of a tool's name where the last answer is the fallback."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """What answers while a tool cannot be reached: another tool, or `LAST_ANSWER`, which may be `within_ms` old.

    `arguments` makes the other tool's arguments of this one's, `result` this one's result of the other's; the latter
    raises `ValueError` for a result of which it cannot be made. None: they are alike.
    """

    tool: str
    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = field(default=None, compare=False)
    result: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = field(default=None, compare=False)
    within_ms: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What is declared of one tool's answers; nothing of it means that they pass as they come.

    `incomplete` judges an MCP result, `stale` one at a time (Unix milliseconds), and `breach` says which assertion
    one breaks, or nothing. `labels` are those that are declared, and `shape` what is done about drift.
    """

    caching: Caching | None = None
    fallbacks: tuple[Fallback, ...] = ()
    incomplete: Callable[[Mapping[str, Any]], bool] | None = field(default=None, compare=False)
    stale: Callable[[Mapping[str, Any], int], bool] | None = field(default=None, compare=False)
    breach: Callable[[Mapping[str, Any]], str] | None = field(default=None, compare=False)
    labels: frozenset[Label] = frozenset()
    shape: Watch = Watch.OFF


PLAIN: Final = Answers()


@dataclass(frozen=True, slots=True)
class Source:
    """Where an answer came from that the tool did not give to this very call.

    With a `call_id` it is the answer to that call, which asked the server `age_ms` ago. With a `fallback` (a tool, or
    `LAST_ANSWER`) it stands in for the tool, `because` of the fault of that code; `labels` are what is known of it.
    """

    call_id: str = ""
    age_ms: int = 0
    fallback: str = ""
    because: str = ""
    labels: tuple[Label, ...] = ()
