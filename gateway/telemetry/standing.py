"""How the gateway and its servers stand at this moment, as metrics."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway import __version__
from gateway.telemetry.exposition import Family, Sample

__all__ = ["standing"]

_STATM: Final = Path("/proc/self/statm")


def standing(status: Mapping[str, Any], waiting: Mapping[str, int], since_s: float) -> tuple[Family, ...]:
    """Return the gauges of what `/-/status` tells; `waiting` is what waits for people. It runs since `since_s`."""
    servers: Mapping[str, Mapping[str, Any]] = status["servers"]

    def each(name: str, text: str, value: Callable[[Mapping[str, Any]], float]) -> Family:
        samples = tuple(Sample(value(server), {"server": key}) for key, server in servers.items())
        return Family(f"toolgate_server_{name}", "gauge", text, samples)

    def one(name: str, text: str, value: float) -> Family:
        return Family(f"toolgate_{name}", "gauge", text, (Sample(value, {}),))

    dead = sum(credential["state"] == "dead" for credential in status["credentials"])
    return (
        Family("toolgate_build", "info", "The version.", (Sample(1, {"version": __version__}, "_info"),)),
        each("up", "1 where a server answered last time.", lambda server: server["state"] == "up"),
        each("breaker_open", "1 where a server is left alone, as too many calls failed.", _is_left_alone),
        each("tools", "Tools that may be called.", lambda server: server["tools"]),
        each("quarantined_tools", "Tools offered otherwise than pinned.", lambda server: len(server["quarantined"])),
        Family(
            "toolgate_approvals_waiting",
            "gauge",
            "What waits for people to decide, and whether an answer is overdue (of the newest 1000).",
            tuple(Sample(count, {"overdue": overdue}) for overdue, count in waiting.items()),
        ),
        one("paused_scopes", "What an operator has stopped.", len(status["paused"])),
        one("dead_credentials", "Credentials of servers that work no longer.", dead),
        one("events_stuck", "Receivers of events that do not take them.", len(status["events_problems"])),
        one("ledger_writable", "1 while the ledger can be written.", not status["store_problem"]),
        one("rules_in_force", "1 while files and policies are in force as they are.", _are_in_force(status)),
        Family("process_start_time_seconds", "gauge", "When it started, in Unix time.", (Sample(since_s, {}),)),
        Family("process_cpu_seconds", "counter", "CPU it used.", (Sample(time.process_time(), {}, "_total"),)),
        *_memory(),
    )


def _is_left_alone(server: Mapping[str, Any]) -> bool:
    return server["breaker"] != "closed" or bool(server["breaker_open_for"])


def _are_in_force(status: Mapping[str, Any]) -> bool:
    return not status["policy_problem"] and not status["files_problem"]


def _memory() -> tuple[Family, ...]:
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:  # only Linux says
        return ()
    held = Sample(pages * os.sysconf("SC_PAGE_SIZE"), {})
    return (Family("process_resident_memory_bytes", "gauge", "Memory it holds.", (held,)),)
