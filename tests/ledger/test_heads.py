"""A ledger that ends elsewhere than was stated, signed, is not gone on with."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.ledger.config import Pace
from gateway.ledger.heads import HEAD, HEADS, Heads
from gateway.ledger.signing import SigningKey, signed_claims
from gateway.model.clock import Clock
from gateway.model.errors import LedgerTampered, StoreFault
from gateway.store.bodies import load
from gateway.store.chain import GENESIS, seal
from gateway.store.memory import MemoryStore
from gateway.store.ports import Event, EventFilter, EventKind, Record
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import record, step


class Desk:
    """One folder: the ledger, the anchor beside it, the key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db, self.anchor = path / "ledger.db", path / "ledger.anchor"
        self.key = SigningKey.load(path)
        self.made = 0

    @asynccontextmanager
    async def open(self, key: SigningKey | None = None) -> AsyncIterator[tuple[SqliteStore, Heads]]:
        store = SqliteStore(self.db, FakeClock())
        await store.open()
        try:
            yield store, Heads(store, key or self.key, self.anchor, FakeClock())
        finally:
            await store.close()

    async def write(self, number: int, *, signed: bool = True) -> None:
        """Run a gateway that records something, and stop it in order, or not."""
        async with self.open() as (store, heads):
            await self.loaded(store, heads)
            for _ in range(number):
                self.made += 1
                await store.record(record(f"c{self.made}"))
            if signed:
                await heads.close()

    @staticmethod
    async def loaded(store: SqliteStore, heads: Heads) -> int:
        """Load the ledger as a gateway that starts does."""
        events = await store.verify()
        await heads.check()
        return events

    async def verdict(self, key: SigningKey | None = None) -> LedgerTampered:
        async with self.open(key) as (store, heads):
            with pytest.raises(LedgerTampered) as broken:
                await self.loaded(store, heads)
            return broken.value

    async def holds(self) -> bool:
        async with self.open() as (store, heads):
            await self.loaded(store, heads)
        return True

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.db)) as db, db:
            for statement in statements:
                db.execute(statement)

    def cut_after(self, seq: int) -> None:
        """Remove the last events, and have the file say that the ledger ends there."""
        hash_of = f"(SELECT hash FROM events WHERE seq = {seq})"
        self.sql(
            f"DELETE FROM events WHERE seq > {seq}",
            f"UPDATE chain_head SET seq = {seq}, hash = {hash_of}",
            "UPDATE run_steps SET steps = (SELECT count(*) FROM events WHERE kind = 'call.recorded')",
        )

    def seal_anew(self) -> None:
        """Seal the whole chain again, as somebody with the file and the code, but without the key, could."""
        with closing(sqlite3.connect(self.db)) as db, db:
            tip = GENESIS
            rows = db.execute("SELECT seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, body FROM events")
            for seq, *header, body in rows.fetchall():
                sealed = seal(tip, (seq, *header), body.encode())
                db.execute("UPDATE events SET prev_hash = ?, hash = ? WHERE seq = ?", (tip, sealed, seq))
                tip = sealed
            db.execute("UPDATE chain_head SET hash = ?", (tip,))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_ledger_that_was_stopped_in_order_ends_with_a_signed_head(desk: Desk) -> None:
    await desk.write(3)
    async with desk.open() as (store, heads):
        assert await desk.loaded(store, heads) == 4
        events = [event async for event in store.events(EventFilter())]
        [head] = [event async for event in store.events(EventFilter(call_id=HEADS))]
    assert head == events[3]
    said = load(head.body.encode())
    claims = signed_claims(said["token"], desk.key.jwks(), HEAD)
    assert (claims["seq"], claims["hash"], said["seq"]) == (3, events[2].hash, 3)
    anchored = signed_claims(desk.anchor.read_text().strip(), desk.key.jwks(), HEAD)
    assert (anchored["seq"], anchored["hash"]) == (4, head.hash)
    assert desk.anchor.stat().st_mode & 0o777 == 0o600


async def test_an_older_anchor_that_is_put_back_is_named(desk: Desk) -> None:
    await desk.write(2)
    older = desk.anchor.read_bytes()
    await desk.write(1)
    desk.anchor.write_bytes(older)
    found = await desk.verdict()
    assert (found.seq, "states event 4, but" in found.detail, "only event 3: it is an older" in found.detail) == (
        5,
        True,
        True,
    )


async def test_a_crash_before_the_anchor_states_the_last_head_is_no_older_anchor(desk: Desk) -> None:
    await desk.write(2)

    class Dying(SqliteStore):
        async def record(self, record: Record, *, durable: bool = True) -> None:
            await super().record(record, durable=durable)
            raise StoreFault("The process is gone.")

    store = Dying(desk.db, FakeClock())
    await store.open()
    await SqliteStore.record(store, record("one more"))
    with pytest.raises(StoreFault):
        await Heads(store, desk.key, desk.anchor, FakeClock()).sign()
    await store.close()
    assert await desk.holds()


async def test_nothing_is_stated_twice(desk: Desk) -> None:
    await desk.write(3)
    for _ in range(3):
        await desk.write(0)
    async with desk.open() as (store, _):
        assert len([event async for event in store.events(EventFilter())]) == 4


async def test_an_empty_ledger_and_one_of_an_earlier_version_are_gone_on_with(desk: Desk) -> None:
    await desk.write(0)
    assert not desk.anchor.exists()
    await desk.write(3, signed=False)
    assert await desk.holds()


async def test_what_was_written_after_the_last_head_is_no_forgery(desk: Desk) -> None:
    await desk.write(3)
    await desk.write(2, signed=False)
    assert await desk.holds()
    await desk.write(1)
    assert await desk.holds()


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 6, 7])
async def test_a_ledger_cut_off_anywhere_before_its_signed_end_is_found_out(desk: Desk, seq: int) -> None:
    await desk.write(3)
    await desk.write(3)
    desk.cut_after(seq)
    broken = await desk.verdict()
    assert broken.seq == 8
    assert "event 8 is gone" in broken.detail
    assert "toolgate verify --accept" in broken.detail


async def test_an_older_copy_of_the_file_is_found_out(desk: Desk, tmp_path: Path) -> None:
    await desk.write(3)
    shutil.copy(desk.db, tmp_path / "older.db")
    await desk.write(1)
    shutil.copy(tmp_path / "older.db", desk.db)
    assert (await desk.verdict()).seq == 6
    desk.db.unlink()
    assert (await desk.verdict()).seq == 6  # and so is a new one


async def test_an_older_copy_that_went_on_with_another_history_is_found_out(desk: Desk, tmp_path: Path) -> None:
    await desk.write(3)
    shutil.copy(desk.db, tmp_path / "older.db")
    await desk.write(1)
    shutil.copy(tmp_path / "older.db", desk.db)
    async with desk.open() as (store, _):
        for number in range(9):
            await store.record(record(f"other{number}"))
    broken = await desk.verdict()
    assert broken.seq == 6
    assert "is another than was written" in broken.detail


async def test_a_history_sealed_anew_without_the_key_is_found_out(desk: Desk) -> None:
    await desk.write(3)
    desk.sql("UPDATE events SET agent = 'eve' WHERE seq = 2")
    desk.seal_anew()
    assert (await desk.verdict()).seq == 4
    desk.sql("DELETE FROM events WHERE seq = 4", "UPDATE chain_head SET seq = 3")
    desk.seal_anew()
    assert (await desk.verdict()).seq == 4


async def test_an_anchor_that_is_gone_while_the_ledger_has_heads_is_found_out(desk: Desk) -> None:
    await desk.write(3)
    desk.anchor.unlink()
    broken = await desk.verdict()
    assert broken.seq == 4
    assert str(desk.anchor) in broken.detail


async def test_a_gateway_ended_between_its_first_head_and_the_anchor_starts_again(desk: Desk) -> None:
    async with desk.open() as (store, _):
        await store.record(record("c1"))
        with pytest.raises(_Ended):
            await Heads(_EndsAfterAHead(store), desk.key, desk.anchor, FakeClock()).sign()  # type: ignore[arg-type]
        assert [event.kind async for event in store.events(EventFilter())][-1] is EventKind.HEAD_SIGNED
    async with desk.open() as (store, heads):
        assert await desk.loaded(store, heads) == 2


class _Ended(Exception):
    """The gateway was killed."""


class _EndsAfterAHead:
    """A ledger whose gateway ends once a head is recorded."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.events = store.events

    async def record(self, head: Record) -> None:
        await self._store.record(head)
        raise _Ended


@pytest.mark.parametrize("content", [b"", b"nonsense", b"a.b.c", b"\xff\xfe"])
async def test_an_anchor_that_says_nothing_is_found_out(desk: Desk, content: bytes) -> None:
    await desk.write(3)
    desk.anchor.write_bytes(content)
    assert "was not signed with this gateway's key" in (await desk.verdict()).detail


async def test_an_anchor_that_others_can_read_is_not_trusted(desk: Desk) -> None:
    await desk.write(3)
    desk.anchor.chmod(0o644)
    assert "chmod 600" in (await desk.verdict()).detail


async def test_heads_of_another_key_state_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.write(3)
    other = SigningKey.load(tmp_path / "other")
    assert "was not signed" in (await desk.verdict(other)).detail
    forged = other.sign({"seq": 4, "hash": "x", "at_ms": 0}, HEAD)
    desk.anchor.write_text(forged)
    assert "was not signed" in (await desk.verdict()).detail


async def test_a_statement_of_another_kind_is_no_head(desk: Desk) -> None:
    await desk.write(3)
    async with desk.open() as (store, _):
        [*_, last] = [event async for event in store.events(EventFilter())]
    desk.anchor.write_text(desk.key.sign({"seq": last.seq, "hash": last.hash}, "passport+jwt"))
    assert "was not signed" in (await desk.verdict()).detail


@pytest.mark.parametrize("claims", [{}, {"seq": 4}, {"seq": "x", "hash": "y"}])
async def test_a_signed_statement_that_names_no_event_is_no_head(desk: Desk, claims: dict[str, object]) -> None:
    await desk.write(3)
    desk.anchor.write_text(desk.key.sign(claims, HEAD))
    assert "in doubt" in (await desk.verdict()).detail


async def test_a_head_in_the_ledger_is_held_against_it_too(desk: Desk) -> None:
    await desk.write(3)
    old = desk.anchor.read_bytes()
    desk.sql("UPDATE events SET agent = 'eve' WHERE seq = 2")
    desk.seal_anew()
    desk.anchor.write_bytes(old)
    async with desk.open() as (store, _):
        [*_, last] = [event async for event in store.events(EventFilter())]
    # somebody who could have the key sign an anchor, but not go back and sign the heads
    desk.anchor.write_text(desk.key.sign({"seq": last.seq, "hash": last.hash, "at_ms": 0}, HEAD))
    broken = await desk.verdict()
    assert (broken.seq, "by event 4" in broken.detail) == (3, True)


async def test_an_operator_can_say_that_another_ledger_is_the_right_one(desk: Desk) -> None:
    await desk.write(3)
    desk.cut_after(2)
    found = (await desk.verdict()).detail
    async with desk.open() as (store, heads):
        await heads.accept("os:op", "restored from the backup of Monday")
        deeds = [event async for event in store.events(EventFilter()) if event.kind is EventKind.ADMIN]
    assert load(deeds[0].body.encode()) == {
        "deed": "ledger accepted",
        "by": "os:op",
        "why": "restored from the backup of Monday",
        "found": found,
    }
    assert await desk.holds()
    desk.cut_after(2)
    assert await desk.verdict()


class Full(SqliteStore):
    """Cannot put anything on record."""

    async def record(self, record: Record, *, durable: bool = True) -> None:
        raise StoreFault("no", detail="disk full")


async def test_rows_that_no_event_tells_of_are_not_taken_as_they_are_where_that_is_not_on_record(desk: Desk) -> None:
    await desk.write(3)
    desk.sql("UPDATE migrations SET at_ms = at_ms + 1 WHERE number = 7")
    full = Full(desk.db, FakeClock())
    await full.open()
    with pytest.raises(StoreFault):
        await Heads(full, desk.key, desk.anchor, FakeClock()).accept("os:op", "repaired", "", full.adopt_rows)
    await full.close()
    found = await desk.verdict()
    assert "the row 7 of migrations is" in found.detail
    async with desk.open() as (store, heads):
        await heads.accept("os:op", "repaired", found.detail, store.adopt_rows)
        deeds = [event async for event in store.events(EventFilter()) if event.kind is EventKind.ADMIN]
    assert [load(event.body.encode())["found"] for event in deeds] == [found.detail]
    assert await desk.holds()


class Counted(FakeClock):
    """Ends the watching after so many looks, between which one event a second is recorded."""

    def __init__(self, store: MemoryStore, looks: int, events: int = 1) -> None:
        super().__init__()
        self._store, self._looks, self._events = store, looks, events

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self._looks -= 1
        if self._looks < 0:
            raise StopWatching
        for number in range(self._events):
            await self._store.record(record(f"c{self._looks}.{number}"))


class StopWatching(Exception):
    """Enough was seen."""


async def watched(tmp_path: Path, looks: int, pace: Pace, events: int = 1) -> list[Event]:
    store = MemoryStore(FakeClock())
    clock: Clock = Counted(store, looks, events)
    heads = Heads(store, SigningKey.load(tmp_path), tmp_path / "anchor", clock)
    with pytest.raises(StopWatching):
        await heads.watch(pace)
    return [event async for event in store.events(EventFilter(call_id=HEADS))]


async def test_heads_are_signed_in_time_and_by_number(tmp_path: Path) -> None:
    assert len(await watched(tmp_path, 40, Pace(events=1000, seconds=10))) == 4
    assert len(await watched(tmp_path, 40, Pace(events=100, seconds=1000), events=50)) in {19, 20}
    assert await watched(tmp_path, 40, Pace(events=1000, seconds=1), events=0) == []


async def test_a_head_that_cannot_be_signed_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    anchor = tmp_path / "anchor"
    anchor.mkdir()
    store = MemoryStore(FakeClock())
    heads = Heads(store, SigningKey.load(tmp_path), anchor, Counted(store, 5))
    with pytest.raises(StopWatching):
        await heads.watch(Pace(events=1, seconds=1))
    await heads.close()
    assert "could not be signed" in caplog.text
    assert "anchor" in caplog.text


async def test_a_step_made_after_a_head_is_a_step(desk: Desk) -> None:
    async with desk.open() as (store, heads):
        await step(store, "check", {"payment_id": 7})
        await heads.sign()
        await step(store, "again", {"payment_id": 7})
        await heads.sign()
    assert await desk.holds()
