"""Sealed legacy sessions: no forgery, nobody else's, and no end with the process."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.back import AskRefused
from gateway.model.identity import ClientInfo, Identity
from gateway.store.memory import MemoryStore
from gateway.transport.sessions import Session, Sessions, Told

PAYER = Identity("payer", "token", "tg_1")


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


def sessions_in(store: MemoryStore, clock: Hand | None = None, key: bytes = b"k" * 32) -> Sessions:
    return Sessions(key, clock or Hand(), store)


async def opened(sessions: Sessions, version: str = "2025-11-25", endpoint: str = "") -> Session:
    client = ClientInfo("inspector", "2")
    return await sessions.open(PAYER, version, endpoint, Told({"roots": {}}, {"experimental": {"x": {}}}, client))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(Hand())


async def test_a_session_opens_for_its_principal_and_remembers_what_was_said(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions, "2025-06-18", "team")
    assert await sessions.find(session.id, PAYER) is session
    assert (session.version, session.endpoint, session.capabilities) == ("2025-06-18", "team", {"roots": {}})


async def test_a_session_outlives_a_restart_and_a_rotated_token(store: MemoryStore) -> None:
    before = sessions_in(store)
    session = await opened(before, "2025-06-18", "team")
    session.log_level, session.subscriptions = "warning", frozenset({"file:///b", "file:///a"})
    await before.save(session)
    found = await sessions_in(store).find(session.id, replace(PAYER, credential_id="tg_2"))
    assert found is not None
    assert found is not session
    assert (found.version, found.endpoint, found.capabilities) == ("2025-06-18", "team", {"roots": {}})
    assert found.declares == {"experimental": {"x": {}}}
    assert (found.client, found.log_level) == (ClientInfo("inspector", "2"), "warning")
    assert found.subscriptions == {"file:///a", "file:///b"}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        replace(PAYER, agent="clerk"),
        replace(PAYER, on_behalf_of="alice"),
        replace(PAYER, issuer="https://idp.example"),
    ],
)
async def test_a_session_of_one_principal_does_not_exist_for_another(
    store: MemoryStore, other: Identity, restarted: bool
) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    assert await (sessions_in(store) if restarted else sessions).find(session.id, other) is None


async def test_a_key_of_another_gateway_opens_nothing(store: MemoryStore) -> None:
    session = await opened(sessions_in(store))
    assert await sessions_in(store, key=b"x" * 32).find(session.id, PAYER) is None


@given(st.text(max_size=300))
def test_no_text_is_a_session(text: str) -> None:
    assert asyncio.run(sessions_in(MemoryStore(Hand())).find(text, PAYER)) is None


async def test_a_changed_version_breaks_the_seal(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    assert await sessions.find(session.id.replace("2025-11-25", "2024-11-05"), PAYER) is None


async def test_an_ended_session_stays_ended_after_a_restart_too(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    await sessions.end(session)
    assert await sessions.find(session.id, PAYER) is None
    assert await sessions_in(store).find(session.id, PAYER) is None


async def test_whoever_waits_for_an_answer_of_an_ended_session_is_told(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    session.asked["ask-1"] = answer
    session.own_stream = session.streams.open()
    await sessions.end(session)
    assert session.own_stream.closed
    with pytest.raises(AskRefused):
        await answer


async def test_memory_of_idle_sessions_is_bounded_and_none_is_lost(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    busy = await opened(sessions)
    busy.asked["ask-1"] = asyncio.get_running_loop().create_future()
    first = await opened(sessions)
    for _ in range(10_010):
        await opened(sessions)
    assert len(sessions._live) <= 10_001
    assert await sessions.find(busy.id, PAYER) is busy
    found = await sessions.find(first.id, PAYER)
    assert (found is not None, found is first) == (True, False)


async def test_a_session_is_over_after_a_week_and_its_record_goes(store: MemoryStore) -> None:
    clock = Hand()
    sessions = sessions_in(store, clock)
    session = await opened(sessions)
    clock.ms += 7 * 24 * 3600 * 1000
    assert await sessions.find(session.id, PAYER) is not None
    clock.ms += 1
    assert await sessions.find(session.id, PAYER) is None
    await opened(sessions_in(store, clock))
    assert await store.find_session(session.id) is None


async def test_ids_are_never_the_same_and_carry_128_random_bits(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    ids = {(await opened(sessions)).id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each.split(".")[0]) == 32 for each in ids)


async def test_a_session_that_ended_while_something_was_set_is_not_put_back(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    await sessions.end(session)
    await sessions.save(session)
    assert await store.find_session(session.id) is None


async def test_capabilities_of_any_size_are_not_kept(store: MemoryStore) -> None:
    session = await sessions_in(store).open(PAYER, "2025-11-25", "", Told({"roots": {"x": "y" * 9000}}))
    assert session.capabilities == {}


async def test_an_answer_that_came_already_is_not_taken_back_at_the_end(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    session = await opened(sessions)
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.set_result({})
    session.asked["ask-1"] = answer
    sessions.stop()
    await sessions.end(session)
    assert answer.result() == {}


async def test_a_session_in_use_outlasts_those_that_are_idle(store: MemoryStore) -> None:
    sessions = sessions_in(store)
    used = await opened(sessions)
    for _ in range(10):
        for _ in range(1001):
            await opened(sessions)
        assert await sessions.find(used.id, PAYER) is used


async def test_of_one_principal_the_idle_session_used_longest_ago_ends_for_one_too_many(store: MemoryStore) -> None:
    sessions = Sessions(b"k" * 32, Hand(), store, most_each=2)
    other = await sessions.open(replace(PAYER, agent="other"), "2025-11-25", "", Told())
    first, second = await opened(sessions), await opened(sessions)
    assert await sessions.find(first.id, PAYER) is first
    third = await opened(sessions)
    assert [await sessions.find(each.id, PAYER) for each in (first, second, third)] == [first, None, third]
    assert second.ended
    assert await store.find_session(second.id) is None
    assert await sessions.find(other.id, replace(PAYER, agent="other")) is other


async def test_a_session_with_a_question_open_does_not_end_for_another(store: MemoryStore) -> None:
    sessions = Sessions(b"k" * 32, Hand(), store, most_each=1)
    busy = await opened(sessions)
    busy.asked["ask-1"] = asyncio.get_running_loop().create_future()
    await opened(sessions)
    assert await sessions.find(busy.id, PAYER) is busy


async def test_a_session_that_only_its_record_holds_ends_for_another_too(store: MemoryStore) -> None:
    sessions = Sessions(b"k" * 32, Hand(), store, most_each=1)
    first = await opened(sessions)
    sessions._live.clear()
    await opened(sessions)
    assert await sessions.find(first.id, PAYER) is None
