"""A modern server that asks for input is given it, by the gateway or by the client that calls again."""

from typing import Any

import pytest

from gateway.connector import AskRefused
from tests.connectors.mcp.client import ANSWERS, ROOTS, Client
from tests.connectors.mcp.conftest import Start, asked, fault_of
from tests.fixtures.clock import FakeClock
from tests.fixtures.fault_http import Exchange, Fault, FaultServer

FORM = {"method": "elicitation/create", "params": {"message": "?", "x": None}}
LIST = {"method": "roots/list"}


def answering(*results: dict[str, Any]) -> Fault:
    """Answer with these in order, the last one for good."""
    left = list(results)

    async def answer(exchange: Exchange) -> None:
        exchange.http(exchange.result(**(left.pop(0) if len(left) > 1 else left[0])))

    return answer


def needs(requests: Any = None, state: Any = None) -> dict[str, Any]:
    given = {"inputRequests": requests, "requestState": state}
    return {"resultType": "input_required", **{name: value for name, value in given.items() if value is not None}}


async def test_each_question_is_put_to_the_client_and_the_request_repeated_with_the_answers(start: Start) -> None:
    tool = answering(needs({"b": FORM, "a": LIST}, "s1"), needs({"c": FORM}), {"content": []})
    async with FaultServer(faults={"ask": tool}) as server:
        upstream = await start({"url": server.url})
        client = Client(answers=ANSWERS)
        result = await upstream.call(
            asked("ask", {"n": 1}, back=client, more={"requestState": "0"}, idempotency_key="k")
        )
        assert result == {"content": [], "resultType": "complete"}
        assert client.asked == [
            ("elicitation/create", FORM["params"]),
            ("roots/list", {}),
            ("elicitation/create", FORM["params"]),
        ]
        first, second, third = (seen.message for seen in server.calls("ask"))
        assert len({first["id"], second["id"], third["id"]}) == 3
        rounds = [dict(each["params"]) for each in (first, second, third)]
        assert {each.pop("_meta")["io.toolgate/idempotency-key"] for each in rounds} == {"k"}
        same = {"name": "ask", "arguments": {"n": 1}}
        form = ANSWERS["elicitation/create"]
        assert rounds == [
            {**same, "requestState": "0"},
            {**same, "requestState": "s1", "inputResponses": {"b": form, "a": ROOTS}},
            {**same, "inputResponses": {"c": form}},
        ]


async def test_a_client_that_calls_again_itself_gets_the_question_as_it_is(start: Start) -> None:
    question = needs({"b": FORM}, "s1")
    async with FaultServer(faults={"ask": answering({**question, "x": None})}) as server:
        upstream = await start({"url": server.url})
        client = Client(answers=ANSWERS, takes_input_required=True, capabilities={"elicitation": {}})
        assert await upstream.call(asked("ask", back=client)) == {**question, "x": None}
        assert client.asked == []


async def test_a_client_that_does_not_answer_ends_the_call(start: Start) -> None:
    async with FaultServer(faults={"ask": answering(needs({"b": FORM}))}) as server:
        upstream = await start({"url": server.url})
        client = Client(answers={"elicitation/create": AskRefused(-7, "the user is away")})
        fault = await fault_of(upstream.call(asked("ask", back=client)))
        assert (fault.code, fault.rpc, len(server.calls("ask"))) == ("rejected", None, 1)
        assert fault.message == (
            "fault: The server needs an answer to elicitation/create from the client, and got none: the user is away."
        )
        assert "offers no such method" in (await fault_of(upstream.call(asked("ask")))).message


@pytest.mark.parametrize(
    "question",
    [
        {"resultType": "input_required"},
        needs({}),
        needs(state=7),
        needs([FORM]),
        needs({"a": "roots/list"}),
        needs({"a": {"method": 7}}),
        needs({"a": {"method": "roots/list", "params": []}}),
        needs({str(n): LIST for n in range(33)}),
    ],
)
async def test_a_question_out_of_shape_breaks_the_contract(start: Start, question: dict[str, Any]) -> None:
    async with FaultServer(faults={"ask": answering(question)}) as server:
        upstream = await start({"url": server.url})
        client = Client(answers=ANSWERS)
        assert (await fault_of(upstream.call(asked("ask", back=client)))).code == "contract_broken"
        assert client.asked == []


async def test_a_server_that_asks_for_patience_is_called_again_ever_more_slowly_but_not_forever(start: Start) -> None:
    async with FaultServer(faults={"ask": answering(needs(state="s"))}) as server:
        clock = FakeClock()
        upstream = await start({"url": server.url}, clock=clock)
        fault = await fault_of(upstream.call(asked("ask")))
        assert (fault.code, "more than 16 times" in fault.message) == ("rejected", True)
        assert clock.slept[:4] == [0.05, 0.1, 0.2, 0.25]
        assert len(server.calls("ask")) == 17


@pytest.mark.parametrize("result", [needs({"a": FORM}), {"resultType": "task"}, {"resultType": 7}])
async def test_a_legacy_server_has_complete_results_only(start: Start, result: dict[str, Any]) -> None:
    async with FaultServer("legacy", faults={"ask": answering(result)}) as server:
        upstream = await start({"url": server.url})
        client = Client(answers=ANSWERS)
        assert (await fault_of(upstream.call(asked("ask", back=client)))).code == "contract_broken"
        assert client.asked == []
