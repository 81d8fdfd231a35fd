"""The index of tokens: renewed twice a second, and not believed when it is old."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.identity.token_index import LEARN_S, MAX_AGE_S, POLL_S, TokenIndex
from gateway.identity.tokens import Tokens
from gateway.model.errors import StoreFault
from gateway.store.memory import MemoryStore
from gateway.store.ports import TokenRecord
from tests.identity.doubles import CountingIds, HandClock, settle


class FlakyStore(MemoryStore):
    """A store that can be made to fail."""

    broken = False
    reads = 0

    async def tokens(self) -> list[TokenRecord]:
        self.reads += 1
        if self.broken:
            raise StoreFault("no", detail="disk")
        return await super().tokens()


@pytest.fixture
def flaky(clock: HandClock) -> FlakyStore:
    return FlakyStore(clock)


@pytest.fixture
async def index(flaky: FlakyStore, clock: HandClock) -> AsyncIterator[TokenIndex]:
    index = TokenIndex(flaky, clock)
    task = asyncio.create_task(index.watch())
    await settle()
    yield index
    task.cancel()
    await asyncio.wait([task])


async def test_a_change_by_another_process_is_seen_within_a_second(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock, ids: CountingIds
) -> None:
    other_process = Tokens(flaky, clock, ids)
    token = await other_process.issue("payer")
    assert index.find(token.record.id) is None
    await clock.advance(POLL_S)
    assert index.find(token.record.id) == token.record
    await other_process.revoke("payer")
    await clock.advance(POLL_S)
    seen = index.find(token.record.id)
    assert seen is not None
    assert seen.revoked_ms is not None
    assert 2 * POLL_S <= 1.0


async def test_an_index_that_was_never_read_refuses(flaky: FlakyStore, clock: HandClock) -> None:
    with pytest.raises(StoreFault):
        TokenIndex(flaky, clock).find("tg_1")


async def test_an_unreadable_store_is_bridged_for_five_seconds_and_no_longer(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock, ids: CountingIds
) -> None:
    token = await Tokens(flaky, clock, ids).issue("payer")
    await clock.advance(POLL_S)
    flaky.broken = True
    for _ in range(int(MAX_AGE_S / POLL_S)):
        await clock.advance(POLL_S)
        assert index.find(token.record.id) == token.record
    await clock.advance(POLL_S)
    with pytest.raises(StoreFault) as refusal:
        index.find(token.record.id)
    assert refusal.value.retry_after_s == 1.0
    flaky.broken = False
    await clock.advance(POLL_S)
    assert index.find(token.record.id) == token.record


async def test_a_store_that_never_answers_is_an_unreadable_store(clock: HandClock) -> None:
    class Hanging(MemoryStore):
        async def tokens(self) -> list[TokenRecord]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(StoreFault) as refusal:
        await TokenIndex(Hanging(clock), clock, read_s=0.01).refresh()
    assert "timed out" in refusal.value.detail


async def test_the_first_reading_may_take_longer_than_the_next_ones(clock: HandClock) -> None:
    class Slow(MemoryStore):
        async def tokens(self) -> list[TokenRecord]:
            await asyncio.sleep(0.3)
            return []

    index = TokenIndex(Slow(clock), clock, read_s=0.1)
    await index.refresh()
    with pytest.raises(StoreFault):
        await index.refresh()


async def test_a_token_made_a_moment_ago_is_learnt_when_it_is_presented(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock, ids: CountingIds
) -> None:
    token = await Tokens(flaky, clock, ids).issue("payer")
    await clock.advance(LEARN_S * 1.5)
    assert index.find(token.record.id) is None
    await index.learn(token.record.id)
    assert index.find(token.record.id) == token.record


async def test_made_up_tokens_do_not_make_it_read_more_than_ten_times_a_second(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock
) -> None:
    await clock.advance(LEARN_S * 1.5)
    flaky.reads = 0
    for reads in (1, 2, 3):
        clock.jump(LEARN_S / 10)
        asked = asyncio.gather(*(index.learn(f"tg_{number}") for number in range(50)))
        await asyncio.sleep(0)
        await clock.advance(LEARN_S * 1.01)
        await asked
        assert flaky.reads == reads


async def test_a_token_works_that_is_presented_right_after_the_tokens_were_read(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock, ids: CountingIds
) -> None:
    await index.refresh()
    clock.jump(LEARN_S / 10)
    token = await Tokens(flaky, clock, ids).issue("payer")
    learning = asyncio.create_task(index.learn(token.record.id))
    await asyncio.sleep(0)
    await clock.advance(LEARN_S * 1.01)
    await learning
    assert index.find(token.record.id) == token.record


async def test_a_store_that_cannot_be_read_fails_all_who_look_at_once(
    index: TokenIndex, flaky: FlakyStore, clock: HandClock
) -> None:
    await clock.advance(LEARN_S * 1.5)
    flaky.broken = True
    flaky.reads = 0
    asked = await asyncio.gather(*(index.learn(f"tg_{number}") for number in range(50)), return_exceptions=True)
    assert {type(each) for each in asked} == {StoreFault}
    assert flaky.reads <= 1
