"""The SQLite file: kill -9, two processes, a full disk, a lock held elsewhere, a broken or vanished file."""

import asyncio
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import StepStatus
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter
from gateway.store.sightings import AgentSighting
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import ending, intent, lookup, record, step

ROOT = Path(__file__).parents[2]


def worker(path: Path, name: str, most: int, *what: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.store.crashing", str(path), name, str(most), *what]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(ledger_path: Path) -> None:
    acknowledged: dict[str, str] = {}
    for number in range(10):
        with worker(ledger_path, f"w{number}", 100_000) as process:
            assert process.stdout is not None
            for _ in range(7 + 13 * number):
                what, call_id = process.stdout.readline().split()
                acknowledged[call_id] = what
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    what, call_id = line.split()
                    acknowledged[call_id] = what
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() >= len(acknowledged)
    for call_id, what in acknowledged.items():
        kept = await store.recorded("billing", "payments.pay", call_id)
        assert kept is not None
        assert what == "claimed" or kept.status is StepStatus.SUCCEEDED
    for unfinished in await store.unfinished():
        assert acknowledged.get(unfinished.call_id) != "finished"
        await store.finish(ending(unfinished.call_id, StepStatus.UNKNOWN))
    assert await store.unfinished() == []
    await store.verify()
    await store.close()


async def test_no_read_that_was_acknowledged_is_lost_when_the_process_is_killed(
    ledger_path: Path, sqlite: SqliteStore
) -> None:
    """Those that come alone are written in the loop; with two processes that is not all of them."""
    acknowledged: set[str] = set()
    for number in range(3):
        name = f"r{number}"
        with worker(ledger_path, name, 100_000, "read") as process, worker(ledger_path, f"x{name}", 10, "read"):
            assert process.stdout is not None
            for _ in range(100 + 300 * number):
                acknowledged.add(process.stdout.readline().split()[1])
            process.send_signal(signal.SIGKILL)
            acknowledged |= {line.split()[1] for line in process.stdout if line.endswith("\n")}
    kept = [event.call_id async for event in sqlite.events(EventFilter(limit=100_000))]
    assert acknowledged <= set(kept)
    assert len(set(kept)) == len(kept) == await sqlite.verify()


async def test_two_processes_append_to_one_chain(ledger_path: Path, sqlite: SqliteStore) -> None:
    with worker(ledger_path, "a", 25) as first, worker(ledger_path, "b", 25) as second:
        for number in range(25):
            await step(sqlite, f"c.{number}", {"n": number})
        for process in (first, second):
            out, _ = await asyncio.to_thread(process.communicate)
            assert len(out.splitlines()) == 200
            assert process.returncode == 0
    assert await sqlite.verify() == 450


async def test_the_file_is_for_its_owner_only(sqlite: SqliteStore, ledger_path: Path) -> None:
    await sqlite.record(record("c1"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ledger_path.parent.iterdir()}
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


async def test_the_ledger_is_kept_from_one_start_to_the_next(ledger_path: Path) -> None:
    for number in range(3):
        store = SqliteStore(ledger_path, FakeClock())
        await store.open()
        await step(store, f"c{number}", {})
        await store.record(record(f"r{number}"), durable=False)
        await store.deliver(f"c{number}")
        await store.close()
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() == 9
    assert await store.count_steps("run_1") == 6
    await store.close()


async def test_a_store_that_was_closed_opens_again(sqlite: SqliteStore) -> None:
    await sqlite.record(record("c1"))
    await sqlite.close()
    await sqlite.close()
    await sqlite.open()
    assert await sqlite.verify() == 1


async def limit_pages(store: SqliteStore, pages: int) -> None:
    await store._write_to.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_a_full_disk_is_a_fault_and_later_calls_work_again(sqlite: SqliteStore) -> None:
    await sqlite.claim(intent("c0"))
    await limit_pages(sqlite, 1)  # which means: as many as there are now
    big = {"x": "y" * 100_000}
    answers = await asyncio.gather(
        sqlite.claim(intent("c1", arguments=big)),
        sqlite.finish(ending("c0", body=big)),
        sqlite.record(record("c2", body=big)),
        return_exceptions=True,
    )
    assert all(isinstance(answer, StoreFault) for answer in answers)
    assert "SQLITE_FULL" in answers[0].detail  # type: ignore[union-attr]  # narrowed above
    assert "SQLITE_FULL" in sqlite.trouble()
    assert await sqlite.verify() == 1
    assert [recorded.call_id for recorded in await sqlite.unfinished()] == ["c0"]
    await limit_pages(sqlite, 1_000_000)
    await sqlite.claim(intent("c1", arguments=big))
    await sqlite.finish(ending("c0", body=big))
    assert sqlite.trouble() == MemoryStore(FakeClock()).trouble() == ""
    assert await sqlite.verify() == 3


async def test_reads_that_could_not_be_written_make_the_next_ones_fail_until_they_are(sqlite: SqliteStore) -> None:
    await sqlite.record(record("c0"))
    await limit_pages(sqlite, 1)
    big = {"x": "y" * 100_000}
    await sqlite.record(record("c1", body=big), durable=False)
    with pytest.raises(StoreFault):
        _ = [event async for event in sqlite.events(EventFilter())]
    with pytest.raises(StoreFault):
        await sqlite.record(record("c2"), durable=False)
    with pytest.raises(StoreFault):
        await sqlite.saw_agents([AgentSighting("a", True, 1)])
    await sqlite.deliver("c0")
    await limit_pages(sqlite, 1_000_000)
    await sqlite.record(record("c3"), durable=False)
    assert [event.call_id async for event in sqlite.events(EventFilter())] == ["c0", "c1", "c3"]
    await sqlite.record(record("c4"), durable=False)
    assert await sqlite.verify() == 4


async def test_closing_says_what_it_could_not_write(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await limit_pages(store, 1)
    await store.record(record("c1", body={"x": "y" * 100_000}), durable=False)
    with pytest.raises(StoreFault):
        await store.close()
    again = SqliteStore(ledger_path, FakeClock())
    await again.open()
    assert await again.verify() == 0
    await again.close()


async def test_a_lock_held_elsewhere_is_a_fault_within_bounds_and_passes(
    sqlite: SqliteStore, ledger_path: Path
) -> None:
    await sqlite.record(record("c0"))
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(30):
            with pytest.raises(StoreFault) as fault:
                await sqlite.claim(intent("c1"))
        assert "SQLITE_BUSY" in fault.value.detail
        assert fault.value.retryable
        assert await sqlite.count_steps("run_1") == 1
        other.execute("ROLLBACK")
    await sqlite.claim(intent("c1"))
    assert await sqlite.verify() == 2


@pytest.mark.parametrize(
    "content", [b"this is no database, whatever else it may be\n" * 100, b"SQLite format 3\0" + b"x" * 4096]
)
async def test_a_file_that_is_no_ledger_is_a_fault(ledger_path: Path, content: bytes) -> None:
    ledger_path.write_bytes(content)
    store = SqliteStore(ledger_path, FakeClock())
    with pytest.raises(StoreFault):
        await store.open()
    with pytest.raises(StoreFault):
        await store.claim(intent("c1"))
    await store.close()
    assert ledger_path.read_bytes() == content


async def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "missing" / "ledger.db", FakeClock())
    with pytest.raises(StoreFault) as fault:
        await store.open()
    assert "FileNotFoundError" in fault.value.detail
    await store.close()


async def test_a_ledger_whose_file_vanished_is_not_replaced_by_an_empty_one(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await store.record(record("c1"))
    await store.close()
    ledger_path.unlink()
    for attempt in (store.claim(intent("c2")), store.open(), store.verify(), store.steps([lookup()])):
        with pytest.raises(StoreFault):
            await attempt
    assert not ledger_path.exists()
    await store.close()


@pytest.mark.parametrize("copied", [True, False])
async def test_a_ledger_whose_file_was_moved_away_is_neither_read_nor_written_until_it_is_back(
    sqlite: SqliteStore, ledger_path: Path, copied: bool
) -> None:
    await sqlite.claim(intent("c1"))
    moved = ledger_path.rename(ledger_path.with_name("moved.db"))
    if copied:
        shutil.copy(moved, ledger_path)
    for attempt in (sqlite.claim(intent("c2")), sqlite.steps([lookup()]), sqlite.finish(ending("c1"))):
        with pytest.raises(StoreFault) as fault:
            await attempt
        assert f"{ledger_path} is not the file that was opened" in fault.value.detail
    moved.rename(ledger_path)
    await sqlite.claim(intent("c3"))
    assert await sqlite.verify() > 0


async def test_after_a_fault_of_the_connection_the_next_call_connects_anew(sqlite: SqliteStore) -> None:
    def fail(db: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("disk I/O error")

    await step(sqlite, "c1", {})
    for connection in (sqlite._write_to, sqlite._read_from):
        before = connection._link
        with pytest.raises(StoreFault):
            await connection.run(fail)
        assert connection._link is None
        assert before is not None
    await step(sqlite, "c2", {})
    assert (await sqlite.steps([lookup()]))[0] is not None
    assert await sqlite.verify() == 4


async def test_calls_beside_one_that_broke_the_connection_fail_as_store_faults(sqlite: SqliteStore) -> None:
    def fail(db: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("disk I/O error")

    connection = sqlite._read_from
    answers = await asyncio.gather(*(connection.run(fail) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, StoreFault) for answer in answers)
    assert await sqlite.count_steps("run_1") == 0


async def test_a_bug_in_a_transition_fails_everything_that_waits_and_then_work_goes_on(sqlite: SqliteStore) -> None:
    def bug(transaction: object) -> None:
        raise KeyError("a bug")

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    waiting = [asyncio.ensure_future(sqlite._writer.write(bug)), asyncio.ensure_future(sqlite.claim(intent("c1")))]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, StoreFault) for answer in answers)
    assert (await sqlite.claim(intent("c2"))).recorded is None
    assert await sqlite.verify() == 1


async def test_a_claim_whose_caller_left_before_it_was_written_leaves_nothing(sqlite: SqliteStore) -> None:
    await sqlite.claim(intent("c0"))
    first = asyncio.ensure_future(sqlite.claim(intent("c1")))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(sqlite.claim(intent("c2", step_key="k")))
    ended = asyncio.ensure_future(sqlite.finish(ending("c0")))
    await asyncio.sleep(0)
    second.cancel()
    ended.cancel()
    await first
    assert await sqlite.recorded("billing", "payments.pay", "k") is None
    await sqlite.verify()
    assert [recorded.call_id for recorded in await sqlite.unfinished()] == ["c1"]


async def test_too_much_queued_waits_for_the_disk(sqlite: SqliteStore) -> None:
    for number in range(10_050):
        await sqlite.record(record(f"c{number}", body={}), durable=False)
    assert len(sqlite._writer._queue) < 10_000
    assert await sqlite.verify() == 10_050


async def test_a_body_beyond_all_bounds_is_refused(sqlite: SqliteStore) -> None:
    with pytest.raises(StoreFault) as fault:
        await sqlite.record(record("c1", body={"x": "y" * (64 * 1024 * 1024)}))
    assert "more than" in fault.value.detail


async def test_migrations_run_once(sqlite: SqliteStore, ledger_path: Path) -> None:
    again = SqliteStore(ledger_path, FakeClock())
    await again.open()
    await again.close()
    with closing(sqlite3.connect(ledger_path)) as db:
        numbers = [number for (number,) in db.execute("SELECT number FROM migrations")]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1


async def test_a_migration_that_fails_leaves_the_file_as_it_was(ledger_path: Path) -> None:
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("CREATE TABLE calls (something TEXT)")
    store = SqliteStore(ledger_path, FakeClock())
    with pytest.raises(LedgerTampered):
        await store.open()
    await store.close()
    with closing(sqlite3.connect(ledger_path)) as db:
        assert db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("calls",)]


async def test_a_schema_that_the_driver_cannot_even_quote_is_a_damaged_file(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await store.close()
    raw = ledger_path.read_bytes()
    assert raw.count(b"CREATE INDEX tokens_by_agent") == 1
    ledger_path.write_bytes(raw.replace(b"CREATE INDEX tokens_by_agent", b"CRE\xc1TE INDEX tokens_by_agent"))
    with pytest.raises(StoreFault) as fault:
        await store.open()
    assert "the file is damaged" in fault.value.detail
    await store.close()


async def test_many_stores_open_one_new_file_at_once(ledger_path: Path) -> None:
    stores = [SqliteStore(ledger_path, FakeClock()) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.record(record(f"c{n}")) for n, store in enumerate(stores)))
    assert await stores[0].verify() == 4
    for store in stores:
        await store.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_an_index_keeps_a_lookup_from_reading_the_ledger(sqlite: SqliteStore, indexed: bool) -> None:
    if indexed:
        await sqlite.index_steps("fraud.check", ("payment_id",))
    await asyncio.gather(*(sqlite.claim(intent(f"c{n}", "fraud.check", {"payment_id": n})) for n in range(3000)))
    looked_at = 0

    def count() -> int:
        nonlocal looked_at
        looked_at += 1
        return 0

    link = sqlite._read_from
    await link.run(lambda db: db.set_progress_handler(count, 100))
    step_ = (await sqlite.steps([lookup(values=[("payment_id", 5)])]))[0]
    assert step_ is not None
    assert step_.call_id == "c5"
    assert (looked_at <= 10) is indexed


async def test_a_tampered_ledger_is_no_store_fault(sqlite: SqliteStore, ledger_path: Path) -> None:
    await sqlite.record(record("c1"))
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("UPDATE events SET tool = 'x'")
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


async def test_a_new_file_that_another_process_holds_is_a_fault_until_it_lets_go(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("CREATE TABLE something (else_ TEXT)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFault):
            await store.open()
        other.execute("ROLLBACK")
        other.execute("DROP TABLE something")
    await store.open()
    assert await store.verify() == 0
    await store.close()


async def test_what_could_not_be_written_lazily_waits_for_the_next_call(sqlite: SqliteStore) -> None:
    await limit_pages(sqlite, 1)
    await sqlite.record(record("c1", body={"x": "y" * 100_000}), durable=False)
    while sqlite._writer._busy:
        await asyncio.sleep(0)
    await limit_pages(sqlite, 1_000_000)
    await sqlite.claim(intent("c2"))
    assert [event.call_id async for event in sqlite.events(EventFilter())] == ["c1", "c2"]


async def test_many_reads_at_once_share_one_connection(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.claim(intent("c1"))
    assert await asyncio.gather(*(store.count_steps("run_1") for _ in range(5))) == [1] * 5
    await store.close()


async def test_a_bug_in_a_question_is_not_called_a_fault_of_the_store(sqlite: SqliteStore) -> None:
    with pytest.raises(ValueError, match="a bug"):
        await sqlite._read_from.run(lambda _: int("a bug"))
    assert await sqlite.count_steps("run_1") == 0


async def test_what_could_not_be_recorded_waits_and_is_written_with_the_next_that_can(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    await store.record(record("before"))
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for call in ("one", "two"):
            with pytest.raises(StoreFault):
                await store.record(record(call))
            await store.record_later(record(call))
        other.execute("ROLLBACK")
    await store.record(record("after"))
    assert [event.call_id async for event in store.events(EventFilter())] == ["before", "one", "two", "after"]
    await store.close()


async def test_only_so_many_records_can_wait(ledger_path: Path) -> None:
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    with closing(sqlite3.connect(ledger_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for number in range(10_000):
            await store.record_later(record(f"c{number}"))
        with pytest.raises(StoreFault):
            await store.record_later(record("one too many"))
        other.execute("ROLLBACK")
    await store.close()


async def test_what_is_written_while_more_comes_in_goes_into_one_transaction(sqlite: SqliteStore) -> None:
    async def written(turns: int) -> object:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await sqlite._writer.write(lambda transaction: transaction)

    together = await asyncio.gather(*map(written, (0, 0, 1, 2)))
    assert all(each is together[0] for each in together)
    assert await written(0) is not together[0]


async def test_after_several_at_once_what_comes_in_a_few_turns_later_goes_along(sqlite: SqliteStore) -> None:
    async def written(turns: int) -> object:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await sqlite._writer.write(lambda transaction: transaction)

    async def two() -> bool:
        one, other = await asyncio.gather(written(0), written(2))
        return one is other

    assert not await two()
    await asyncio.gather(written(0), written(0))
    assert await two()
    await written(0)
    assert not await two()


async def test_a_batch_waits_for_so_many_turns_in_all_however_slowly_it_grows(sqlite: SqliteStore) -> None:
    async def written(turns: int) -> object:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await sqlite._writer.write(lambda transaction: transaction)

    await asyncio.gather(written(0), written(0))
    slowly = await asyncio.gather(*(written(3 * number) for number in range(8)))
    assert slowly[0] is slowly[1]
    assert slowly[0] is not slowly[-1]
