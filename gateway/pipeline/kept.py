"""Answers that were too large to be given whole, for as long as whoever asked may still want to read on in them.

They are kept in memory, not in the store: what is at rest there is what the ledger keeps, with secrets taken out and
bounded, and a second copy of everything large would be neither. A restart loses them as their hour would; an effect is
not repeated for it, the recorded answer is cut anew.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import RequestFault
from gateway.model.identity import Identity, principal_of
from gateway.model.task import GET_TASK
from gateway.model.tool import Tool
from gateway.pipeline.cutting import cut, head_of, size_of
from gateway.pipeline.rules import RulesInForce
from gateway.policy import visible

__all__ = ["Bounds", "Kept"]

_LIFE_MS: Final = 3600 * 1000
_GONE: Final = (
    "There is no such answer to read on in: it was kept for an hour, made room for others, or was lost in a restart of "
    "the gateway; or it is not yours. Ask for the data again, for less of it if you can."
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: answers of one principal, bytes of one, bytes of all."""

    answers: int = 64
    bytes_each: int = 32 * 1024 * 1024
    bytes_all: int = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Answer:
    text: bytes
    tool: str
    limit: int
    until_ms: int


class Kept:
    """Cuts answers and lets their principal (an agent, and the user it acts for) read on in them, and nobody else.

    Who keeps too much loses its oldest answers first; when all together keep too much, whoever keeps most.
    """

    def __init__(self, rules: RulesInForce, clock: Clock, ids: IdSource, bounds: Bounds | None = None) -> None:
        self._rules = rules
        self._clock = clock
        self._ids = ids
        self._bounds = bounds or Bounds()
        self._answers: dict[str, OrderedDict[str, _Answer]] = {}
        self._sizes: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(len(answers) for answers in self._answers.values())

    def fitted(self, call: Call, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return an answer as it is, or cut where the tool has a limit that it exceeds."""
        about = call.request.task
        if about is not None and call.tool.method == GET_TASK:
            inner = result.get("result")
            if not isinstance(inner, Mapping):
                return result
            fitted = self._fit(call, about.tool, inner)
            return result if fitted is inner else {**result, "result": fitted}
        return self._fit(call, call.tool if about is None else about.tool, result)

    def _fit(self, call: Call, tool: Tool, result: Mapping[str, Any]) -> Mapping[str, Any]:
        limit = self._rules.current.limits.results.get(tool.name)
        if limit is None or result.get("resultType", "complete") != "complete":
            return result
        size = size_of(result)
        if size <= limit:
            return result
        taken = cut(result, limit)
        until_ms = self._clock.now_ms() + _LIFE_MS
        handle = self._keep(principal_of(call.identity), _Answer(taken.text.encode(), tool.name, limit, until_ms))
        until = datetime.fromtimestamp(until_ms / 1000, UTC)
        return taken.answer(size, handle, f"{until:%Y-%m-%d %H:%M} UTC")

    async def read(self, call: Call) -> Mapping[str, Any]:
        """Answer `results.read`. Raises `RequestFault`: the handle is not one of this principal's, or no longer."""
        asked = call.arguments
        answer = self._find(call.identity, asked["handle"])
        call.origin = answer.tool
        text = answer.text.decode()
        start = asked.get("offset", 0)
        if start > len(text):
            raise RequestFault(f"The answer has {len(text)} characters: offset {start} is behind its end.")
        piece = head_of(text, start, answer.limit)[: asked.get("length", answer.limit)]
        end = start + len(piece)
        following = end if end < len(text) else None
        said = f"Read on at offset {following}" if following is not None else "That is the end"
        return {
            "content": [
                {"type": "text", "text": piece},
                {"type": "text", "text": f"[Characters {start} to {end} of {len(text)}. {said}.]"},
            ],
            "structuredContent": {"text": piece, "offset": start, "next": following, "total": len(text)},
        }

    def _find(self, identity: Identity, handle: str) -> _Answer:
        principal = principal_of(identity)
        own = self._answers.get(principal)
        answer = own.get(handle) if own is not None else None
        if answer is not None and answer.until_ms <= self._clock.now_ms():
            self._drop(principal, handle)
            answer = None
        rules = self._rules.current
        tool = rules.catalog.find(answer.tool) if answer is not None else None
        if answer is None or tool is None or not visible(rules.bundle, identity, tool, granted=True):
            raise RequestFault(_GONE)
        return answer

    def _keep(self, principal: str, answer: _Answer) -> str:
        """Keep an answer and return its handle; an empty one where it is larger than what anybody may keep."""
        bounds = self._bounds
        self._expire()
        if len(answer.text) > min(bounds.bytes_each, bounds.bytes_all):
            return ""
        handle = self._ids.new("res")
        self._answers.setdefault(principal, OrderedDict())[handle] = answer
        self._sizes[principal] = self._sizes.get(principal, 0) + len(answer.text)
        while len(self._answers[principal]) > bounds.answers or self._sizes[principal] > bounds.bytes_each:
            self._drop(principal, next(iter(self._answers[principal])))
        while sum(self._sizes.values()) > bounds.bytes_all:
            most = max(self._sizes, key=self._sizes.__getitem__)
            self._drop(most, next(iter(self._answers[most])))
        return handle if handle in self._answers.get(principal, {}) else ""

    def _expire(self) -> None:
        now = self._clock.now_ms()
        for principal in list(self._answers):
            kept = list(self._answers[principal].items())
            for handle, answer in kept:
                if answer.until_ms > now:
                    break
                self._drop(principal, handle)

    def _drop(self, principal: str, handle: str) -> None:
        self._sizes[principal] -= len(self._answers[principal].pop(handle).text)
        if not self._answers[principal]:
            del self._answers[principal], self._sizes[principal]
