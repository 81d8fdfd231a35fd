"""Counts calls as they end, for whoever reads the metrics."""

from bisect import bisect_left
from collections import Counter
from typing import Final

from gateway.model.call import Call
from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Denied, Outcome, Succeeded, Unknown, Waiting
from gateway.telemetry.exposition import Family, Sample

__all__ = ["CallCounts"]

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class CallCounts:
    """How calls ended, how long they took, and how often servers were asked, since `since_ms`.

    At most `most` combinations of labels are told apart; agents and tools are configured, so these are enough.
    """

    def __init__(self, since_ms: int, most: int = 10_000) -> None:
        self.since_ms = since_ms
        self._most = most
        self._calls: Counter[tuple[str, str, str, str]] = Counter()
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._slots: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    def count(self, call: Call, outcome: Outcome, now_ms: int) -> None:
        """Count a call that has ended so. What no tool of the gateway's is named by has no name here either."""
        tool = call.tool if call.has("tool") else None
        name = "" if tool is None else tool.name
        attempts = call.attempts if call.has("attempts") else ()
        ended, code = _ended(outcome, was_sent=bool(attempts))
        key = (call.identity.agent if call.has("identity") else "", name, ended, code)
        self._calls[key if key in self._calls or len(self._calls) < self._most else ("", "", ended, code)] += 1
        if tool is None or not attempts:
            return
        for attempt in attempts:
            self._attempts[tool.server, str(attempt.get("code", ""))] += 1
        if name not in self._slots and len(self._slots) >= self._most:
            return
        took_ms = max(now_ms - call.received_ms, 0)
        slots = self._slots.setdefault(name, [0] * (len(BOUNDS_S) + 1))
        slots[bisect_left(BOUNDS_S, took_ms / 1000)] += 1
        self._sums[name] += took_ms

    def families(self) -> tuple[Family, ...]:
        """Return what was counted."""
        calls = tuple(
            Sample(count, {"agent": agent, "tool": tool, "outcome": ended, "code": code}, "_total")
            for (agent, tool, ended, code), count in sorted(self._calls.items())
        )
        attempts = tuple(
            Sample(count, {"server": server, "code": code}, "_total")
            for (server, code), count in sorted(self._attempts.items())
        )
        times = tuple(sample for tool in sorted(self._slots) for sample in self._times(tool))
        return (
            Family("toolgate_calls", "counter", "Calls that ended, refusals too, by how they ended.", calls),
            Family("toolgate_attempts", "counter", "Times that servers were asked, by what came of it.", attempts),
            Family(
                "toolgate_call_duration_seconds",
                "histogram",
                "From request to answer, of calls for which a server was asked.",
                times,
            ),
        )

    def _times(self, tool: str) -> list[Sample]:
        below, found = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._slots[tool], strict=True):
            below += count
            found.append(Sample(below, {"tool": tool, "le": bound}, "_bucket"))
        labels = {"tool": tool}
        return [*found, Sample(below, labels, "_count"), Sample(self._sums[tool] / 1000, labels, "_sum")]


def _ended(outcome: Outcome, *, was_sent: bool) -> tuple[str, str]:
    """Return how a call ended, in a word, and its code."""
    if isinstance(outcome, Succeeded):
        if outcome.replayed_from is not None:
            return "replayed", ""
        return ("tool_error" if outcome.result.get("isError") is True else "succeeded"), ""
    if isinstance(outcome, Denied):
        return "denied", outcome.code
    if isinstance(outcome, Waiting):
        return "waiting", "needs_approval" if outcome.approval else "in_progress"
    if isinstance(outcome, Unknown):
        return "unknown", outcome.error.code
    was_the_server = was_sent or isinstance(outcome.error, ConnectorFault)
    return "failed" if was_the_server else "refused", outcome.error.code
