"""How long calls take and how often they fail, by tool and by server, computed from what the ledger has of each."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.ledger.trace import CallLine, call_lines
from gateway.model.failing import servers_asked
from gateway.store.ports import EventFilter, Ledger

__all__ = ["Latency", "Spread", "ended_calls", "latencies"]

_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread, in milliseconds; half of them are at most `p50`. Nearest rank, of every value."""

    p50: int
    p95: int
    p99: int
    longest: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Spread":
        """Return the spread of at least one value."""
        ranked = sorted(values)
        p50, p95, p99 = (ranked[max(0, -(-len(ranked) * part // 100) - 1)] for part in (50, 95, 99))
        return cls(p50, p95, p99, ranked[-1])


@dataclass(frozen=True, slots=True)
class Latency:
    """The calls of a tool, or of a server (`payments.*`), for which some server was asked.

    `failed` of them had another outcome than success, or an answer that says it is an error. `whole` is from request to
    answer, `server` what single attempts took, queueing included; None where none is known. Of all the calls that
    depended on a server, `asked`, it failed `unmet` in the end: what an objective for it (`slo:`) is about.
    """

    of: str
    calls: int
    failed: int
    attempts: int
    whole: Spread
    server: Spread | None
    asked: int = 0
    unmet: int = 0


@dataclass(slots=True)
class _Tally:
    whole: list[int] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    failed: int = 0
    asked: int = 0
    unmet: int = 0


async def latencies(lines: AsyncIterable[CallLine]) -> list[Latency]:
    """Return the latency of every server, each followed by its tools, in the order of their names.

    Calls under way, and those that were refused or answered without a server, do not count. What retention removed has
    no attempts any more, and does not count either. An attempt at a fallback is one at the tool that stood in.
    """
    tallies: dict[tuple[str, str], _Tally] = {}
    async for line in lines:
        if line.duration_ms is not None and "attempts" in line.ended:
            for server, unmet in servers_asked(line.tool, line.code, line.ended["attempts"]).items():
                tally = tallies.setdefault((server, ""), _Tally())
                tally.asked += 1
                tally.unmet += unmet
        attempts = list(_attempts(line))
        if line.duration_ms is None or not attempts:
            continue
        for each in _of(tallies, line.tool):
            each.whole.append(line.duration_ms)
            each.failed += _failed(line)
        for tool, took_ms in attempts:
            for each in _of(tallies, tool):
                each.attempts.append(took_ms)
    return [_latency(key, tally) for key, tally in sorted(tallies.items()) if tally.whole]


async def ended_calls(
    ledger: Ledger, since_ms: int, until_ms: int
) -> AsyncIterator[tuple[int, str, str, Sequence[Mapping[str, Any]]]]:
    """Yield the calls that began and ended in these times: when (Unix ms), tool, error code or nothing, attempts."""
    number = 0
    async for line in call_lines(ledger, EventFilter(since_ms=since_ms, until_ms=until_ms, limit=2**31 - 1)):
        ended_ms = until_ms if line.duration_ms is None else line.at_ms + line.duration_ms
        if ended_ms < until_ms:
            yield ended_ms, line.tool, line.code, line.ended.get("attempts", ())
        number += 1
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)  # whoever calls meanwhile is not let wait


def _of(tallies: dict[tuple[str, str], _Tally], tool: str) -> Iterator[_Tally]:
    server = tool.partition(".")[0]
    for key in ((server, ""), (server, tool)):
        yield tallies.setdefault(key, _Tally())


def _failed(line: CallLine) -> bool:
    result = line.ended.get("result")
    return line.outcome != "succeeded" or (isinstance(result, Mapping) and result.get("isError") is True)


def _attempts(line: CallLine) -> Iterator[tuple[str, int]]:
    for attempt in line.ended.get("attempts", ()):
        took_ms: Any = attempt.get("ms") if isinstance(attempt, Mapping) else None
        if isinstance(took_ms, int):
            yield str(attempt.get("fallback", line.tool)), took_ms


def _latency(key: tuple[str, str], tally: _Tally) -> Latency:
    server = Spread.of(tally.attempts) if tally.attempts else None
    named = key[1] or f"{key[0]}.*"
    counts = len(tally.whole), tally.failed, len(tally.attempts)
    return Latency(named, *counts, Spread.of(tally.whole), server, tally.asked, tally.unmet)
