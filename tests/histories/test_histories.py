"""What earlier versions decided, this version decides too."""

from pathlib import Path

import pytest

from gateway.pipeline.replay import Verdict, replay
from gateway.store.ports import EventFilter
from tests.histories.recording import FOLDER, read

HISTORIES = sorted(FOLDER.glob("*.jsonl"))


def test_there_are_histories() -> None:
    assert HISTORIES


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_history_is_decided_as_it_was(path: Path) -> None:
    store = await read(path)
    found = [one async for one in replay(store, EventFilter(limit=10_000))]
    assert len(found) > 4
    assert [(one.event.call_id, one.why) for one in found if one.verdict not in {Verdict.EQUAL, Verdict.REWORDED}] == []
