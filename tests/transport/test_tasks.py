"""Calls that their servers carry out as tasks: what clients of both eras see, and what is on record."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.connector import ConnectorFault, Rejected, TimedOut
from gateway.model.operation import operation
from gateway.model.outcome import Failed, Succeeded
from gateway.pipeline.rules import Limits
from gateway.pipeline.task_states import Fresh
from gateway.store.ports import EventKind
from gateway.task.forms import form_of
from tests.fixtures.tasking import RELATED, TASKS
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PERMIT_ALL, SECRET, Gate, answer, rules_of, served
from tests.transport.peer import Peer
from tests.transport.tasking import FORBID, FORMS, ID, LIST, PAY, Client, House, Json, error_of, result_of


@pytest.fixture(params=FORMS)
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    made = House(request.param)
    yield made
    await made.close()


@pytest.mark.parametrize("call", [PAY, LIST])
async def test_a_call_becomes_a_task_is_followed_and_ends_with_its_result(house: House, call: Json) -> None:
    client = await house.client()
    task = await client.started(call)
    assert (task["taskId"].startswith("task_"), task["status"], task["unknown"]) == (True, "working", None)
    task_id = task["taskId"]
    assert (await client.get(task_id))["status"] == "working"
    assert house.front.delivered == []
    house.server.ends(answer({"paid": 1}, extra=None))
    state = await client.get(task_id)
    assert (state["taskId"], state["status"]) == (task_id, "completed")
    result = await client.result(task_id)
    assert (result["structuredContent"], result["extra"]) == ({"paid": 1}, None)
    call_id = task_id.replace("task_", "call_")
    bodies = await house.bodies(call_id)
    assert [body["kind"] for body in bodies] == [EventKind.CALL_CLAIMED, EventKind.TASK_BEGUN, EventKind.CALL_FINISHED]
    assert (bodies[2]["outcome"], bodies[2]["result"]["structuredContent"]) == ("succeeded", {"paid": 1})
    assert set(house.front.delivered) == {call_id}
    assert "theirs" not in json.dumps([task, state, result])
    assert await house.gate.store.verify() == len(await house.gate.events())


async def test_a_task_is_its_principals_alone_at_its_endpoint_and_in_its_era(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    stranger, other_era = await house.client("other"), Client(house.front, FORMS[FORMS.index(house.form) - 1])
    await other_era.ready()
    asked, before = len(house.server.asked), len(await house.gate.events())
    methods = ("tasks/get", "tasks/cancel", "tasks/result" if house.form == "legacy" else "tasks/update")
    for method in methods:
        for wrong in (task_id, "task_0", "theirs-1", "call_1", "", "x" * 5000):
            thief = stranger if wrong == task_id else client
            error = await error_of(thief.send(method, {"taskId": wrong, "inputResponses": {}}))
            assert (error["code"], error["message"]) == (-32602, "There is no such task of yours."), method
        assert (await error_of(client.send(method, {"taskId": 7})))["code"] == -32602
    for method in ("tasks/get", "tasks/cancel"):
        assert (await error_of(other_era.send(method, {"taskId": task_id})))["code"] in {-32601, -32602}
    assert len([call for call in house.server.asked[asked:] if call.method != "tasks/get"]) == 0
    refused = (await house.gate.events())[before:]
    assert len([each for each in refused if each.agent == "other" and "no such task" in each.body]) == len(methods)


async def test_the_very_effect_called_again_is_the_same_task_until_its_end_was_told(house: House) -> None:
    client = await house.client()
    first = await client.started(PAY)
    again = await client.started(PAY)
    assert again["taskId"] == first["taskId"]
    other = await client.started({**PAY, "arguments": {**PAYMENT, "payment_id": "p_18"}})
    assert other["taskId"] != first["taskId"]
    house.server.ends(answer({"paid": 1}))
    await client.result(first["taskId"])
    later = await client.started(PAY)
    assert later["taskId"] not in {first["taskId"], other["taskId"]}
    assert len(house.server.told("tools/call")) == 3


async def test_an_effect_whose_end_nobody_was_told_is_not_made_again(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    house.server.ends(answer({"paid": 1}))
    while len(house.gate.tasks):
        await asyncio.sleep(0)
    again = await result_of(client.begin(PAY))
    if house.form == "legacy":
        assert (again["task"]["taskId"], again["task"]["status"]) == (task["taskId"], "completed")
    else:
        assert (again["structuredContent"], again["resultType"]) == ({"paid": 1}, "complete")
    assert len(house.server.told("tools/call")) == 1


async def test_each_read_is_a_task_of_its_own(house: House) -> None:
    client = await house.client()
    assert (await client.started(LIST))["taskId"] != (await client.started(LIST))["taskId"]


async def test_a_client_that_follows_no_tasks_is_told_that_the_call_still_runs(house: House) -> None:
    client = await house.client()
    await client.started(PAY)
    client.peer.capabilities = {}
    assert (await result_of(client.send("tools/call", PAY)))["_meta"]["io.toolgate/refusal"]["code"] == "in_progress"


async def test_a_client_that_follows_no_tasks_is_answered_at_once(house: House) -> None:
    plain = Peer(house.front)
    if house.form == "legacy":
        await plain.initialize()
    reply = plain.legacy("tools/call", LIST) if house.form == "legacy" else plain.modern("tools/call", LIST)
    assert (await result_of(reply))["content"] == [{"type": "text", "text": "at once"}]


async def test_a_server_without_tasks_never_hears_of_them(house: House) -> None:
    client = await house.client()
    house.fraud.capabilities = {"tools": {}}
    house.fraud.says["tools/call"] = [answer({"result": "passed"})]
    assert "structuredContent" in await result_of(client.begin({"name": "fraud_check", "arguments": PAYMENT}))
    [asked] = house.fraud.asked
    assert ("task" in asked.more, TASKS in asked.back.declares.get("extensions", {})) == (False, False)


async def test_a_task_is_decided_as_its_call_under_the_policies_of_today(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await client.get(task_id)
    house.gate.rules.current = Gate(PERMIT_ALL, FORBID).rules.current
    asked = len([call for call in house.server.asked if call.method != "tasks/get"])
    for method in ("tasks/get", "tasks/cancel", "tasks/result" if house.form == "legacy" else "tasks/update"):
        error = await error_of(client.send(method, {"taskId": task_id, "inputResponses": {}}))
        assert (error["code"], error["data"]["code"]) == (-31403, "denied"), method
    if house.form == "legacy":
        assert await result_of(client.send("tasks/list", {})) == {"tasks": []}
    assert len([call for call in house.server.asked if call.method != "tasks/get"]) == asked
    denied = [event.tool for event in await house.gate.events() if '"outcome":"denied"' in event.body.replace(" ", "")]
    assert denied[:2] == ["payments.tasks/get", "payments.tasks/cancel"]


@pytest.mark.parametrize("scope", ["all", "agent:payer", "tool:payments.pay", "server:payments", "run:run_"])
async def test_what_is_stopped_tells_nothing_of_its_tasks(house: House, scope: str) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    if scope == "run:run_":
        scope += next(event for event in await house.gate.events() if event.run_id).run_id.removeprefix("run_")
    await house.gate.pause(scope)
    error = await error_of(client.send("tasks/get", {"taskId": task_id}))
    assert error["data"]["code"] == "paused"
    if house.form == "legacy" and not scope.startswith(("all", "agent")):
        assert await result_of(client.send("tasks/list", {})) == {"tasks": []}


async def test_an_agent_that_is_known_no_more_reads_nothing(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.gate.authenticator.replace({})
    assert (await client.send("tasks/get", {"taskId": task_id}).ended()).status == 401


async def test_a_result_that_breaks_its_schema_is_withheld_and_on_record(house: House) -> None:
    client = await house.client()
    task = await client.started({"name": "fraud_check", "arguments": PAYMENT})
    house.fraud.ends(answer({"result": 7}))
    state = await client.get(task["taskId"])
    assert state["status"] == "failed"
    error = state["error"] if house.form == "modern" else await error_of(client.fetch(ID))
    assert (error["code"], error["data"]["code"]) == (-32603, "contract_broken")
    [*_, ended] = await house.bodies("call_1")
    assert (ended["outcome"], ended["error"]["code"]) == ("failed", "contract_broken")


async def test_an_error_of_the_tool_passes_and_the_call_may_be_made_again(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    house.server.ends(answer(isError=True))
    state = await client.get(task["taskId"])
    assert state["status"] == ("completed" if house.form == "modern" else "failed")
    assert (await client.result(task["taskId"]))["isError"] is True
    assert (await client.started(PAY))["taskId"] != task["taskId"]


async def test_a_json_rpc_error_of_the_server_passes_as_it_is(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    rpc = {"code": -32099, "message": "no money", "data": {"x": None}}
    house.server.ends(Rejected("no", rpc=rpc))
    state = await client.get(task["taskId"])
    assert state["status"] == "failed"
    for _ in range(2):
        assert (state["error"] if house.form == "modern" else await error_of(client.fetch(ID))) == rpc
        house.gate.tasks._fresh = Fresh()  # from here on it is on record only
        state = await client.get(task["taskId"])
    [*_, ended] = await house.bodies("call_1")
    assert (ended["outcome"], ended["error"]["code"]) == ("failed", "rejected")


@pytest.mark.parametrize(("call", "outcome"), [(PAY, "unknown"), (LIST, "failed")])
async def test_calling_a_task_off_is_on_record_and_so_is_what_came_of_its_call(
    house: House, call: Json, outcome: str
) -> None:
    client = await house.client()
    task = await client.started(call)
    answered = await result_of(client.send("tasks/cancel", {"taskId": task["taskId"]}))
    if house.form == "legacy":
        assert (answered["taskId"], answered["status"]) == (task["taskId"], "cancelled")
    else:
        assert set(answered) == {"resultType", "_meta"}
        assert answered["_meta"][RELATED] == {"taskId": task["taskId"]}
    assert (await client.get(task["taskId"]))["status"] == "cancelled"
    [*_, ended] = await house.bodies("call_1")
    assert (ended["outcome"], len(house.server.told("tasks/cancel"))) == (outcome, 1)
    assert "payments.tasks/cancel" in [event.tool for event in await house.gate.events()]
    again = client.send("tasks/cancel", {"taskId": task["taskId"]})
    if house.form == "legacy":
        assert (await error_of(again))["code"] == -32602
        house.gate.tasks._fresh = Fresh()  # from here on it is on record only
        assert (await error_of(client.fetch(ID)))["data"]["code"] in {
            "cancelled",
            "outcome_unknown",
        }
    else:
        await result_of(again)
        await result_of(client.send("tasks/update", {"taskId": ID, "inputResponses": {}}))
    assert len(house.server.told("tasks/cancel")) == 1


async def test_secrets_are_taken_out_of_how_a_task_stands_and_of_its_result(house: House) -> None:
    client = await house.client()
    task = await client.started(LIST)
    house.server.tasks["theirs-1"]["statusMessage"] = f"using {SECRET}"
    assert (await client.get(task["taskId"]))["statusMessage"] == "using [redacted]"
    house.server.ends(answer({"key": SECRET, "email": "ann@acme.example"}))
    mask = '@id("m") @redact("email") permit (principal, action, resource);'
    house.gate.rules.current = Gate(mask).rules.current
    await client.get(task["taskId"])
    assert (await client.result(task["taskId"]))["structuredContent"] == {"key": "[redacted]", "email": "[redacted]"}
    assert all(SECRET not in event.body for event in await house.gate.events())
    assert SECRET not in json.dumps([dict(each.body) for each in house.gate.store._tasks.values()])


@pytest.mark.parametrize(("call", "outcome"), [(PAY, "unknown"), (LIST, "failed")])
async def test_a_task_that_its_server_forgot_is_over(house: House, call: Json, outcome: str) -> None:
    client = await house.client()
    task = await client.started(call)
    house.server.tasks.clear()
    state = await client.get(task["taskId"])
    assert (state["status"], "does not know of it" in state["statusMessage"]) == ("failed", True)
    assert (await house.bodies("call_1"))[-1]["outcome"] == outcome


async def test_a_task_whose_time_is_over_is_followed_no_longer(house: House) -> None:
    house.server.ttl = 1000
    client = await house.client()
    task = await client.started(PAY)
    house.gate.clock.passed += 62
    state = await client.get(task["taskId"])
    assert (state["status"], (await house.bodies("call_1"))[-1]["outcome"]) == ("failed", "unknown")


async def test_a_server_that_cannot_say_is_asked_again(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    await house.close()
    odd = [{"taskId": "theirs-1", "status": "odd"}, answer()]
    house.server.says["tasks/get"] = [ConnectorFault("no"), TimedOut(), *odd]
    codes = []
    for _ in range(2):
        codes.append((await error_of(client.send("tasks/get", {"taskId": task["taskId"]})))["data"]["code"])
    assert codes == ["contract_broken"] * 2
    assert (await client.get(task["taskId"]))["status"] == "working"


async def test_a_call_that_does_not_become_a_task_says_why_in_the_words_of_its_era() -> None:
    for form in FORMS:
        house = House(form, PERMIT_ALL, FORBID)
        reply = (await house.client()).begin(PAY)
        if form == "legacy":  # whoever waits for a task takes no result in its place
            error = await error_of(reply)
            assert (error["code"], error["data"]["code"]) == (-31403, "denied")
        else:
            assert (await result_of(reply))["isError"] is True


@pytest.mark.parametrize("task", [{"taskId": ""}, {"taskId": "x" * 1025, "status": "working"}, {"taskId": "t"}])
async def test_a_task_out_of_shape_is_none_and_the_effect_is_in_doubt(house: House, task: Json) -> None:
    said = {"task": task} if house.form == "legacy" else {**task, "resultType": "task"}
    house.server.says["tools/call"] = [said]
    await (await house.client()).begin(PAY).ended()
    [*_, ended] = await house.bodies("call_1")
    assert (ended["outcome"], ended["error"]["code"], len(house.gate.tasks)) == ("unknown", "contract_broken", 0)


async def test_a_task_nobody_asked_for_is_no_answer(house: House) -> None:
    said = {"task": {"taskId": "t", "status": "working"}} if house.form == "legacy" else {"resultType": "task"}
    house.server.says["tools/call"] = [said]
    client = await house.client()
    client.peer.capabilities = {}
    result = await result_of(client.send("tools/call", LIST))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "contract_broken"


async def test_a_result_above_the_limit_of_its_tool_is_cut(house: House) -> None:
    client = await house.client()
    task = await client.started(LIST)
    rules = house.gate.rules.current
    house.gate.rules.current = replace(rules, limits=Limits(results={"payments.list": 1000}))
    house.server.ends({"content": [{"type": "text", "text": "x" * 5000}]})
    await client.get(task["taskId"])
    assert len(json.dumps(await client.result(task["taskId"]))) < 2000


async def test_of_one_principal_only_so_many_tasks_are_open_at_once(house: House) -> None:
    client = await house.client()
    await client.started(LIST)
    await house.close()
    [held] = house.gate.tasks._open.values()
    house.gate.tasks._open.update({str(number): held for number in range(1000)})
    assert (await result_of(client.begin(LIST)))["content"] == [{"type": "text", "text": "at once"}]
    house.gate.tasks._open.clear()


async def test_of_the_ends_that_are_kept_as_they_came_the_oldest_goes_first(house: House) -> None:
    tasks = house.gate.tasks
    for number in range(1001):
        tasks._fresh.keep(str(number), Succeeded(answer()))
    assert (tasks._fresh.find("0"), tasks._fresh.find("1")) == (None, Succeeded(answer()))
    tasks._fresh.keep("large", Succeeded({"content": ["x" * 33 * 1024 * 1024]}))
    assert (tasks._fresh.find("1000"), tasks._fresh.find("large")) == (None, None)


async def test_a_server_that_makes_no_task_of_a_call_answers_it(house: House) -> None:
    client = await house.client()
    house.server.says["tools/call"] = [answer({"paid": 1})]
    assert (await result_of(client.begin(PAY)))["structuredContent"] == {"paid": 1}
    own = await result_of(client.begin({"name": "run_start", "arguments": {}}))
    assert "run" in own["structuredContent"]
    assert [event.kind for event in await house.gate.events() if event.kind is EventKind.TASK_BEGUN] == []


async def test_a_tool_in_quarantine_tells_nothing_of_its_tasks(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    changed = {**DEFINITIONS, "payments": [{**DEFINITIONS["payments"][0], "description": "other"}]}
    house.gate.rules.current = rules_of(PERMIT_ALL, live=served(changed))
    error = await error_of(client.send("tasks/get", {"taskId": task_id}))
    assert (error["code"], error["data"]["code"]) == (-32602, "tool_quarantined")
    if house.form == "legacy":
        assert await result_of(client.send("tasks/list", {})) == {"tasks": []}


async def test_a_task_that_failed_without_a_word_has_an_error_all_the_same(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    house.server.ends(Rejected("no"))
    if house.form == "legacy":  # nobody knows yet why: it is asked again
        assert (await error_of(client.send("tasks/get", {"taskId": ID})))["data"]["code"] == "rejected"
        assert len(house.gate.tasks) == 1
    else:
        state = await client.get(task["taskId"])
        code, data = state["error"]["code"], state["error"]["data"]
        assert (state["status"], code, data["code"]) == ("failed", -32603, "rejected")


async def test_what_is_said_on_the_stream_of_the_call_names_the_task_by_its_own_id() -> None:
    house = House("legacy")
    client = await house.client()

    def logs() -> Any:
        call = house.server.asked[-1]
        for meta in ({RELATED: {"taskId": "theirs-1"}, "x": 1}, {RELATED: 7}, {}):
            call.back.notify("notifications/message", {"level": "info", "_meta": meta})
        return house.server.begin(call)

    house.server.says["tools/call"] = [logs]
    reply = await client.begin(LIST).ended()
    metas = [message["params"]["_meta"] for message in reply.messages if "method" in message]
    assert metas == [{RELATED: {"taskId": ID}, "x": 1}, {RELATED: 7}, {}]
    await house.close()


async def test_a_state_of_any_size_is_not_kept(house: House) -> None:
    client = await house.client()
    task_id = (await client.started(LIST))["taskId"]
    house.server.tasks["theirs-1"] |= {"note": "x" * 20_000, "createdAt": "x" * 100, "statusMessage": "y"}
    assert len((await client.get(task_id))["note"]) == 20_000
    kept = house.gate.tasks._open[task_id].state
    assert {"note", "createdAt", "statusMessage"}.isdisjoint(kept)
    assert {"taskId", "status", "lastUpdatedAt"} <= set(kept)


async def test_what_comes_after_the_end_of_a_task_changes_nothing(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    [held] = house.gate.tasks._open.values()
    house.server.ends(answer({"paid": 1}))
    await client.get(task["taskId"])
    call = (await house.gate.run("payments.list")).call
    await house.gate.tasks.answered(held, answer({"paid": 2}))
    await house.gate.tasks.heard(held, {"taskId": "theirs-1", "status": "cancelled"}, call)
    assert (await client.result(task["taskId"]))["structuredContent"] == {"paid": 1}


async def test_a_task_forgotten_just_now_is_not_there(house: House) -> None:
    client = await house.client()
    task = await client.started(PAY)
    house.server.ends(answer({"paid": 1}))
    await client.get(task["taskId"])
    identity = (await house.gate.run("payments.list")).call.identity
    begun = await house.gate.tasks.find(task["taskId"], identity, "", form_of(house.form))
    house.gate.store._tasks.clear()
    ended = await house.gate.run(
        "payments.tasks/get", {"taskId": ID}, operation=operation("payments", "tasks/get"), task=begun
    )
    assert isinstance(ended.outcome, Failed)
