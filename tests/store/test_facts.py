"""Facts in the store: what holds is what the last event says, and nothing is overwritten unseen."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import LedgerTampered, StoreFault
from gateway.model.facts import FactKey
from gateway.store.facts import FactAnswer, FactPut, FactUse, FactVerdict
from gateway.store.memory import MemoryStore
from gateway.store.ports import ClaimVerdict, EventFilter, EventKind, Store
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import T0, intent

BUDGET = FactKey("run", "run_1", "budget")


def a_put(value: Any = 100, key: FactKey = BUDGET, **fields: Any) -> FactPut:
    known: dict[str, Any] = {
        "at_ms": T0,
        "call_id": "c1",
        "run_id": "run_1",
        "agent": "billing",
        "on_behalf_of": "eve",
        "tool": "facts.put",
        "value": value,
    }
    return FactPut(key, **(known | fields))


async def put(store: Store, value: Any = 100, key: FactKey = BUDGET, **fields: Any) -> FactAnswer:
    return await store.put_fact(a_put(value, key, **fields))


async def holds(store: Store, at_ms: int = T0, key: FactKey = BUDGET) -> Any:
    [fact] = await store.find_facts([key], at_ms)
    return None if fact is None else (fact.value, fact.version)


async def test_a_fact_holds_with_who_said_it_and_what_proves_it(store: Store) -> None:
    proof = {"call": "c0", "tool": "crm.get", "verified": True}
    answer = await put(store, {"usd": [1, 2]}, proof=proof)
    assert answer.verdict is FactVerdict.STORED
    [fact] = await store.find_facts([BUDGET], T0)
    assert fact == answer.fact
    assert fact is not None
    assert (fact.value, fact.version, fact.proof) == ({"usd": [1, 2]}, 1, proof)
    assert (fact.call_id, fact.run_id, fact.agent, fact.on_behalf_of) == ("c1", "run_1", "billing", "eve")
    assert await store.find_facts([BUDGET._replace(owner="run_2"), BUDGET._replace(scope="team")], T0) == [None, None]
    assert await store.verify() == 1


async def test_another_value_is_not_put_over_one_that_holds_and_the_contradiction_is_on_record(store: Store) -> None:
    await put(store)
    answer = await put(store, 1000, call_id="c2")
    assert (answer.verdict, answer.fact and answer.fact.value) == (FactVerdict.CONFLICT, 100)
    assert await holds(store) == (100, 1)
    [event] = [event async for event in store.events(EventFilter(call_id="c2"))]
    body = json.loads(event.body)
    assert event.kind is EventKind.FACT_CONTRADICTED
    assert (body["held"], body["value"]) == ({"version": 1, "value": 100}, 1000)
    assert body["contradicts"] == {"scope": "run", "owner": "run_1", "name": "budget"}
    assert await store.verify() == 2


async def test_the_same_value_is_no_contradiction(store: Store) -> None:
    await put(store, 250)
    assert (await put(store, 250.0)).verdict is FactVerdict.STORED
    assert await holds(store) == (250.0, 2)


async def test_who_names_the_version_that_holds_may_replace_it_once(store: Store) -> None:
    await put(store)
    answers = await asyncio.gather(*(put(store, n, expects=1) for n in range(10)))
    assert [answer.verdict for answer in answers].count(FactVerdict.STORED) == 1
    assert (await holds(store))[1] == 2
    assert (await put(store, 7, expects=0)).verdict is FactVerdict.CONFLICT
    assert await store.verify() == 12


async def test_what_must_not_be_there_yet_is_put_by_one(store: Store) -> None:
    answers = await asyncio.gather(*(put(store, n, expects=0) for n in range(5)))
    assert [answer.verdict for answer in answers].count(FactVerdict.STORED) == 1
    missing = await put(store, 1, BUDGET._replace(name="other"), expects=3)
    assert (missing.verdict, missing.fact) == (FactVerdict.CONFLICT, None)


async def test_a_fact_ends_with_its_time_and_versions_count_on(store: Store) -> None:
    await put(store, until_ms=T0 + 10)
    assert await holds(store, T0 + 9) == (100, 1)
    assert await holds(store, T0 + 10) is None
    assert (await put(store, 7, at_ms=T0 + 10, expects=0)).verdict is FactVerdict.STORED
    assert await holds(store, T0 + 10) == (7, 2)


async def test_a_deleted_fact_is_gone_and_versions_count_on(store: Store) -> None:
    assert (await put(store, None, gone=True)).verdict is FactVerdict.ABSENT
    await put(store)
    assert (await put(store, None, gone=True, expects=5)).verdict is FactVerdict.CONFLICT
    answer = await put(store, None, gone=True)
    assert (answer.verdict, answer.fact) == (FactVerdict.STORED, None)
    assert await holds(store) is None
    assert await store.list_facts("", "", T0) == []
    await put(store, 7)
    assert await holds(store) == (7, 3)
    assert await store.verify() == 4


async def test_an_owner_holds_so_many_facts_and_no_more(store: Store) -> None:
    names = [BUDGET._replace(name=f"n{n}") for n in range(4)]
    verdicts = [(await put(store, 1, key, most=3)).verdict for key in names]
    assert verdicts == [FactVerdict.STORED] * 3 + [FactVerdict.FULL]
    assert (await put(store, 1, names[0], most=3)).verdict is FactVerdict.STORED
    assert (await put(store, 1, names[0]._replace(owner="run_2"), most=3)).verdict is FactVerdict.STORED
    await put(store, None, names[1], gone=True)
    assert (await put(store, 1, names[3], most=3)).verdict is FactVerdict.STORED


async def test_lists_are_narrowed_and_in_order(store: Store) -> None:
    for scope, owner, name in [("team", "a", "x"), ("run", "r2", "b"), ("run", "r1", "b"), ("run", "r1", "a")]:
        await put(store, 1, FactKey(scope, owner, name))

    async def keys(scope: str = "", owner: str = "", limit: int = 9) -> list[str]:
        return [":".join(fact.key) for fact in await store.list_facts(scope, owner, T0, limit)]

    assert await keys() == ["run:r1:a", "run:r1:b", "run:r2:b", "team:a:x"]
    assert await keys("run", "r1") == ["run:r1:a", "run:r1:b"]
    assert await keys("run", limit=1) == ["run:r1:a"]


async def test_a_claim_is_refused_when_a_fact_it_relied_on_is_another_now(store: Store) -> None:
    relied, none = FactUse(BUDGET, 1), FactUse(BUDGET._replace(name="other"), 0)
    await put(store, until_ms=T0 + 10)
    assert (await store.claim(intent("c2", facts=(relied, none)))).verdict is ClaimVerdict.CLAIMED
    assert (await store.claim(intent("c3", facts=(relied,), at_ms=T0 + 10))).verdict is ClaimVerdict.STALE
    await put(store, 7, expects=1)
    assert (await store.claim(intent("c4", facts=(relied,)))).verdict is ClaimVerdict.STALE
    await put(store, 7, none.key)
    assert (await store.claim(intent("c5", facts=(none,)))).verdict is ClaimVerdict.STALE


async def test_what_is_no_json_is_refused_and_changes_nothing(store: Store) -> None:
    with pytest.raises(StoreFault, match="cannot be recorded"):
        await put(store, "\ud800")
    assert await holds(store) is None
    assert await store.verify() == 0


TAMPERINGS = {
    "brought back": "UPDATE facts SET gone = 0 WHERE name = 'gone'",
    "longer": "UPDATE facts SET until_ms = 0 WHERE name = 'budget'",
    "another version": "UPDATE facts SET version = 9 WHERE name = 'budget'",
    "an older one": "UPDATE facts SET seq = 1, version = 1 WHERE name = 'budget'",
    "somebody else's": "UPDATE facts SET owner = 'run_2' WHERE name = 'budget'",
    "another event's": "UPDATE facts SET seq = 5 WHERE name = 'budget'",
    "another fact's": "UPDATE facts SET seq = 4 WHERE name = 'budget'",
    "the value changed": "UPDATE events SET body = replace(body, ':200,', ':900,') WHERE seq = 2",
}


@pytest.fixture
async def filled(ledger_path: Path, sqlite: SqliteStore) -> Path:
    """A ledger with a fact in its second version, one that was deleted, and a contradiction."""
    await put(sqlite, until_ms=T0 + 10)
    await put(sqlite, 200, expects=1, until_ms=T0 + 10)
    await put(sqlite, 1, BUDGET._replace(name="gone"))
    await put(sqlite, None, BUDGET._replace(name="gone"), gone=True)
    await put(sqlite, 300)
    return ledger_path


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
async def test_a_changed_row_or_event_is_found_when_it_is_read_and_when_the_ledger_is_loaded(
    filled: Path, sqlite: SqliteStore, what: str
) -> None:
    with closing(sqlite3.connect(filled)) as db, db:
        assert db.execute(TAMPERINGS[what]).rowcount > 0
    with pytest.raises(LedgerTampered):
        await sqlite.list_facts("", "", T0)
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM facts WHERE name = 'budget'",
        "DELETE FROM facts WHERE name = 'gone'",
        "INSERT INTO facts SELECT 'team', owner, name, version, 99, until_ms, 0 FROM facts LIMIT 1",
    ],
)
async def test_a_row_removed_or_added_is_found_when_the_ledger_is_loaded(
    filled: Path, sqlite: SqliteStore, tampering: str
) -> None:
    with closing(sqlite3.connect(filled)) as db, db:
        assert db.execute(tampering).rowcount > 0
    with pytest.raises(LedgerTampered):
        await sqlite.verify()


async def test_a_fact_added_to_memory_behind_the_ledgers_back_is_found() -> None:
    memory = MemoryStore(FakeClock())
    await put(memory)
    await memory.claim(intent("c2"))
    row = memory._board.rows[BUDGET]
    memory._board.rows[BUDGET] = row._replace(seq=2)
    with pytest.raises(LedgerTampered):
        await memory.find_facts([BUDGET], T0)
    memory._board.rows[BUDGET] = row
    memory._board.rows[BUDGET._replace(name="other")] = row._replace(name="other", seq=7)
    with pytest.raises(LedgerTampered):
        await memory.verify()
