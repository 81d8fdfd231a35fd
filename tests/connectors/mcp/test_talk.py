"""A server over pipes talks to the client behind a call: to that client, about that call, and only while it lasts."""

import asyncio
from typing import Any

import pytest

from connectors.mcp.deadline import MOST_STILL_S
from connectors.mcp.talk import Talk
from gateway.connector import AskRefused, Measure
from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import FIXTURES, PYTHON, Start, asked, fault_of, text
from tests.fixtures.clock import FakeClock

SAMPLING = {"sampling": {}}
QUESTION = {"method": "sampling/createMessage", "params": {"n": 1}}


def talker(era: str = "legacy", *args: str, **more: Any) -> dict[str, Any]:
    return {"command": PYTHON[0], "args": [*PYTHON[1:], str(FIXTURES / "talk_stdio.py"), era, *args], **more}


def sampler(answer: Any, **more: Any) -> Client:
    return Client(capabilities=SAMPLING, answers={"sampling/createMessage": answer}, **more)


async def test_a_servers_question_goes_to_the_client_and_its_answer_back_unchanged(start: Start) -> None:
    upstream = await start(talker())
    client = sampler({"x": None, "content": []})
    answer = text(await upstream.call(asked("ask", QUESTION, back=client)))
    assert answer["result"] == {"x": None, "content": []}
    assert client.asked == [("sampling/createMessage", {"n": 1})]


@pytest.mark.parametrize("token", ["t", 0])
async def test_how_far_the_client_is_with_a_question_is_told_to_the_server_under_its_own_token(
    start: Start, token: Any
) -> None:
    upstream, client = await start(talker()), sampler({"x": 1})
    client.steps = [{"progressToken": "ours", "progress": step, "x": None} for step in (1, 2, 3)]
    question = {**QUESTION, "params": {"_meta": {"progressToken": token}}}
    await upstream.call(asked("ask", question, back=client))
    told = text(await upstream.call(asked("about", back=sampler({}))))["steps"]
    assert told == [[{"progressToken": token, "progress": 3, "x": None}, 0]]  # the latest, and before the answer


@pytest.mark.parametrize("meta", [{"progressToken": True}, {"progressToken": None}, {}, []])
async def test_a_question_whose_progress_nobody_wants_has_none(start: Start, meta: Any) -> None:
    upstream, client = await start(talker()), sampler({"x": 1})
    await upstream.call(asked("ask", {**QUESTION, "params": {"_meta": meta}}, back=client))
    assert client.heard_of is None


@pytest.mark.parametrize(("data", "told"), [(None, {}), ({"why": 1}, {"data": {"why": 1}})])
async def test_a_question_that_is_refused_is_refused_to_the_server(start: Start, data: Any, told: Any) -> None:
    upstream = await start(talker())
    client = sampler(AskRefused(-1, "not now", data))
    answer = text(await upstream.call(asked("ask", QUESTION, back=client)))
    assert answer["error"] == {"code": -1, "message": "not now", **told}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_on_a_connection_that_clients_share_nobody_can_be_asked(start: Start, era: str) -> None:
    upstream = await start(talker(era), lends=lambda server: SAMPLING)
    client = Client(answers={"sampling/createMessage": {}})
    holding = asyncio.ensure_future(upstream.call(asked("hold", back=client)))
    assert text(await upstream.call(asked("ask", QUESTION)))["error"]["code"] == -32601
    assert text(await upstream.call(asked("ask", {"method": "ping"})))["result"] == {}
    await upstream.call(asked("release"))
    await holding
    assert client.asked == []


async def test_a_modern_server_may_not_send_requests_of_its_own(start: Start) -> None:
    upstream = await start(talker("modern"))
    client = sampler({}, log_level="info")
    answer = text(await upstream.call(asked("ask", QUESTION, back=client)))
    assert answer["error"]["code"] == -32601
    assert client.asked == []


async def test_the_clock_of_a_call_stands_still_while_the_client_is_asked(start: Start) -> None:
    upstream = await start(talker())

    async def slowly(params: Any) -> Any:
        await asyncio.sleep(0.5)
        return {}

    await upstream.call(asked("about", back=sampler({})))
    answer = text(await upstream.call(asked("ask", QUESTION, back=sampler(slowly), timeout_s=0.4)))
    assert answer["result"] == {}
    fault = await fault_of(upstream.call(asked("hold", back=sampler(slowly), timeout_s=0.05)))
    assert fault.code == "timeout"


async def test_a_question_is_dropped_when_the_call_ends(start: Start) -> None:
    upstream = await start(talker())
    client = sampler(lambda params: asyncio.sleep(600))
    assert text(await upstream.call(asked("ask-and-finish", back=client))) == "done"
    await asyncio.sleep(0)
    assert client.dropped == ["sampling/createMessage"]


async def test_a_question_is_dropped_when_the_call_is_cancelled_and_the_server_is_told(start: Start) -> None:
    upstream = await start(talker())
    waiting = asyncio.Event()

    async def endless(params: Any) -> Any:
        waiting.set()
        await asyncio.sleep(600)

    client = sampler(endless)
    doomed = asyncio.ensure_future(upstream.call(asked("ask", QUESTION, back=client)))
    await waiting.wait()
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert client.dropped == ["sampling/createMessage"]
    assert len(text(await upstream.call(asked("about", back=sampler({}))))["cancelled"]) == 1


async def test_a_question_that_the_server_takes_back_is_dropped(start: Start) -> None:
    upstream = await start(talker())
    dropped = asyncio.Event()

    async def endless(params: Any) -> Any:
        await withdraw()
        try:
            await asyncio.sleep(600)
        finally:
            dropped.set()

    async def withdraw() -> None:
        ids = ("none", 7, [1], f"q{number}")
        back = [{"method": "notifications/cancelled", "params": {"requestId": each}} for each in ids]
        task = upstream.call(asked("talk", {"say": back}, back=sampler({})))
        others.append(asyncio.ensure_future(task))

    others: list[Any] = []
    client = sampler(endless)
    number = text(await upstream.call(asked("progress", back=sampler({}, wants_progress=True)))) + 1
    doomed = asyncio.ensure_future(upstream.call(asked("ask", QUESTION, back=client)))
    await dropped.wait()
    assert client.dropped == ["sampling/createMessage"]
    doomed.cancel()
    await asyncio.gather(doomed, *others, return_exceptions=True)


async def test_a_server_that_asks_twenty_things_at_once_gets_sixteen_of_them_answered(start: Start) -> None:
    upstream = await start(talker())
    client = sampler(lambda params: asyncio.sleep(600))
    asking = asyncio.ensure_future(upstream.call(asked("ask-twenty", back=client)))
    while len(client.asked) < 16:
        await asyncio.sleep(0)
    answers: list[Any] = []
    while len(answers) < 6:
        answers = text(await upstream.call(asked("about", back=client))).get("answers", [])
    assert [answer["id"] for answer in answers] == [16, 17, 18, 19, "t", None]
    assert {answer["error"]["code"] for answer in answers} == {-32601}
    await upstream.call(asked("release", back=client))
    await asking
    assert len(client.asked) == 16


async def test_one_call_asks_only_so_many_questions_and_so_long() -> None:
    clock = FakeClock()
    talk = Talk(sampler({}), clock, 1.0, Measure())
    for _ in range(256):
        assert await talk.put("sampling/createMessage", {}) == {}
    with pytest.raises(AskRefused, match="too many"):
        await talk.put("sampling/createMessage", {})
    late = Talk(sampler(lambda params: asyncio.sleep(600)), clock, 1.0, Measure())
    deadline = late.deadline
    deadline.pause()
    deadline.pause()
    clock.passed += MOST_STILL_S
    deadline.resume()
    assert deadline.left() == 1.0
    deadline.resume()
    clock.passed += 0.75
    assert (deadline.left(), deadline.stood_still()) == (0.25, MOST_STILL_S)
    with pytest.raises(AskRefused, match="in time"):
        await late.put("sampling/createMessage", {})


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_progress_is_told_by_a_token_of_the_connections_own(start: Start, era: str) -> None:
    upstream = await start(talker(era))
    told, untold = Client(wants_progress=True), Client()
    token = text(await upstream.call(asked("progress", back=told, meta={"progressToken": "agents"})))
    assert type(token) is int
    assert told.of("progress") == [{"progressToken": token, "progress": 1}]
    assert text(await upstream.call(asked("progress", back=untold, meta={"progressToken": "agents"}))) is None
    assert untold.heard == []


LOG = {"method": "notifications/message", "params": {"level": "info", "data": "x", "y": None}}
DONE = {"method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}}
ODD = [{"method": "notifications/message", "params": 7}, {"method": "odd", "params": {}}, {"method": 7}]


async def test_what_a_server_says_on_a_clients_own_connection_is_told_to_that_client(start: Start) -> None:
    upstream = await start(talker())
    heard: list[Any] = []
    upstream.on_notice(lambda *notice: heard.append(notice))
    client = sampler({})
    await upstream.call(asked("talk", {"say": [LOG, DONE, *ODD]}, back=client))
    assert client.heard == [
        ("notifications/message", LOG["params"]),
        ("notifications/elicitation/complete", DONE["params"]),
        ("notifications/message", {}),
    ]
    assert heard == []


async def test_what_a_server_logs_between_the_calls_of_a_client_is_told_to_that_client(start: Start) -> None:
    upstream, client, other = await start(talker()), sampler({}), sampler({}, lane="other")
    for each in (client, other):
        await upstream.call(asked("about", back=each))
    doomed = asyncio.ensure_future(upstream.call(asked("hold", back=client, timeout_s=0.1)))
    await asyncio.gather(doomed, return_exceptions=True)
    assert client.apart is not None
    assert other.apart is not None
    async with asyncio.timeout(10):
        while len(client.apart.heard) < 2:
            await asyncio.sleep(0.01)
    assert client.apart.of("message")[1] == {"level": "error", "data": "cancelled", "x": None}
    assert (client.heard, other.heard, other.apart.heard) == ([], [], [])


async def test_what_a_server_says_on_a_shared_connection_is_told_to_no_client(start: Start) -> None:
    upstream = await start(talker())
    heard: list[Any] = []
    upstream.on_notice(lambda *notice: heard.append(notice))
    client = Client()
    await upstream.call(asked("talk", {"say": [LOG, DONE, *ODD]}, back=client))
    assert client.heard == []
    assert heard == [("notifications/elicitation/complete", DONE["params"])]
