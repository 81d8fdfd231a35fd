"""Records a history to be replayed by every later version: `python -m tests.histories.recording NAME`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from gateway.store.bodies import load
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, Record
from tests.fixtures.clock import FakeClock
from tests.pipeline.test_replay import a_day

__all__ = ["FOLDER", "read"]

FOLDER = Path(__file__).parent
_NAMES = ("at_ms", "call_id", "run_id", "agent", "on_behalf_of", "tool")


async def read(path: Path) -> MemoryStore:
    """Return a ledger with the events of a history."""
    store = MemoryStore(FakeClock())
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        told = {name: event[name] for name in _NAMES}
        await store.record(Record(**told, body=event["body"], kind=EventKind(event["kind"])))
    return store


async def _recorded() -> list[dict[str, Any]]:
    gate = await a_day()
    events = [event async for event in gate.store.events(EventFilter(limit=10_000))]
    return [
        {**{name: getattr(event, name) for name in _NAMES}, "kind": str(event.kind), "body": load(event.body.encode())}
        for event in events
    ]


if __name__ == "__main__":
    lines = [json.dumps(event, ensure_ascii=False) for event in asyncio.run(_recorded())]
    (FOLDER / f"{sys.argv[1]}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
