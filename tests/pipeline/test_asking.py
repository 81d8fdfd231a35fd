"""What a server asks of the client: decided, recorded, asked; what cannot be recorded is not answered."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.model.back import NOBODY, AskRefused, Back
from gateway.pipeline.related import Related
from gateway.pipeline.stages.execute import Execute
from tests.fixtures.clock import FakeClock
from tests.pipeline.broken import BreakingStore
from tests.pipeline.gate import PERMIT_ALL, Gate, request
from tests.transport.asking import MAY_ASK

MAY_ELICIT = '@id("elicit") permit (principal, action == Gateway::Action::"elicit", resource);'


class Client(Back):
    """Answers every question with `answer`; an exception is raised, an event waited for."""

    lane = "one"

    def __init__(self, answer: Any, *capabilities: str) -> None:
        self.capabilities = {name: {} for name in capabilities}
        self.answer = answer
        self.asked: list[Any] = []

    async def ask(self, method: str, params: Mapping[str, Any], hear: Any = None) -> Mapping[str, Any]:
        self.asked.append(params)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            await self.answer.wait()
        found: Mapping[str, Any] = self.answer
        return found


async def way_of(gate: Gate, client: Back) -> Back:
    """The way back that the server of a call of this client gets."""
    call = await gate.before(Execute, request("payments_list", {}, back=client))
    return gate.asking.way(call)


async def refusal(asking: Any) -> AskRefused:
    with pytest.raises(AskRefused) as refused:
        await asking
    return refused.value


async def test_nobody_cannot_be_asked() -> None:
    assert await way_of(Gate(), NOBODY) is NOBODY
    assert (await refusal(NOBODY.ask("roots/list", {}))).code == -32601


async def test_a_server_is_told_only_of_what_policies_let_it_ask() -> None:
    client = Client({}, "elicitation", "sampling")
    assert (await way_of(Gate(PERMIT_ALL, MAY_ELICIT), client)).capabilities == {"elicitation": {}}
    assert (await way_of(Gate(), client)).capabilities == {}
    assert (await way_of(Gate(PERMIT_ALL, MAY_ELICIT), Client({}))).capabilities == {}


async def test_a_question_that_cannot_be_recorded_is_not_answered() -> None:
    store = BreakingStore(FakeClock())
    client = Client({"action": "accept"}, "elicitation")
    way = await way_of(Gate(PERMIT_ALL, MAY_ELICIT, store=store), client)
    store.breaks("record")
    assert (await refusal(way.ask("elicitation/create", {}))).code == -32603
    assert len(client.asked) == 1


async def test_a_denial_that_cannot_be_recorded_is_one_all_the_same() -> None:
    store = BreakingStore(FakeClock())
    client = Client({}, "elicitation")
    way = await way_of(Gate(store=store), client)
    store.breaks("record")
    await refusal(way.ask("elicitation/create", {}))
    assert client.asked == []


async def test_params_that_cannot_be_read_exactly_are_not_asked() -> None:
    client = Client({}, "elicitation")
    way = await way_of(Gate(PERMIT_ALL, MAY_ELICIT), client)
    assert (await refusal(way.ask("elicitation/create", {"n": float("nan")}))).code == -32602
    assert client.asked == []


FORM, PAGE, BOTH = {"form": {}}, {"url": {}}, {"form": {}, "url": {}}
TOOLS: dict[str, Any] = {"tools": {}}


@pytest.mark.parametrize(
    ("method", "params", "offered", "code"),
    [
        ("elicitation/create", {}, {}, 0),
        ("elicitation/create", {"mode": "form"}, {"other": {}}, 0),
        ("elicitation/create", {"mode": "form"}, BOTH, 0),
        ("elicitation/create", {"mode": "url"}, PAGE, 0),
        ("elicitation/create", {"mode": "url"}, {}, -32602),
        ("elicitation/create", {"mode": "url"}, FORM, -32602),
        ("elicitation/create", {}, PAGE, -32602),
        ("elicitation/create", {"mode": "other"}, {"other": {}}, -32602),
        ("elicitation/create", {"mode": ["url"]}, BOTH, -32602),
        ("sampling/createMessage", {"tools": []}, TOOLS, 0),
        ("sampling/createMessage", {"tools": []}, {}, -32602),
        ("sampling/createMessage", {"toolChoice": {}}, {"context": {}}, -32602),
    ],
)
async def test_a_client_is_asked_only_in_the_ways_that_it_declared(
    method: str, params: Any, offered: Any, code: int
) -> None:
    gate, client = Gate(PERMIT_ALL, *MAY_ASK), Client({"x": 1})
    client.capabilities = {method.partition("/")[0]: offered}
    way = await way_of(gate, client)
    if code:
        assert (await refusal(way.ask(method, params))).code == code
    else:
        assert await way.ask(method, params) == {"x": 1}
    [recorded] = [each.body for each in await gate.events() if each.tool == f"payments.{method}"]
    assert (len(client.asked), "does not offer" in recorded or "modes" in recorded) == (0 if code else 1, bool(code))


@pytest.mark.parametrize("broken", [False, True])
async def test_a_question_that_is_cancelled_stays_so_even_if_that_cannot_be_recorded(broken: bool) -> None:
    store = BreakingStore(FakeClock())
    gate = Gate(PERMIT_ALL, MAY_ELICIT, store=store)
    way = await way_of(gate, Client(asyncio.Event(), "elicitation"))
    asking = asyncio.ensure_future(way.ask("elicitation/create", {}))
    await asyncio.sleep(0)
    if broken:
        store.breaks("record")
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    recorded = [each for each in await gate.events() if each.tool == "payments.elicitation/create"]
    assert ["cancelled" in each.body for each in recorded] == ([] if broken else [True])


async def test_the_calls_time_stands_still_while_any_question_is_open() -> None:
    gate, answer = Gate(PERMIT_ALL, MAY_ELICIT), asyncio.Event()
    way = await way_of(gate, Client(answer, "elicitation"))
    first, second = (asyncio.ensure_future(way.ask("elicitation/create", {"n": n})) for n in (1, 2))
    while way.stood_still() == 0.0:
        await gate.clock.sleep(1.0)
    await gate.clock.sleep(10.0)
    before = Related(way, "task_1").stood_still()
    assert before > 10.0
    answer.set()
    await asyncio.gather(first, second, return_exceptions=True)
    await gate.clock.sleep(10.0)
    assert way.stood_still() == before
