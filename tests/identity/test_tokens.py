"""API tokens: one live one per agent, kept as digests, revocable while others go on."""

import asyncio

import pytest

from gateway.identity.tokens import DEFAULT_TTL_MS, TokenRefused, Tokens, is_live, matches, split_token
from gateway.model.clock import RandomIds
from gateway.model.errors import StoreFault
from gateway.store.memory import MemoryStore
from gateway.store.ports import TokenRecord
from tests.identity.doubles import CountingIds, HandClock


@pytest.fixture
def tokens(store: MemoryStore, clock: HandClock, ids: CountingIds) -> Tokens:
    return Tokens(store, clock, ids)


async def test_a_token_has_two_unguessable_parts_and_the_store_holds_only_a_digest(
    store: MemoryStore, clock: HandClock
) -> None:
    issued = await Tokens(store, clock, RandomIds()).issue("payer")
    parts = split_token(issued.token)
    assert parts is not None
    token_id, secret = parts
    assert len(token_id.removeprefix("tg_")) >= 32
    assert len(secret) >= 32
    [stored] = await store.tokens()
    assert stored == issued.record
    assert secret not in repr(stored)
    assert matches(secret, stored.digest)
    assert not matches(secret[:-1], stored.digest)


async def test_an_issued_token_does_not_show_when_printed(tokens: Tokens) -> None:
    issued = await tokens.issue("payer")
    assert issued.token not in repr(issued)
    assert issued.token.rpartition("_")[2] not in repr(issued)


async def test_a_token_lives_90_days_unless_told_otherwise(tokens: Tokens, clock: HandClock) -> None:
    issued = await tokens.issue("payer")
    assert issued.record.expires_ms - clock.now_ms() == DEFAULT_TTL_MS == 90 * 86_400_000
    short = await tokens.issue("reader", ttl_ms=1000)
    assert short.record.expires_ms - clock.now_ms() == 1000


async def test_a_second_token_for_an_agent_is_refused_and_points_to_rotate(tokens: Tokens) -> None:
    await tokens.issue("payer")
    with pytest.raises(TokenRefused, match="toolgate token rotate payer"):
        await tokens.issue("payer")
    await tokens.issue("reader")


async def test_an_expired_token_does_not_stand_in_the_way_of_a_new_one(tokens: Tokens, clock: HandClock) -> None:
    await tokens.issue("payer", ttl_ms=1000)
    clock.jump(1.0)
    await tokens.issue("payer")


@pytest.mark.parametrize("ttl_ms", [0, -1])
async def test_a_token_that_never_lives_is_refused(tokens: Tokens, ttl_ms: int) -> None:
    with pytest.raises(TokenRefused, match="positive"):
        await tokens.issue("payer", ttl_ms=ttl_ms)


async def test_of_two_commands_at_once_one_issues_the_token(clock: HandClock, ids: CountingIds) -> None:
    class Slow(MemoryStore):
        """A store whose reads let another command in between."""

        async def tokens(self) -> list[TokenRecord]:
            found = await super().tokens()
            await asyncio.sleep(0)
            return found

    store = Slow(clock)
    results = await asyncio.gather(
        *(Tokens(store, clock, ids).issue("payer") for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["IssuedToken", "TokenRefused"]
    live = [token for token in await store.tokens() if is_live(token, clock.now_ms())]
    assert len(live) == 1
    [winner] = [result for result in results if not isinstance(result, BaseException)]
    assert winner.record == live[0]


async def test_rotation_lets_both_tokens_work_for_the_overlap_only(tokens: Tokens, clock: HandClock) -> None:
    old = await tokens.issue("payer")
    new = await tokens.rotate("payer", overlap_ms=5000)
    assert new.revoked == (old.record.id,)
    records = {token.id: token for token in await tokens._store.tokens()}
    assert is_live(records[old.record.id], clock.now_ms() + 4999)
    assert not is_live(records[old.record.id], clock.now_ms() + 5000)
    assert is_live(records[new.record.id], clock.now_ms() + 5000)


async def test_rotation_without_overlap_ends_the_old_token_at_once(tokens: Tokens, clock: HandClock) -> None:
    old = await tokens.issue("payer")
    await tokens.rotate("payer", overlap_ms=0)
    [record] = [token for token in await tokens._store.tokens() if token.id == old.record.id]
    assert not is_live(record, clock.now_ms())


async def test_rotation_gives_a_first_token_too_and_refuses_a_negative_overlap(tokens: Tokens) -> None:
    assert (await tokens.rotate("payer")).revoked == ()
    with pytest.raises(TokenRefused, match="negative"):
        await tokens.rotate("payer", overlap_ms=-1)


async def test_revoking_ends_a_token_that_still_overlaps_and_touches_no_other_agent(
    tokens: Tokens, clock: HandClock
) -> None:
    old = await tokens.issue("payer")
    other = await tokens.issue("reader")
    new = await tokens.rotate("payer", overlap_ms=3_600_000)
    assert sorted(await tokens.revoke("payer")) == sorted([old.record.id, new.record.id])
    live = [token.id for token in await tokens._store.tokens() if is_live(token, clock.now_ms())]
    assert live == [other.record.id]


async def test_a_revocation_that_leaves_a_token_alive_is_never_reported_as_done(
    clock: HandClock, ids: CountingIds
) -> None:
    class Forgetful(MemoryStore):
        async def revoke_tokens(self, agent: str, at_ms: int, *, keep: str = "", by: str = "") -> list[str]:
            return []

    tokens = Tokens(Forgetful(clock), clock, ids)
    issued = await tokens.issue("payer")
    with pytest.raises(StoreFault, match=issued.record.id):
        await tokens.revoke("payer")


@pytest.mark.parametrize(
    "text",
    ["", "tg_", "tg_a", "tg_a_", "tg__b", "tg_A_b", "tg_a_b_c", "tg_a_b\n", "xtg_a_b", "tg_a_" + "b" * 300, "tg_а_b"],
)
def test_what_is_no_token_is_not_split(text: str) -> None:
    assert split_token(text) is None
