"""Sealed legacy sessions: no memory, no forgery, nobody else's."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.identity import Identity
from gateway.transport.sessions import Session, Sessions

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


def test_a_session_opens_for_its_principal_and_remembers_its_version() -> None:
    sessions = Sessions(b"k" * 32, Hand())
    opened = sessions.open(PAYER, "2025-06-18")
    assert sessions.find(opened.id, PAYER) == Session(opened.id, "2025-06-18")


def test_a_session_survives_a_restart_and_a_rotated_token() -> None:
    opened = Sessions(b"k" * 32, Hand()).open(PAYER, "2025-11-25")
    assert Sessions(b"k" * 32, Hand()).find(opened.id, replace(PAYER, credential_id="tg_2")) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(PAYER, agent="clerk"),
        replace(PAYER, on_behalf_of="alice"),
        replace(PAYER, issuer="https://idp.example"),
    ],
)
def test_a_session_of_one_principal_does_not_exist_for_another(other: Identity) -> None:
    sessions = Sessions(b"k" * 32, Hand())
    assert sessions.find(sessions.open(PAYER, "2025-11-25").id, other) is None


def test_a_key_of_another_gateway_opens_nothing() -> None:
    assert Sessions(b"x" * 32, Hand()).find(Sessions(b"k" * 32, Hand()).open(PAYER, "2025-11-25").id, PAYER) is None


@given(st.text(max_size=300))
def test_no_text_is_a_session(text: str) -> None:
    assert Sessions(b"k" * 32, Hand()).find(text, PAYER) is None


def test_a_changed_version_breaks_the_seal() -> None:
    sessions = Sessions(b"k" * 32, Hand())
    assert sessions.find(sessions.open(PAYER, "2025-11-25").id.replace("2025-11-25", "2024-11-05"), PAYER) is None


def test_an_ended_session_stays_ended() -> None:
    sessions = Sessions(b"k" * 32, Hand())
    opened = sessions.open(PAYER, "2025-11-25")
    sessions.end(opened)
    assert sessions.find(opened.id, PAYER) is None


def test_memory_of_ended_sessions_is_bounded() -> None:
    sessions = Sessions(b"k" * 32, Hand())
    for _ in range(10_050):
        sessions.end(Session(sessions.open(PAYER, "2025-11-25").id, "2025-11-25"))
    assert len(sessions._ended) == 10_000


def test_a_session_is_over_after_a_week() -> None:
    clock = Hand()
    sessions = Sessions(b"k" * 32, clock)
    opened = sessions.open(PAYER, "2025-11-25")
    clock.ms += 7 * 24 * 3600 * 1000
    assert sessions.find(opened.id, PAYER) is not None
    clock.ms += 1
    assert sessions.find(opened.id, PAYER) is None


def test_ids_are_never_the_same_and_carry_128_random_bits() -> None:
    sessions = Sessions(b"k" * 32, Hand())
    ids = {sessions.open(PAYER, "2025-11-25").id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each.split(".")[0]) == 32 for each in ids)
