"""A legacy server's question that was put to a gateway that is no more: put again, or the end of its task."""

import asyncio
from typing import Any

import pytest

from gateway.connector import Rejected
from tests.pipeline.gate import PERMIT_ALL, answer, rules_of
from tests.transport.asking import ELICIT, MAY_ASK
from tests.transport.tasking import FORMS, LIST, PAY, Client, House, Json, error_of, result_of
from tests.transport.test_task_eras import ONLY

PATIENCE_S = 0.05
TOO_LATE = Rejected("no", rpc={"code": -32602, "message": "too late"})


def housed(**more: Any) -> House:
    house = House("legacy", PERMIT_ALL, *MAY_ASK, **more)
    house.gate.rules.current = rules_of(PERMIT_ALL, *MAY_ASK, definitions=ONLY)
    house.gate.task_requests.patience_s = PATIENCE_S
    return house


async def asked_and_restarted(form: str, call: Json) -> tuple[House, Client, str]:
    """A gateway that was put a question about a task; what comes after it, with the same client."""
    house = housed()
    client = await Client(house.front, form).ready(elicitation={})
    task_id = (await client.started(call))["taskId"]
    house.server.tasks["theirs-1"]["status"] = "input_required"
    house.server.questions = {"elicitation/create": ELICIT}
    house.gate.task_requests.patience_s = 10.0
    if form == "legacy":
        reply = client.fetch(task_id)
        await reply.message("elicitation/create")
        reply.leave()
        reply.task.cancel()
    else:
        [_] = (await client.get(task_id))["inputRequests"].values()
    house.gate.task_requests.stop()
    await house.close()
    house.server.questions = {}  # it has asked, and waits
    later = housed(store=house.gate.store, clock=house.gate.clock)
    later.server = house.server
    later.gate.upstreams._members["payments"]._upstream = house.server
    await later.gate.tasks.revive()
    return later, await Client(later.front, form).ready(elicitation={}), task_id


async def end_of(client: Client, task_id: str) -> Json:
    """What a client is told that asks for what came of a task."""
    if client.form == "legacy":
        return await error_of(client.fetch(task_id))
    state = await client.get(task_id)
    assert state["status"] == "failed"
    found: Json = state["error"]
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("call", "outcome"), [(PAY, "unknown"), (LIST, "failed")], ids=["effect", "read"])
async def test_a_task_whose_question_is_not_put_again_ends_at_once(form: str, call: Json, outcome: str) -> None:
    house, client, task_id = await asked_and_restarted(form, call)
    assert "restarted" in (await end_of(client, task_id))["message"]
    state = await client.get(task_id)
    assert (state["status"], "restarted" in state["statusMessage"]) == ("failed", True)
    assert [each.arguments["taskId"] for each in house.server.told("tasks/cancel")] == ["theirs-1"]
    assert len(house.server.told("tools/call")) == 1
    bodies = await house.bodies(task_id.replace("task_", "call_"))
    assert [body["outcome"] for body in bodies if body["kind"] == "call.finished"] == [outcome]
    await house.close()


@pytest.mark.parametrize("form", FORMS)
async def test_a_question_that_is_put_again_is_answered(form: str) -> None:
    house, client, task_id = await asked_and_restarted(form, PAY)
    house.server.questions = {"elicitation/create": ELICIT}
    house.gate.task_requests.patience_s = 10.0 if form == "modern" else PATIENCE_S
    said = {"action": "accept", "content": {"ok": True}}
    if form == "legacy":
        reply = client.fetch(task_id)
        question = await reply.message("elicitation/create")
        await asyncio.sleep(2 * PATIENCE_S)  # it has been put: the client may take its time
        await client.peer.reply(question["id"], said).ended()
        told = (await result_of(reply))["structuredContent"]["told"]
    else:
        [name] = (await client.get(task_id))["inputRequests"]
        await result_of(client.send("tasks/update", {"taskId": task_id, "inputResponses": {name: said}}))
        house.server.tasks["theirs-1"]["status"] = "completed"
        while (await client.get(task_id))["status"] != "completed":
            await asyncio.sleep(0)
        told = (await client.result(task_id))["structuredContent"]["told"]
    assert (told, house.server.told("tasks/cancel")) == (said, [])
    await house.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", ["completed", "working", "input_required"])
async def test_a_task_that_cannot_be_called_off_ends_so_only_where_it_still_waits(form: str, status: str) -> None:
    house, client, task_id = await asked_and_restarted(form, PAY)

    def refuse() -> Any:
        house.server.tasks["theirs-1"]["status"] = status
        if status == "completed":
            house.server.ends(answer({"paid": 1}))
        raise TOO_LATE

    house.server.says["tasks/cancel"] = [refuse]
    if status == "input_required":
        assert "restarted" in (await end_of(client, task_id))["message"]
    elif status == "completed":
        assert (await client.get(task_id))["status"] in {"completed", "input_required"}
        assert (await client.result(task_id))["structuredContent"] == {"paid": 1}
    elif form == "modern":
        assert (await client.get(task_id))["status"] == "working"
    house.gate.task_requests.stop()
    await house.close()


async def test_a_task_that_went_on_before_the_restart_was_over_is_waited_for() -> None:
    house, client, task_id = await asked_and_restarted("modern", PAY)
    house.server.tasks["theirs-1"]["status"] = "working"
    assert (await client.get(task_id))["status"] == "working"
    house.server.tasks["theirs-1"]["status"] = "input_required"  # it needs to know something else
    house.server.questions = {}
    assert (await client.get(task_id))["inputRequests"] == {}
    assert (await client.get(task_id))["status"] == "input_required"
    assert house.server.told("tasks/cancel") == []
    house.gate.task_requests.stop()
    await house.close()
