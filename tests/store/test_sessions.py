"""Client sessions in the store: they outlive the process, and end."""

from pathlib import Path

from gateway.store.ports import SessionRecord, Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock


async def test_a_session_is_found_as_it_was_last_put(store: Store) -> None:
    assert await store.find_session("s1") is None
    await store.put_session(SessionRecord("s1", 1, {"era": "2025-11-25"}))
    await store.put_session(SessionRecord("s1", 2, {"era": "2025-06-18", "name": "Zoë"}))
    assert await store.find_session("s1") == SessionRecord("s1", 2, {"era": "2025-06-18", "name": "Zoë"})


async def test_a_session_that_ended_or_was_not_seen_for_long_is_gone(store: Store) -> None:
    for number in range(1, 5):
        await store.put_session(SessionRecord(f"s{number}", number, {}))
    await store.end_session("s4")
    await store.end_session("nobody")
    assert await store.forget_sessions(3) == 2
    assert await store.forget_sessions(3) == 0
    left = [await store.find_session(f"s{number}") for number in range(1, 5)]
    assert [each and each.id for each in left] == [None, None, "s3", None]


async def test_a_session_is_there_after_a_restart(ledger_path: Path) -> None:
    for _ in range(2):
        store = SqliteStore(ledger_path, FakeClock())
        await store.open()
        known = await store.find_session("s1")
        await store.put_session(SessionRecord("s1", 1, {"a": 1}))
        await store.close()
    assert known == SessionRecord("s1", 1, {"a": 1})
