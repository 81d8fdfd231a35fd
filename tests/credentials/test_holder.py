"""One token: renewed ahead by one request at a time; what passes is waited for, what does not is a death."""

import asyncio
from pathlib import Path

import pytest

from gateway.connector import Behalf, ConnectorFault
from gateway.credentials.fault import GrantRefused, unsent
from gateway.credentials.holder import Holder
from gateway.credentials.life import Death, Life
from gateway.credentials.token import Token, token_in
from tests.fixtures.clock import FakeClock


class Mint:
    """Gives numbered tokens that hold `life_ms`; `next` is raised or waited for first, once."""

    def __init__(self, clock: FakeClock, life_ms: int | None = 100_000) -> None:
        self.clock = clock
        self.life_ms = life_ms
        self.asked: list[Token | None] = []
        self.next: Exception | asyncio.Event | None = None
        self.constant = ""

    async def __call__(self, last: Token | None) -> Token:
        self.asked.append(last)
        await asyncio.sleep(0)
        coming, self.next = self.next, None
        if isinstance(coming, asyncio.Event):
            await coming.wait()
        elif coming is not None:
            raise coming
        now = self.clock.now_ms()
        value = self.constant or f"token{len(self.asked)}"
        return Token(value, now, None if self.life_ms is None else now + self.life_ms, refresh="r")


class Bench:
    """A holder, its lives and the deaths that were told."""

    def __init__(self, folder: Path, life_ms: int | None = 100_000) -> None:
        self.clock = FakeClock()
        self.mint = Mint(self.clock, life_ms)
        self.deaths: list[Death] = []
        self.life = Life("client_credentials", Behalf(), self.clock, lambda life, death: self.deaths.append(death))
        self.client = Life("client_credentials", Behalf(), self.clock, lambda life, death: self.deaths.append(death))
        self.mark = folder / "mark"
        for life in (self.life, self.client):
            life.marks["server"] = (self.mark,)
        self.holder = Holder(self.mint, self.life, self.client, self.clock)

    async def value(self) -> str:
        return (await self.holder.get()).value

    async def fault(self) -> ConnectorFault:
        with pytest.raises(ConnectorFault) as caught:
            await self.holder.get()
        return caught.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_in_the_last_fifth_of_its_life_a_token_is_renewed_while_calls_go_on_with_it(bench: Bench) -> None:
    assert await bench.value() == "token1"
    bench.clock.passed = 79.9
    assert await bench.value() == "token1"
    bench.clock.passed = 80.0
    assert [await bench.value() for _ in range(3)] == ["token1"] * 3
    await settled()
    assert await bench.value() == "token2"
    assert len(bench.mint.asked) == 2


async def test_a_long_lived_token_is_renewed_a_minute_before_its_end(bench: Bench) -> None:
    bench.mint.life_ms = 3_600_000
    await bench.value()
    bench.clock.passed = 3539.9
    await bench.value()
    await settled()
    assert len(bench.mint.asked) == 1
    bench.clock.passed = 3540
    await bench.value()
    await settled()
    assert len(bench.mint.asked) == 2


async def test_a_token_that_is_over_is_never_shown_and_all_wait_for_one_request(bench: Bench) -> None:
    await bench.value()
    bench.clock.passed = 100.0
    assert set(await asyncio.gather(*(bench.value() for _ in range(50)))) == {"token2"}
    assert len(bench.mint.asked) == 2


async def test_a_token_without_an_end_holds_until_it_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, life_ms=None)
    await bench.value()
    bench.clock.passed = 1e6
    assert await bench.value() == "token1"
    await bench.holder.replace("token1", "401", again=False)
    assert await bench.value() == "token2"
    last = bench.mint.asked[1]
    assert last is not None
    assert (last.value, last.refresh) == ("", "r")  # a void token still renews


async def test_a_caller_that_gives_up_takes_nobodys_token_away(bench: Bench) -> None:
    bench.mint.next = gate = asyncio.Event()
    first, second = asyncio.ensure_future(bench.value()), asyncio.ensure_future(bench.value())
    await settled()
    first.cancel()
    await settled()
    gate.set()
    assert await second == "token1"
    assert len(bench.mint.asked) == 1


async def test_a_renewal_that_fails_for_now_costs_no_call_and_is_tried_again_a_second_later(bench: Bench) -> None:
    await bench.value()
    bench.clock.passed = 90.0
    bench.mint.next = unsent("down")
    for _ in range(3):
        assert await bench.value() == "token1"
        await settled()
    assert len(bench.mint.asked) == 2
    bench.clock.passed = 91.0
    await bench.value()
    await settled()
    assert await bench.value() == "token3"
    assert bench.deaths == []


async def test_while_no_token_can_be_had_calls_fail_fast_and_say_that_it_passes(bench: Bench) -> None:
    bench.mint.next = unsent("down", retry_after_s=5.0)
    for _ in range(3):
        told = await bench.fault()
        assert (told.code, told.sent, told.retryable) == ("unavailable", False, True)
    assert len(bench.mint.asked) == 1
    bench.clock.passed = 5.0
    assert await bench.value() == "token2"


@pytest.mark.parametrize("client", [True, False])
async def test_a_refused_grant_is_one_death_until_it_is_renewed(bench: Bench, client: bool) -> None:
    bench.mint.next = GrantRefused("no", client=client)
    for _ in range(3):
        told = await bench.fault()
        assert (told.code, told.sent, told.detail) == ("credential_expired", False, "no")
    assert [death.reason for death in bench.deaths] == ["no"]
    assert (bench.client.death is not None, bench.life.death is not None) == (client, not client)
    bench.mark.touch()
    assert await bench.value() == "token2"


async def test_a_renewal_beside_calls_that_is_refused_is_a_death_too(bench: Bench) -> None:
    await bench.value()
    bench.clock.passed = 90.0
    bench.mint.next = GrantRefused("revoked")
    await bench.value()
    await settled()
    assert (await bench.fault()).code == "credential_expired"
    assert len(bench.deaths) == 1


async def test_the_same_token_again_is_no_other_token(bench: Bench) -> None:
    bench.mint.constant = "always"
    await bench.value()
    with pytest.raises(ConnectorFault, match="no longer works"):
        await bench.holder.replace("always", "401", again=False)
    assert len(bench.deaths) == 1


async def test_a_second_refusal_of_a_token_that_was_renewed_meanwhile_is_no_death(bench: Bench) -> None:
    await bench.value()
    with pytest.raises(ConnectorFault) as caught:
        await bench.holder.replace("older", "401", again=True)
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)
    assert bench.deaths == []


async def test_a_server_that_refuses_every_new_token_gets_two_at_most(bench: Bench) -> None:
    await bench.value()
    await bench.holder.replace("token1", "401", again=False)
    assert await bench.value() == "token2"
    with pytest.raises(ConnectorFault, match="no longer works"):
        await bench.holder.replace("token2", "401", again=False)
    assert len(bench.mint.asked) == 2


async def test_a_token_refused_long_after_another_was_is_renewed_again(bench: Bench) -> None:
    await bench.value()
    await bench.holder.replace("token1", "401", again=False)
    bench.clock.passed = 6.0
    await bench.holder.replace("token2", "401", again=False)
    assert await bench.value() == "token3"
    assert bench.deaths == []


async def test_tokens_that_come_to_their_end_on_their_way_are_no_death(bench: Bench) -> None:
    bench.mint.life_ms = 1_500
    for number in range(1, 4):
        assert await bench.value() == f"token{number}"
        bench.clock.passed += 1.5
        await bench.holder.replace(f"token{number}", "401", again=False)
    bench.clock.passed += 1.5
    with pytest.raises(ConnectorFault) as caught:
        await bench.holder.replace("token4", "401", again=True)
    assert (caught.value.code, caught.value.sent, caught.value.retryable) == ("unavailable", False, True)
    assert bench.deaths == []
    await bench.value()
    await bench.holder.replace("token5", "401", again=False)
    with pytest.raises(ConnectorFault, match="no longer works"):
        await bench.holder.replace("token6", "401", again=False)


async def test_nothing_is_left_under_way(bench: Bench) -> None:
    bench.mint.next = asyncio.Event()
    waiting = asyncio.ensure_future(bench.value())
    await settled()
    await bench.holder.close(0)
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    await bench.holder.close()


async def test_at_the_end_a_renewal_under_way_is_waited_for_and_what_it_brings_is_kept(bench: Bench) -> None:
    answered = bench.mint.next = asyncio.Event()
    getting = asyncio.ensure_future(bench.value())
    await settled()
    closing = asyncio.ensure_future(bench.holder.close())
    await settled()
    answered.set()
    await closing
    assert await getting == "token1"
    assert bench.holder.token is not None


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"token_type": "Bearer"},
        {"access_token": "t", "token_type": None},
        {"access_token": "t", "token_type": "mac"},
        {"access_token": 7, "token_type": "Bearer"},
        {"access_token": "", "token_type": "Bearer"},
        {"access_token": "a b", "token_type": "Bearer"},
        {"access_token": "a\r\nX-Evil: 1", "token_type": "Bearer"},
        {"access_token": "t" * 20_000, "token_type": "Bearer"},
    ],
)
def test_what_no_header_can_carry_is_no_token(answer: dict[str, object]) -> None:
    with pytest.raises(ConnectorFault) as caught:
        token_in(answer, 0)
    assert (caught.value.code, caught.value.sent) == ("contract_broken", False)


@pytest.mark.parametrize(
    ("life", "ends_ms"),
    [(60, 61_000), (1.5, 2_500), ("60", 61_000), (0, None), (-1, None), (True, None), ("soon", None), (1e12, None)],
)
def test_a_strange_life_is_none(life: object, ends_ms: int | None) -> None:
    answer = {"access_token": "t", "token_type": "bearer", "expires_in": life, "refresh_token": "r r", "scope": "a b"}
    token = token_in(answer, 1_000)
    assert (token.ends_ms, token.refresh, token.scopes) == (ends_ms, "", ("a", "b"))


async def test_what_was_got_with_a_consent_that_is_taken_back_meanwhile_is_not_kept(bench: Bench) -> None:
    bench.mint.next = going_on = asyncio.Event()
    waiting = asyncio.ensure_future(bench.value())
    await settled()
    bench.holder.forget()
    going_on.set()
    assert await waiting == "token1"  # whoever asked before it was taken back
    assert await bench.value() == "token2"


async def test_a_running_gateway_looks_once_a_second_whether_a_consent_was_taken_back(bench: Bench) -> None:
    bench.life.is_consent = True
    assert await bench.value() == "token1"
    bench.mark.touch()
    assert await bench.value() == "token1"
    bench.clock.passed += 1.0
    assert await bench.value() == "token2"
    bench.clock.passed += 1.0
    assert await bench.value() == "token2"


async def test_a_token_is_at_hand_as_long_as_nothing_else_is_to_be_done_to_get_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.holder.at_hand() is None
    token = await bench.holder.get()
    assert bench.holder.at_hand() is token
    bench.clock.passed += 95.0
    assert bench.holder.at_hand() is None  # it is renewed ahead of its end
    bench.clock.passed += 10.0
    assert bench.holder.at_hand() is None
    await bench.holder.get()
    assert bench.holder.at_hand() is not None
    bench.life.is_consent = True
    assert bench.holder.at_hand() is None  # a user may have taken it back
    bench.life.is_consent = False
    bench.life.end("refused")
    assert bench.holder.at_hand() is None
