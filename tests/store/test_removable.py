"""What of a body may go, and how the chain commits to it all the same."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.codec import dump
from gateway.model.errors import LedgerTampered
from gateway.store.bodies import load
from gateway.store.chain import GENESIS, chained, content_of, seal
from gateway.store.ports import EventFilter
from gateway.store.removable import cut, is_cut, parted, parts
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, lookup, record, step

HEADER = (7, T0, "call.claimed", "c", "r", "a", "", "t.x")
BODY = dump(parts({"claim": {"session": 's"},"removable":1', "consumes": []}}, {"arguments": {"removable": True}}))


def test_what_is_kept_comes_first_and_the_rest_can_go() -> None:
    body = parts({"claim": {"consumes": []}}, {"arguments": {"x": 1}, "outcome": "succeeded", "received_ms": 5})
    assert list(body) == ["claim", "outcome", "received_ms", "removable", "arguments"]
    text = dump(body)
    assert not is_cut(text)
    gone = cut(text)
    assert is_cut(gone)
    digest = hashlib.sha256(b',"removable":true,"arguments":{"x":1}}').hexdigest()
    kept = {"claim": {"consumes": []}, "outcome": "succeeded", "received_ms": 5}
    assert json.loads(gone) == {**kept, "removed": digest}
    assert load(text) == {**kept, "arguments": {"x": 1}}
    assert cut(gone) == gone


SHARING = dump(parts({"claim": {}}, {"shared": {"given": 7}, "arguments": {"shared": {"x": 1}}}))


def test_what_many_bodies_share_stands_last_and_is_hashed_by_itself() -> None:
    rest = b',"removable":2,"arguments":{"shared":{"x":1}}'
    share = b',"shared":{"given":7}}'
    assert rest + share in SHARING
    digest = hashlib.sha256(rest + b"\n" + hashlib.sha256(share).hexdigest().encode()).hexdigest()
    assert parted(SHARING) == (b'{"claim":{}', digest)
    assert load(SHARING) == {"claim": {}, "arguments": {"shared": {"x": 1}}, "given": 7}


@pytest.mark.parametrize("size", [1, 20_000])
def test_a_body_that_shares_is_the_same_link_when_it_is_cut_and_another_when_either_part_is_changed(size: int) -> None:
    body = SHARING.replace(b"7}}", b'"%b"}}' % (b"7" * size))
    sealed = seal(GENESIS, HEADER, body)
    assert seal(GENESIS, HEADER, cut(body)) == sealed
    assert is_cut(cut(body))
    assert cut(cut(body)) == cut(body)
    changed = [
        body.replace(b'"x":1', b'"x":2'),
        body.replace(b'"7', b'"8'),
        body.replace(b'"removable":2', b'"removable":true'),
        body.replace(b',"shared":{"given"', b',"share":{"given"'),
    ]
    assert sealed not in {seal(GENESIS, HEADER, one) for one in changed}


def test_no_member_of_an_agent_moves_where_the_shared_part_of_a_body_begins_unnoticed() -> None:
    one = dump(parts({"claim": {}}, {"arguments": {"a": 1, "shared": {"x": 1}}}))
    other = one.replace(b"true", b"2")
    assert seal(GENESIS, HEADER, one) != seal(GENESIS, HEADER, other)
    assert seal(GENESIS, HEADER, cut(other)) == seal(GENESIS, HEADER, other)


def test_a_member_of_a_body_does_not_take_the_place_of_what_is_kept() -> None:
    assert parts({"claim": 1}, {"claim": 2, "a": 3}) == {"claim": 1, "removable": True, "a": 3}


def test_a_link_is_the_same_with_and_without_what_may_be_removed() -> None:
    assert seal(GENESIS, HEADER, cut(BODY)) == seal(GENESIS, HEADER, BODY)
    assert seal(GENESIS, HEADER, BODY) == chained(GENESIS, content_of(HEADER, BODY))


def test_no_text_of_an_agent_is_taken_for_the_beginning_of_the_rest() -> None:
    kept, _ = parted(BODY)
    assert json.loads(kept + b"}") == {"claim": {"session": 's"},"removable":1', "consumes": []}}


@pytest.mark.parametrize(
    "other",
    [
        cut(BODY).replace(b"consumes", b"consumed"),
        cut(BODY)[:-3] + b'0"}',
        BODY.replace(b"true", b"null"),
        BODY[:-1] + b" }",
        parted(BODY)[0] + b"}",
    ],
)
def test_a_change_of_either_part_is_another_link(other: bytes) -> None:
    assert other not in {BODY, cut(BODY)}
    assert seal(GENESIS, HEADER, other) != seal(GENESIS, HEADER, BODY)


@pytest.mark.parametrize("body", [b"{}", b'{"deed":"paused"}', b'{"a":1,"removed":"ab"}', b""])
def test_a_body_without_such_a_part_stays_as_it_is(body: bytes) -> None:
    assert (parted(body), cut(body), is_cut(body)) == ((body, ""), body, False)
    assert parts({}, {"deed": "paused"}) == {"deed": "paused"}


def seal_of_the_first_version(prev: str, header: tuple[object, ...], body: str) -> str:
    return hashlib.sha256(dump((prev, *header)) + b"\n" + body.encode()).hexdigest()


async def as_of_the_first_version(path: Path) -> None:
    """Write a ledger, and seal it as the first version did."""
    store = SqliteStore(path, FakeClock())
    await store.open()
    await step(store, "check", {"payment_id": 7})
    await store.record(record("read", body={"outcome": "succeeded", "arguments": {"removable": True, "x": 1}}))
    await store.close()
    with closing(sqlite3.connect(path)) as db, db:
        tip = GENESIS
        rows = db.execute("SELECT seq, at_ms, kind, call_id, run_id, agent, on_behalf_of, tool, body FROM events")
        for *header, body in rows.fetchall():
            sealed = seal_of_the_first_version(tip, tuple(header), body)
            db.execute("UPDATE events SET prev_hash = ?, hash = ? WHERE seq = ?", (tip, sealed, header[0]))
            tip = sealed
        db.execute("UPDATE chain_head SET hash = ?", (tip,))


async def test_a_ledger_of_the_first_version_holds_and_goes_on(ledger_path: Path) -> None:
    await as_of_the_first_version(ledger_path)
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    assert await store.verify() == 3
    assert (await store.steps([lookup(values=[("payment_id", 7)])]))[0] is not None
    await store.record(record("later"))
    assert await store.verify() == 4
    hashes = [event.hash[:2] async for event in store.events(EventFilter())]
    assert [begins == "2." for begins in hashes] == [False, False, False, True]
    await store.close()


@pytest.mark.parametrize("seq", [1, 2, 3])
async def test_a_changed_event_of_the_first_version_is_named(ledger_path: Path, seq: int) -> None:
    await as_of_the_first_version(ledger_path)
    with closing(sqlite3.connect(ledger_path)) as db, db:
        db.execute("UPDATE events SET body = replace(body, '}', ' }') WHERE seq = ?", (seq,))
    store = SqliteStore(ledger_path, FakeClock())
    await store.open()
    with pytest.raises(LedgerTampered) as broken:
        await store.verify()
    assert broken.value.seq == seq
    await store.close()
