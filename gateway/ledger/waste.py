"""What could have been left out: the same read with the same answer, the same refusal again, retries, long answers."""

import hashlib
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import dump
from gateway.ledger.trace import CallLine

__all__ = ["LARGE", "Waste", "wasted"]

LARGE: Final = 100_000
"""An answer of more bytes is long: about 25,000 tokens of a model's context."""

_ADVICE: Final = {
    "repeated": "tools: cache; or the agent keeps what it read (facts)",
    "refused again": "loops: block; or the agent is told what it may do",
    "retried": "toolgate trace stats: its server fails",
    "long answer": "tools: result_limit; or ask for less",
}


@dataclass(frozen=True, slots=True)
class Waste:
    """One kind of waste of an agent's calls of a tool: how often, what was read for it, and how long that took."""

    agent: str
    tool: str
    kind: str
    times: int
    bytes: int
    ms: int
    advice: str


@dataclass(slots=True)
class _Found:
    sums: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    seen: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def add(self, line: CallLine, kind: str, size: int = 0, took_ms: int = 0, times: int = 1) -> None:
        sums = self.sums.setdefault((line.who, line.tool, kind), [0, 0, 0])
        for index, number in enumerate((times, size, took_ms)):
            sums[index] += number

    def look(self, line: CallLine) -> None:
        attempts = [each for each in line.ended.get("attempts", ()) if isinstance(each, Mapping)]
        read, again = sum(map(_size, attempts)), self._again(line)
        if again and line.outcome == "denied":
            self.add(line, "refused again")
        elif again and attempts:
            self.add(line, "repeated", read, line.duration_ms or 0)
        if len(attempts) > 1 and not any(each.get("hedge") for each in attempts):
            early = attempts[:-1]
            self.add(
                line, "retried", sum(map(_size, early)), sum(int(each.get("ms") or 0) for each in early), len(early)
            )
        if read > LARGE:
            self.add(line, "long answer", read)

    def _again(self, line: CallLine) -> bool:
        """Tell whether the same call of the same run was answered the very same before."""
        digest = line.asked.get("arguments_digest")
        answer = line.ended.get("result") if line.outcome == "succeeded" else line.policies
        if not digest or answer is None or line.outcome not in {"succeeded", "denied"}:
            return False
        key = (line.run_id, line.who, line.on_behalf_of, line.tool, str(digest))
        told = hashlib.sha256(dump([line.outcome, answer])).digest()
        before, self.seen[key] = self.seen.get(key), told
        return before == told


async def wasted(lines: AsyncIterable[CallLine]) -> list[Waste]:
    """Return what could have been left out, what was read for it most first.

    Calls that the gateway answered itself, from the record or a cache, cost nothing and are none. Of what retention
    removed it is not known.
    """
    found = _Found()
    async for line in lines:
        if line.duration_ms is not None and not line.replayed_from and not line.source:
            found.look(line)
    rows = [
        Waste(agent, tool, kind, times, size, took_ms, _ADVICE[kind])
        for (agent, tool, kind), (times, size, took_ms) in found.sums.items()
    ]
    return sorted(rows, key=lambda row: (-row.bytes, -row.times, row.agent, row.tool, row.kind))


def _size(attempt: Mapping[str, Any]) -> int:
    size = attempt.get("bytes")
    return size if isinstance(size, int) else 0
