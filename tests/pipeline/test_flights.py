"""What several agents read at once is read once; nobody is left waiting for a leader that is gone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault, GatewayError
from gateway.pipeline.flights import Flights, Passenger


class Server:
    """Answers each read when it is told to; an exception is raised."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    async def read(self) -> tuple[Mapping[str, Any], bool]:
        self.asked.append(asyncio.get_running_loop().create_future())
        found: Mapping[str, Any] = await self.asked[-1]
        return found, "alone" in found


class Sky:
    """Flights of one key."""

    def __init__(self) -> None:
        self.flights = Flights()
        self.server = Server()

    async def off(self, who: str, told: str = "") -> "asyncio.Task[tuple[Mapping[str, Any], str]]":
        passenger = Passenger("key", who, f"call of {who}", lambda: told)
        task = asyncio.create_task(self._fly(passenger))
        await asyncio.sleep(0)
        return task

    async def _fly(self, passenger: Passenger) -> tuple[Mapping[str, Any], str]:
        """What the stage that executes does."""
        answer: Mapping[str, Any] | GatewayError | None = None
        try:
            if not self.flights.leads(passenger) and (found := await self.flights.shared(passenger)) is not None:
                return found
            raw, alone = await self.server.read()
            answer = None if alone or "resultType" in raw else raw
        except GatewayError as fault:
            answer = fault
            raise
        finally:
            self.flights.land(passenger, answer)
        return raw, passenger.call_id


@pytest.fixture
def sky() -> Sky:
    return Sky()


async def test_others_wait_for_the_first_and_get_its_answer(sky: Sky) -> None:
    first, second, third = await sky.off("a"), await sky.off("b"), await sky.off("c")
    sky.server.asked[0].set_result({"n": 1})
    assert {(answer["n"], made_by) for answer, made_by in (await first, await second, await third)} == {
        (1, "call of a")
    }
    later = await sky.off("b")
    sky.server.asked[1].set_result({"n": 2})
    assert await later == ({"n": 2}, "call of b")
    assert sky.flights._under_way == {}


async def test_an_agent_that_asks_twice_is_answered_twice(sky: Sky) -> None:
    first, second = await sky.off("a"), await sky.off("a")
    for number, each in enumerate(sky.server.asked):
        each.set_result({"n": number})
    assert [(await first)[0], (await second)[0]] == [{"n": 0}, {"n": 1}]


async def test_an_agent_whose_client_tells_the_server_something_else_is_answered_by_itself(sky: Sky) -> None:
    first, second, third = await sky.off("a", "shows"), await sky.off("b"), await sky.off("c", "shows")
    for number, each in enumerate(sky.server.asked):
        each.set_result({"n": number})
    assert [(await each)[1] for each in (first, second, third)] == ["call of a", "call of b", "call of a"]


async def test_a_fault_is_everybodys(sky: Sky) -> None:
    first, second = await sky.off("a"), await sky.off("b")
    sky.server.asked[0].set_exception(ConnectorFault("gone"))
    for each in (first, second):
        with pytest.raises(ConnectorFault):
            await each
    assert len(sky.server.asked) == 1


@pytest.mark.parametrize("how", ["called off", "bug", "question", "alone"])
async def test_where_the_first_brings_no_answer_the_next_one_reads(sky: Sky, how: str) -> None:
    first, second, third = await sky.off("a"), await sky.off("b"), await sky.off("c")
    if how == "called off":
        first.cancel()
    elif how == "bug":
        sky.server.asked[0].set_exception(ZeroDivisionError())
    else:
        sky.server.asked[0].set_result({"alone": 1} if how == "alone" else {"resultType": "input_required"})
    await asyncio.wait([first])
    if how == "bug":
        assert isinstance(first.exception(), ZeroDivisionError)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(sky.server.asked) == 2
    sky.server.asked[1].set_result({"n": 2})
    assert await second == await third == ({"n": 2}, "call of b")


async def test_who_waits_can_be_called_off_alone(sky: Sky) -> None:
    first, second = await sky.off("a"), await sky.off("b")
    second.cancel()
    await asyncio.wait([second])
    assert second.cancelled()
    sky.server.asked[0].set_result({"n": 1})
    assert (await first)[0] == {"n": 1}
