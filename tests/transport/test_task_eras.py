"""Tasks of servers of one era for clients of the other: the same task, in the words that each knows."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.connector import AskRefused, Back, ConnectorFault, Rejected
from gateway.pipeline.collecting import Collecting
from tests.fixtures.tasking import RELATED, TASKS
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, SECRET, answer, rules_of, settle
from tests.transport.asking import ELICIT, MAY_ASK
from tests.transport.peer import Peer
from tests.transport.tasking import LIST, PAY, Client, House, Json, error_of, result_of
from tests.transport.test_task_restarts import restarted

ONLY = {
    **DEFINITIONS,
    "payments": [{**tool, "execution": {"taskSupport": "required"}} for tool in DEFINITIONS["payments"]],
}
OTHER = {"legacy": "modern", "modern": "legacy"}
SERVERS = ("legacy", "modern")


@asynccontextmanager
async def crossed(behind: str, *policies: str, **more: Any) -> AsyncIterator[tuple[House, Client]]:
    """A gateway in front of a server of one era, whose tools are nothing but tasks, and a client of the other."""
    house = House(behind)
    house.gate.rules.current = rules_of(*(policies or (PERMIT_ALL,)), definitions=ONLY)
    try:
        yield house, await Client(house.front, OTHER[behind]).ready(**more)
    finally:
        house.gate.task_requests.stop()
        await house.close()


@pytest.mark.parametrize("behind", SERVERS)
@pytest.mark.parametrize("call", [PAY, LIST], ids=["effect", "read"])
async def test_a_call_becomes_a_task_in_the_form_of_its_client(behind: str, call: Json) -> None:
    async with crossed(behind) as (house, client):
        house.server.ttl = 90_000
        task = await client.started(call)
        task_id, ours, theirs = task["taskId"], *(("ttlMs", "ttl")[:: 1 if behind == "legacy" else -1])
        assert (task[ours], theirs in task, task["unknown"]) == (90_000, False, None)
        state = await client.get(task_id)
        assert (state["status"], state[ours], theirs in state) == ("working", 90_000, False)
        assert ("pollInterval" in state) is (client.form == "legacy")
        house.server.ends(answer({"paid": 1}, extra=None))
        assert (await client.get(task_id))["status"] == "completed"
        result = await client.result(task_id)
        assert (result["structuredContent"], result["extra"]) == ({"paid": 1}, None)
        assert len(house.server.told("tools/call")) == 1
        call_id = task_id.replace("task_", "call_")
        assert [body["kind"] for body in await house.bodies(call_id)] == ["call.claimed", "task.begun", "call.finished"]
        assert set(house.front.delivered) == {call_id}


@pytest.mark.parametrize("behind", SERVERS)
async def test_whatever_is_asked_about_a_task_goes_over_its_own_session(behind: str) -> None:
    async with crossed(behind) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        await client.get(task_id)
        house.server.ends(answer({"paid": 1}))
        await client.result(task_id)
        ways = {(each.back.lane, TASKS in each.back.declares.get("extensions", {})) for each in house.server.asked}
        assert len(ways) == 1
        assert ways.pop()[1] is (behind == "modern")
        assert not any(each.back.takes_input_required for each in house.server.asked)


@pytest.mark.parametrize("behind", SERVERS)
async def test_a_task_that_failed_ended_in_the_servers_words(behind: str) -> None:
    async with crossed(behind) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.ends(Rejected("no", rpc={"code": -32050, "message": "bank closed", "data": {"until": 9}}))
        state = await client.get(task_id)
        assert state["status"] == "failed"
        error = state["error"] if client.form == "modern" else await error_of(client.fetch(task_id))
        assert (error["code"], error["data"]) == (-32050, {"until": 9})


@pytest.mark.parametrize("behind", SERVERS)
async def test_a_task_is_called_off_in_either_form(behind: str) -> None:
    async with crossed(behind) as (house, client):
        task_id = (await client.started(LIST))["taskId"]
        said = await result_of(client.send("tasks/cancel", {"taskId": task_id}))
        if client.form == "legacy":
            assert (said["taskId"], said["status"]) == (task_id, "cancelled")
        else:
            assert said["resultType"] == "complete"
            assert "status" not in said
        while (await client.get(task_id))["status"] != "cancelled":
            await asyncio.sleep(0)
        assert [each.arguments["taskId"] for each in house.server.told("tasks/cancel")] == ["theirs-1"]


async def test_a_legacy_servers_question_is_shown_with_how_its_task_stands_and_answered_with_an_update() -> None:
    async with crossed("legacy", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"elicitation/create": ELICIT}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        for _ in range(2):
            [(name, question)] = (await client.get(task_id))["inputRequests"].items()
            assert question["params"] == {**ELICIT, "_meta": {RELATED: {"taskId": task_id}}}
        said = {"action": "accept", "content": {"key": SECRET}}
        for wrong in ({}, {"other": said}, {name: 7}):
            await result_of(client.send("tasks/update", {"taskId": task_id, "inputResponses": wrong}))
        assert name in (await client.get(task_id))["inputRequests"]
        await result_of(client.send("tasks/update", {"taskId": task_id, "inputResponses": {name: said}}))
        house.server.tasks["theirs-1"]["status"] = "completed"
        while (await client.get(task_id))["status"] != "completed":
            await asyncio.sleep(0)
        assert (await client.get(task_id))["result"]["structuredContent"]["told"]["action"] == "accept"
        asked = [event for event in await house.gate.events() if event.tool == "payments.elicitation/create"]
        assert (len(asked), SECRET in asked[0].body) == (1, False)
        assert house.server.told("tasks/update") == []


async def test_a_modern_servers_question_is_asked_on_the_stream_of_who_waits_for_the_result() -> None:
    async with crossed("modern", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"q": {"method": "elicitation/create", "params": ELICIT}}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        assert "inputRequests" not in await client.get(task_id)
        waiting = client.fetch(task_id)
        question = await waiting.message("elicitation/create")
        assert question["params"] == {**ELICIT, "_meta": {RELATED: {"taskId": task_id}}}
        said = {"action": "accept", "content": {"ok": True}}
        await client.peer.reply(question["id"], said).ended()
        while not house.server.told("tasks/update"):
            await asyncio.sleep(0)
        assert house.server.told("tasks/update")[0].arguments == {"taskId": "theirs-1", "inputResponses": {"q": said}}
        house.server.ends(answer({"paid": 1}))
        assert (await result_of(waiting))["structuredContent"] == {"paid": 1}
        asked = [event for event in await house.gate.events() if event.tool == "payments.elicitation/create"]
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"method": "sampling/createMessage", "params": {}}, "rejected"),
        ({"method": "roots/list"}, "rejected"),
        ({"method": 1}, "contract_broken"),
        ({"method": "elicitation/create", "params": []}, "contract_broken"),
        (7, "contract_broken"),
    ],
)
async def test_a_modern_servers_question_that_cannot_be_put_ends_the_wait_and_not_the_task(
    question: Any, code: str
) -> None:
    async with crossed("modern", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"q": question}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        for _ in range(2):
            assert (await error_of(client.fetch(task_id)))["data"]["code"] == code
        assert (house.server.told("tasks/update"), len(house.gate.tasks)) == ([], 1)


async def test_a_legacy_servers_question_that_may_not_be_asked_is_not_shown() -> None:
    async with crossed("legacy", elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"elicitation/create": ELICIT}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        assert (await client.get(task_id))["inputRequests"] == {}
        assert (await client.get(task_id))["status"] == "input_required"


@pytest.mark.parametrize("fault", [ConnectorFault("nonsense", code="contract_broken"), RuntimeError("a bug")])
async def test_why_a_server_cannot_be_asked_for_its_questions_is_logged(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with crossed("legacy", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.says["tasks/result"] = [fault]
        house.server.tasks["theirs-1"]["status"] = "input_required"
        assert (await client.get(task_id))["inputRequests"] == {}
        await settle()
        gc.collect()
        [said] = [each for each in caplog.records if "asked for its result" in each.message]
        assert bool(said.exc_info) is isinstance(fault, RuntimeError)
        assert "never retrieved" not in caplog.text


async def test_a_session_that_asks_for_a_task_gets_one_that_is_over_where_its_server_answers_at_once() -> None:
    async with crossed("modern") as (house, client):
        house.server.says["tools/call"] = [answer({"paid": 1}), answer({"error": "no"}, isError=True)]
        task = await client.started(PAY)
        assert task["status"] == "completed"
        again = await client.started(PAY)
        assert again["taskId"] == task["taskId"]
        assert (await client.result(task["taskId"]))["structuredContent"] == {"paid": 1}
        failed = await client.started(LIST)
        assert (failed["status"], failed["ttl"]) == ("failed", 86_400_000)
        assert (await client.result(failed["taskId"]))["isError"] is True
        assert [each["taskId"] for each in (await result_of(client.send("tasks/list", {})))["tasks"]] == [
            failed["taskId"],
            task["taskId"],
        ]
        assert [each.method for each in house.server.asked] == ["tools/call", "tools/call"]
        bodies = await house.bodies(task["taskId"].replace("task_", "call_"))
        assert [body["kind"] for body in bodies] == ["call.claimed", "task.begun", "call.finished"]
        assert await house.gate.store.verify() == len(await house.gate.events())


async def test_a_tool_that_may_be_called_as_any_other_is_no_task_for_a_client_of_the_later_era() -> None:
    async with crossed("legacy") as (house, client):
        house.gate.rules.current = rules_of(PERMIT_ALL)
        assert (await result_of(client.begin(PAY)))["content"] == [{"type": "text", "text": "at once"}]
        assert "task" not in house.server.asked[0].more


async def test_one_that_is_only_a_task_and_answers_at_once_is_answered() -> None:
    async with crossed("legacy") as (house, client):
        house.server.says["tools/call"] = [answer({"paid": 1})]
        assert (await result_of(client.begin(PAY)))["structuredContent"] == {"paid": 1}


async def test_both_eras_are_told_that_there_are_tasks_and_of_which_tools() -> None:
    async with crossed("modern") as (house, client):
        assert client.said["capabilities"]["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        house.gate.rules.current = rules_of(PERMIT_ALL)
        house.fraud.capabilities = {"tools": {}}
        listed = {tool["name"]: tool for tool in (await result_of(client.send("tools/list", {})))["tools"]}
        assert listed["payments_pay"]["execution"] == {"taskSupport": "optional"}
        assert "execution" not in listed["fraud_check"]
        older = Peer(house.front)
        await older.initialize("2025-06-18")
        listed = {tool["name"]: tool for tool in (await result_of(older.legacy("tools/list", {})))["tools"]}
        assert "execution" not in listed["payments_pay"]
    async with crossed("legacy") as (house, client):
        offered = (await result_of(client.send("server/discover", {})))["capabilities"]
        assert offered["extensions"] == {TASKS: {}}


@pytest.mark.parametrize("behind", SERVERS)
async def test_a_task_of_one_era_is_none_in_the_other(behind: str) -> None:
    async with crossed(behind) as (house, client):
        call = {**PAY, "_meta": {"io.toolgate/run": "one"}}
        task_id = (await client.started(call))["taskId"]
        other = await Client(house.front, behind).ready()
        assert (await error_of(other.send("tasks/get", {"taskId": task_id})))["code"] == -32602
        said = (await other.begin(call).ended()).messages[-1]
        about = said["result"]["_meta"]["io.toolgate/refusal"] if behind == "modern" else said["error"]["data"]
        assert about["code"] == "in_progress"
        assert len(house.server.told("tools/call")) == 1


@pytest.mark.parametrize("behind", SERVERS)
async def test_a_task_goes_on_over_a_restart_in_the_form_of_its_client(behind: str) -> None:
    async with crossed(behind) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        await house.close()
        later = restarted(house)
        later.gate.rules.current = house.gate.rules.current
        assert await later.gate.tasks.revive() == {"call_1"}
        client = await Client(later.front, OTHER[behind]).ready()
        assert (await client.get(task_id))["status"] == "working"
        house.server.ends(answer({"paid": 1}))
        assert (await client.get(task_id))["status"] == "completed"
        assert (await client.result(task_id))["structuredContent"] == {"paid": 1}
        follows = [TASKS in each.back.declares.get("extensions", {}) for each in later.server.told("tasks/get")]
        assert set(follows) == {behind == "modern"}
        assert len(house.server.told("tools/call")) == 1
        await later.close()


async def test_how_a_modern_servers_task_stands_is_told_to_sessions_in_their_words() -> None:
    async with crossed("modern") as (house, client):
        stream = await client.peer.get().started()
        task_id = (await client.started(PAY))["taskId"]
        house.server.tasks["theirs-1"]["status"] = "input_required"
        house.server.tell("notifications/tasks", {"taskId": "theirs-1", "status": "input_required"})
        told = (await stream.message("notifications/tasks/status"))["params"]
        assert (told["taskId"], told["status"], "ttl" in told, "ttlMs" in told) == (
            task_id, "input_required", True, False,
        )  # fmt: skip
        await client.peer.delete().ended()


async def test_how_a_legacy_servers_task_stands_is_told_to_whoever_listens() -> None:
    async with crossed("legacy") as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        stream = client.send("subscriptions/listen", {"notifications": {"taskIds": [task_id]}})
        await stream.message("notifications/subscriptions/acknowledged")
        house.server.ends(answer({"paid": 1}))
        house.server.tell("notifications/tasks/status", {"taskId": "theirs-1", "status": "completed"})
        told = (await stream.message("notifications/tasks"))["params"]
        assert (told["taskId"], told["result"]["structuredContent"]) == (task_id, {"paid": 1})
        stream.leave()
        await stream.ended()


async def test_of_two_who_wait_for_a_modern_servers_task_one_is_asked() -> None:
    async with crossed("modern", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"q": {"method": "elicitation/create", "params": ELICIT}}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        first = client.fetch(task_id)
        question = await first.message("elicitation/create")
        second = client.fetch(task_id)
        await settle()
        await client.peer.reply(question["id"], {"action": "accept"}).ended()
        while not house.server.told("tasks/update"):
            await asyncio.sleep(0)
        house.server.ends(answer({"paid": 1}))
        for waiting in (first, second):
            assert (await result_of(waiting))["structuredContent"] == {"paid": 1}
        assert len(house.server.told("tasks/update")) == 1


async def test_an_answer_to_what_was_never_asked_and_a_server_that_cannot_be_waited_for_change_nothing() -> None:
    async with crossed("legacy", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        said = {"taskId": task_id, "inputResponses": {"ask-1": {"action": "accept"}}}
        assert (await result_of(client.send("tasks/update", said)))["resultType"] == "complete"
        house.server.says["tasks/result"] = [ConnectorFault("nonsense", code="contract_broken")]
        house.server.tasks["theirs-1"]["status"] = "input_required"
        state = await client.get(task_id)
        assert (state["status"], state["inputRequests"]) == ("input_required", {})


async def test_a_question_that_is_open_when_the_gateway_stops_is_put_on_record_as_unanswered() -> None:
    async with crossed("legacy", PERMIT_ALL, *MAY_ASK, elicitation={}) as (house, client):
        task_id = (await client.started(PAY))["taskId"]
        house.server.questions = {"elicitation/create": ELICIT}
        house.server.tasks["theirs-1"]["status"] = "input_required"
        assert len((await client.get(task_id))["inputRequests"]) == 1
        house.gate.task_requests.stop()
        await settle()
        [asked] = [event for event in await house.gate.events() if event.tool == "payments.elicitation/create"]
        assert "ended before the client answered" in asked.body


async def test_a_question_is_not_open_for_ever() -> None:
    with pytest.raises(AskRefused, match="in time"):
        await Collecting(Back(), 0.0).ask("elicitation/create", ELICIT)
