"""What a server asks its client while it carries a call out as a task."""

from typing import Any

import pytest

from gateway.connector import ConnectorFault, Rejected, TimedOut
from tests.fixtures.tasking import RELATED
from tests.pipeline.gate import PERMIT_ALL, SECRET, answer, settle
from tests.transport.asking import ELICIT, MAY_ASK
from tests.transport.tasking import FORMS, LIST, PAY, House, error_of, result_of


async def test_a_modern_servers_questions_are_decided_once_and_answered_with_an_update() -> None:
    house = House("modern", PERMIT_ALL, *MAY_ASK)
    client = await house.client(elicitation={})
    task_id = (await client.started(PAY))["taskId"]
    house.server.questions = {"q": {"method": "elicitation/create", "params": ELICIT}}
    house.server.tasks["theirs-1"]["status"] = "input_required"
    for _ in range(2):
        assert (await client.get(task_id))["inputRequests"] == house.server.questions
    decided = [event for event in await house.gate.events() if event.tool == "payments.elicitation/create"]
    assert len(decided) == 1
    wrong = await error_of(client.send("tasks/update", {"taskId": task_id}))
    assert wrong["code"] == -32602
    said = {"q": {"action": "accept", "content": {"key": SECRET}}}
    await result_of(client.send("tasks/update", {"taskId": task_id, "inputResponses": said}))
    [update] = house.server.told("tasks/update")
    assert update.arguments == {"taskId": "theirs-1", "inputResponses": said}
    assert (await client.get(task_id))["status"] == "working"
    [event] = [each for each in await house.gate.events() if each.tool == "payments.tasks/update"]
    assert ("accept" in event.body, SECRET in event.body) == (True, False)
    await house.close()


@pytest.mark.parametrize("questions", [{"q": {"method": "sampling/createMessage", "params": {}}}, ["q"], {"q": 1}])
async def test_a_question_that_may_not_be_asked_is_not_shown(questions: Any) -> None:
    house = House("modern", PERMIT_ALL, *MAY_ASK)
    client = await house.client(elicitation={})
    task_id = (await client.started(PAY))["taskId"]
    house.server.questions = questions
    house.server.tasks["theirs-1"]["status"] = "input_required"
    error = await error_of(client.send("tasks/get", {"taskId": task_id}))
    assert error["data"]["code"] in {"rejected", "contract_broken"}
    await house.close()


async def test_a_legacy_server_asks_on_the_stream_of_who_waits_for_the_result() -> None:
    house = House("legacy", PERMIT_ALL, *MAY_ASK)
    client = await house.client(elicitation={})
    task_id = (await client.started(PAY))["taskId"]
    house.server.questions = {"elicitation/create": ELICIT}
    house.server.tasks["theirs-1"]["status"] = "input_required"
    waiting = client.send("tasks/result", {"taskId": task_id})
    question = await waiting.message("elicitation/create")
    assert question["params"]["_meta"] == {RELATED: {"taskId": task_id}}
    said = {"action": "accept", "_meta": {RELATED: {"taskId": task_id}, "x": 1}}
    await client.peer.reply(question["id"], said).ended()
    result = await result_of(waiting)
    told = result["structuredContent"]["told"]
    assert told == {"action": "accept", "_meta": {RELATED: {"taskId": "theirs-1"}, "x": 1}}
    assert result["_meta"] == {RELATED: {"taskId": task_id}}
    assert (await client.get(task_id))["status"] == "completed"
    lanes = {call.back.lane for call in house.server.asked if call.method in {"tools/call", "tasks/result"}}
    assert lanes == {client.peer.session}
    await house.close()


async def test_who_waits_for_a_result_gets_it_when_it_is_there_and_is_let_go_when_the_gateway_stops() -> None:
    house = House("legacy")
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    other = (await client.started(LIST))["taskId"]
    waiting, leaving = (client.send("tasks/result", {"taskId": each}) for each in (task_id, other))
    await settle()
    house.server.ends(answer({"paid": 1}))
    assert (await result_of(waiting))["structuredContent"] == {"paid": 1}
    house.gate.task_requests.stop()
    assert (await error_of(leaving))["data"]["code"] == "shutting_down"
    assert house.server.told("tasks/cancel") == []
    await house.close()


async def test_a_question_that_takes_too_long_ends_nothing() -> None:
    house = House("legacy", PERMIT_ALL, *MAY_ASK)
    client = await house.client(elicitation={})
    task_id = (await client.started(PAY))["taskId"]
    house.server.tasks["theirs-1"]["status"] = "input_required"
    await house.close()  # nobody else asks

    def over() -> Any:
        house.server.ends(answer({"paid": 1}))
        raise Rejected("no", rpc={"code": -32603, "message": "x"})

    house.server.says["tasks/result"] = [*(TimedOut() for _ in range(3)), over]
    assert (await result_of(client.send("tasks/result", {"taskId": task_id})))["structuredContent"] == {"paid": 1}


async def test_a_server_that_is_gone_while_it_may_ask_is_said_to_be() -> None:
    house = House("legacy", PERMIT_ALL, *MAY_ASK)
    client = await house.client(elicitation={})
    task_id = (await client.started(PAY))["taskId"]
    house.server.tasks["theirs-1"]["status"] = "input_required"
    await house.close()
    house.server.says["tasks/result"] = [ConnectorFault("no", sent=False) for _ in range(9)]
    assert (await error_of(client.send("tasks/result", {"taskId": task_id})))["data"]["code"] == "unavailable"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policies", [(), MAY_ASK], ids=["forbidden", "permitted"])
async def test_a_tasks_error_that_sends_a_user_to_a_page_is_decided(form: str, policies: tuple[str, ...]) -> None:
    house = House(form, PERMIT_ALL, *policies)
    client = await house.client(elicitation={"url": {}})
    task_id = (await client.started(PAY))["taskId"]
    page = {"mode": "url", "message": "Log in.", "url": "https://bank.example/x", "elicitationId": "e-1"}
    house.server.ends(Rejected("no", rpc={"code": -32042, "message": "x", "data": {"elicitations": [page]}}))
    await result_of(client.send("tasks/get", {"taskId": task_id}))
    reply = await client.send("tasks/get" if form == "modern" else "tasks/result", {"taskId": task_id}).ended()
    assert (b"bank.example" in reply.body) is bool(policies)
    if form == "modern":
        assert reply.messages[-1]["result"]["status"] == "failed"
    await house.close()
