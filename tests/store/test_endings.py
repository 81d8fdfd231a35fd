"""A call ends once, whichever process wrote its claim and its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.model.errors import StoreFault
from gateway.store.ports import ClaimVerdict
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import FakeClock
from tests.store.making import ending, intent


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, FakeClock())
    await store.open()
    yield store
    await store.close()


async def test_a_call_that_another_process_ended_is_not_ended_again_by_the_one_that_claimed_it(
    ledger_path: Path,
) -> None:
    async with opened(ledger_path) as one, opened(ledger_path) as other:
        await one.claim(intent("c1"))
        await other.finish(ending("c1"))
        with pytest.raises(StoreFault) as refused:
            await one.finish(ending("c1"))
        assert "has ended already" in refused.value.detail
        await one.claim(intent("c2"))
        await one.finish(ending("c2"))
        with pytest.raises(StoreFault):
            await one.finish(ending("c2"))
        assert await one.verify() == 4


async def test_a_call_that_another_process_claimed_can_be_ended(ledger_path: Path) -> None:
    async with opened(ledger_path) as one, opened(ledger_path) as other:
        await one.claim(intent("c1"))
        await other.finish(ending("c1"))
        assert await other.unfinished() == []


async def test_of_two_claims_of_a_key_in_one_transaction_the_second_is_told_of_the_first(ledger_path: Path) -> None:
    async with opened(ledger_path) as store:
        first, second = await asyncio.gather(
            store.claim(intent("c1", step_key="k")), store.claim(intent("c2", step_key="k"))
        )
        assert (first.verdict, second.verdict) == (ClaimVerdict.CLAIMED, ClaimVerdict.RECORDED)
        assert second.recorded is not None
        assert second.recorded.call_id == "c1"
        with pytest.raises(StoreFault) as refused:
            await store.claim(intent("c1", step_key="other"))
        assert "was claimed before" in refused.value.detail
        assert await store.verify() == 1


async def test_a_delivery_and_the_claim_that_asks_after_it_may_be_written_together(ledger_path: Path) -> None:
    async with opened(ledger_path) as one, opened(ledger_path) as other:
        await one.claim(intent("c1", step_key="k"))
        await one.finish(ending("c1"))
        told, again = await asyncio.gather(one.deliver("c1", 2), one.claim(intent("c2", step_key="k")))
        assert told is None
        assert again.recorded is not None
        assert again.recorded.delivered == 2
        found = await other.made("c1")
        assert found is not None
        assert found.delivered == 2


async def test_of_many_calls_that_end_together_only_the_one_that_ended_before_is_refused(ledger_path: Path) -> None:
    async with opened(ledger_path) as store:
        calls = [f"c{number}" for number in range(20)]
        await asyncio.gather(*(store.claim(intent(call, step_key=call)) for call in calls))
        ends = [store.finish(ending(call)) for call in [*calls, "c7"]]
        claims = [store.claim(intent(f"{call}b", step_key=key)) for call, key in (("c8", "c8"), ("c9", "other"))]
        ended = await asyncio.gather(*ends, return_exceptions=True)
        assert [index for index, answer in enumerate(ended) if isinstance(answer, StoreFault)] == [20]
        again, new = await asyncio.gather(*claims)
        assert (again.verdict, new.verdict) == (ClaimVerdict.RECORDED, ClaimVerdict.CLAIMED)
        assert await store.verify() == 41
        assert [each.call_id for each in await store.unfinished()] == ["c9b"]
