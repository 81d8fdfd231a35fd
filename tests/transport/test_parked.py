"""Calls that wait for people as tasks, in either era."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.approval.config import ApprovalsSection
from gateway.ledger.retention import Retention
from gateway.model.errors import StoreFault
from gateway.pipeline.sealing import Seal
from gateway.store.approvals import ApprovalState
from gateway.store.memory import MemoryStore
from gateway.store.tasks import TaskRecord
from tests.fixtures.clock import FakeClock
from tests.fixtures.tasking import RELATED, Tasking
from tests.pipeline.gate import PAYMENT, SECRET, rules_of, settle
from tests.pipeline.people import HOUR, PEOPLE, POLICIES
from tests.transport.peer import Peer
from tests.transport.tasking import FORMS, LIST, PAY, Client, error_of, result_of
from tests.transport.test_task_eras import ONLY
from tests.transport.waiting import APPROVED, Waiting, refused, restarted


@pytest.fixture(params=FORMS)
def house(request: pytest.FixtureRequest) -> Waiting:
    return Waiting(request.param)


async def test_a_call_that_needs_a_person_is_a_task_at_once_and_says_who_is_asked(house: Waiting) -> None:
    client = await house.client()
    task = await client.started(PAY)
    approval = await house.asked()
    assert (task["status"], house.paid) == ("working", 0)
    assert "Payments are looked at first." in task["statusMessage"]
    assert f"a person's approval (leads). They are asked as {approval} until" in task["statusMessage"]
    assert task["pollIntervalMs" if house.form == "modern" else "pollInterval"] == 2000
    assert task["ttlMs" if house.form == "modern" else "ttl"] > 24 * HOUR
    assert (await client.get(task["taskId"]))["status"] == "working"
    await settle()
    assert house.paid == 0


async def test_what_is_approved_is_carried_out_once_and_the_task_has_its_result(house: Waiting) -> None:
    house.gate.servers["payments"].calls.append(APPROVED)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await house.swept()
    assert (await client.get(task_id))["status"] == "completed"
    result = await client.result(task_id)
    assert (result["structuredContent"], house.paid) == ({"paid": 1}, 1)
    if house.form == "legacy":
        assert result["_meta"][RELATED] == {"taskId": task_id}
    call = house.gate.servers["payments"].asked[0]
    assert (call.arguments, await house.gate.approving.approvals.listed()) == (PAYMENT, [])
    [claimed] = [event for event in await house.gate.events() if event.kind == "call.claimed"]
    assert f'"task":"{task_id}"' in claimed.body


async def test_asking_about_an_approved_task_is_enough_to_have_it_carried_out(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    assert (await house.over(client, task_id))["status"] == "completed"
    assert house.paid == 1


async def test_a_result_that_is_waited_for_comes_with_the_approval() -> None:
    house = Waiting("legacy")
    client = await house.client()
    fetching = client.fetch((await client.started(PAY))["taskId"])
    await settle()
    assert not fetching.over
    await house.approve()
    assert (await result_of(fetching))["content"] == []
    assert house.paid == 1


async def test_the_gateway_carries_out_by_itself_what_was_approved_and_looks_only_while_something_waits() -> None:
    house = Waiting("modern")
    running = asyncio.ensure_future(house.parked.run())
    await settle()
    assert house.gate.clock.slept == []
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    while (await client.get(task_id))["status"] == "working":
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (house.paid, len(house.gate.tasks)) == (1, 0)


async def test_a_repetition_that_comes_first_makes_the_call_and_the_task_has_its_result(house: Waiting) -> None:
    house.gate.servers["payments"].calls.append(APPROVED)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    approval = await house.approve()
    plain = await Client(house.front, "legacy").ready()
    assert (await result_of(plain.send("tools/call", PAY)))["structuredContent"] == {"paid": 1}
    assert (await client.get(task_id))["status"] == "completed"
    assert ((await client.result(task_id))["structuredContent"], house.paid) == ({"paid": 1}, 1)
    found = await house.gate.approving.approvals.find(approval)
    assert found.status(house.gate.clock.now_ms()) == "used"


async def test_a_repetition_that_comes_second_is_answered_from_the_record(house: Waiting) -> None:
    house.gate.servers["payments"].calls.append(APPROVED)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await house.swept()
    again = await result_of(client.begin(PAY))
    if house.form == "legacy":  # asked for as a task again, it is that task
        assert again["task"]["taskId"] == task_id
    else:
        assert again["structuredContent"] == {"paid": 1}
    assert house.paid == 1


async def test_a_task_waits_for_the_end_of_a_repetition_that_came_first(house: Waiting) -> None:
    going = asyncio.Event()
    house.gate.servers["payments"].calls.append(going)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    plain = await Client(house.front, "legacy").ready()
    repeating = plain.send("tools/call", PAY)
    while not house.paid:
        await asyncio.sleep(0)
    assert (await client.get(task_id))["status"] == "working"
    going.set()
    await result_of(repeating)
    assert ((await client.get(task_id))["status"], house.paid) == ("completed", 1)


async def test_two_tasks_that_wait_for_one_approval_end_with_one_call() -> None:
    house = Waiting("modern")
    modern, legacy = await house.client(), await Client(house.front, "legacy").ready()
    ids = (await modern.started(PAY))["taskId"], (await legacy.started(PAY))["taskId"]
    await house.approve()
    for held in house.gate.tasks.waiting():  # both at once
        await house.parked.look(held)
    await house.gate.owned.drain(10)
    await house.swept()
    states = (await modern.get(ids[0]))["status"], (await legacy.get(ids[1]))["status"]
    assert (states, house.paid) == (("completed", "completed"), 1)


async def test_the_same_call_made_again_as_a_task_is_the_same_task(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    assert (await client.started(PAY))["taskId"] == task_id
    await house.approve()
    await house.swept()
    assert house.paid == 1


async def test_a_task_waits_on_over_a_restart_and_is_carried_out_after_it(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    later = await restarted(house)
    client = await later.client()
    assert (await client.get(task_id))["status"] == "working"
    await later.approve()
    third = await restarted(later)  # approved, and not carried out yet
    await third.swept()
    client = await third.client()
    assert (await client.get(task_id))["status"] == "completed"
    last = await restarted(third)
    client = await last.client()
    assert "content" in await client.result(task_id)
    assert last.paid == 1


async def test_a_task_whose_call_was_under_way_at_a_crash_is_in_doubt_and_not_made_again(house: Waiting) -> None:
    never = asyncio.Event()
    house.gate.servers["payments"].calls.append(never)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await client.get(task_id)
    await settle()
    assert (house.paid, (await client.get(task_id))["status"]) == (1, "working")
    later = await restarted(house)
    await later.swept()
    code, _ = await refused(later, await later.client(), task_id)
    assert (code, later.paid) == ("outcome_unknown", 1)
    never.set()
    await house.gate.owned.drain(10)


async def test_what_a_person_refuses_fails_with_their_reason(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.gate.approving.desk.deny("bob", await house.asked(), "we paid it last week")
    code, text = await refused(house, client, task_id)
    assert (code, text) == ("approval_denied", "bob was asked and denied this call: we paid it last week")
    later = await restarted(house)
    assert await refused(later, await later.client(), task_id) == (code, text)
    assert later.paid == 0


async def test_what_nobody_decides_fails_when_its_time_is_over(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    house.gate.clock.passed += 24 * 3600 + 1
    await house.swept()
    code, text = await refused(house, client, task_id)
    assert (code, house.paid) == ("approval_over", 0)
    assert text.endswith("Make the call again to have people asked anew.")


async def test_what_a_person_edits_fails_and_names_the_call_they_approved(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.gate.approving.desk.edit("bob", await house.asked(), {**PAYMENT, "amount": 1})
    code, text = await refused(house, client, task_id)
    assert code == "approval_edited"
    assert 'Make this call instead: payments_pay {"payment_id":"p_17","payee":"ACME","amount":1}' in text


async def test_a_task_that_is_called_off_withdraws_the_question(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    approval, [held] = await house.asked(), house.gate.tasks.waiting()
    await result_of(client.send("tasks/cancel", {"taskId": task_id}))
    await house.parked.cancel(held)  # another client of the same agent was as quick
    assert (await client.get(task_id))["status"] == "cancelled"
    found = await house.gate.approving.approvals.find(approval)
    assert found.state is ApprovalState.REVOKED
    await house.swept()
    assert (house.paid, len(house.gate.tasks)) == (0, 0)


async def test_a_task_is_called_off_after_its_approval_as_long_as_nothing_was_made(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await result_of(client.send("tasks/cancel", {"taskId": task_id}))
    await house.swept()
    assert (house.paid, (await client.get(task_id))["status"]) == (0, "cancelled")


async def test_what_is_being_carried_out_is_not_called_off_any_more(house: Waiting) -> None:
    going = asyncio.Event()
    house.gate.servers["payments"].calls.append(going)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await client.get(task_id)
    await settle()
    assert "cannot be called off" in (await error_of(client.send("tasks/cancel", {"taskId": task_id})))["message"]
    going.set()
    assert (await house.over(client, task_id))["status"] == "completed"


async def test_a_task_is_its_principals_alone(house: Waiting) -> None:
    task_id = (await (await house.client()).started(PAY))["taskId"]
    other = await house.client("other")
    assert (await error_of(other.send("tasks/get", {"taskId": task_id})))["code"] == -32602
    assert (await error_of(other.send("tasks/cancel", {"taskId": task_id})))["code"] == -32602
    await house.approve()
    await other.send("tasks/get", {"taskId": task_id}).ended()
    await settle()
    assert house.paid == 0


async def test_a_client_that_follows_no_tasks_is_told_to_repeat_its_call() -> None:
    house = Waiting("modern")
    result = await result_of(Peer(house.front).modern("tools/call", PAY))
    assert result["_meta"]["io.toolgate/refusal"]["code"] == "needs_approval"
    assert len(house.gate.tasks) == 0


async def test_a_legacy_client_is_told_that_there_are_tasks_and_of_which_tools() -> None:
    house = Waiting("legacy")
    client = await house.client()
    assert client.said["capabilities"]["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    listed = (await result_of(client.send("tools/list", {})))["tools"]
    able = {tool["name"] for tool in listed if "execution" in tool}
    assert able == {"payments_pay"}
    task_id = (await client.started(PAY))["taskId"]
    found = (await result_of(client.send("tasks/list", {})))["tasks"]
    assert [each["taskId"] for each in found] == [task_id]


async def test_a_modern_client_is_told_that_there_are_tasks() -> None:
    house = Waiting("modern")
    said = await result_of((await house.client()).send("server/discover", {}))
    assert said["capabilities"]["extensions"] == {"io.modelcontextprotocol/tasks": {}}


async def test_a_wish_for_a_task_where_nobody_has_to_be_asked_is_a_task_that_is_over() -> None:
    house = Waiting("legacy")
    client = await house.client()
    task = await client.started(LIST)
    assert task["status"] == "completed"
    assert (await client.result(task["taskId"]))["content"] == []


KEPT_SECRET = {**PAY, "arguments": {**PAYMENT, "payee": SECRET}}


@pytest.mark.parametrize("form", FORMS)
async def test_a_call_that_holds_a_secret_waits_as_a_task_too_and_what_is_kept_of_it_is_sealed(form: str) -> None:
    first = Waiting(form)
    task_id = (await (await first.client()).started(KEPT_SECRET))["taskId"]
    approval = await first.asked()
    assert SECRET not in str([event.body for event in await first.gate.events()])
    house = await restarted(first)
    [held] = house.gate.tasks.waiting()
    assert (SECRET in str(held.record.body), "sealed" in held.record.body) == (False, True)
    assert (await house.gate.approving.approvals.find(approval)).asked["arguments"]["payee"] == "[redacted]"
    client = await house.client()
    await house.approve()
    assert (await house.over(client, task_id))["status"] == "completed"
    assert [call.arguments for call in house.gate.servers["payments"].asked] == [KEPT_SECRET["arguments"]]
    found = await house.gate.store.find_task(task_id)
    assert found is not None
    assert "sealed" not in found.body
    assert SECRET not in str([event.body for event in await house.gate.events()])


async def test_what_was_sealed_with_another_key_is_not_made_and_the_agent_is_told_to_repeat_it() -> None:
    first = Waiting("modern")
    task_id = (await (await first.client()).started(KEPT_SECRET))["taskId"]
    first.gate.task_requests.parked._lobby.seal = Seal(b"another", "waiting calls")
    client = await first.client()
    await first.approve()
    assert (await first.over(client, task_id))["status"] == "failed"
    code, why = await refused(first, client, task_id)
    assert (code, "Make the call again" in why, first.paid) == ("approval_over", True, 0)
    done = await result_of(Peer(first.front).modern("tools/call", KEPT_SECRET))
    assert (done.get("isError"), first.paid) == (None, 1)


@pytest.mark.parametrize("form", FORMS)
async def test_nothing_sealed_outlives_what_retention_leaves_of_its_call(form: str) -> None:
    first = Waiting(form, approvals=ApprovalsSection(wait_s=0, expires="7d"))
    task_id = (await (await first.client()).started(KEPT_SECRET))["taskId"]
    first.gate.clock.passed += 2 * 86_400
    assert await Retention(first.gate.store, lambda: 86_400_000, first.gate.clock).run() == 1
    house = await restarted(first)
    assert (house.gate.tasks.waiting(), await house.gate.store.find_task(task_id)) == ([], None)
    gone = await (await house.client()).send("tasks/get", {"taskId": task_id}).ended()
    assert "error" in gone.messages[-1]
    assert (await house.gate.approving.approvals.find(await house.asked())).used == 0  # whoever repeats the call has it


class FullStore(MemoryStore):
    """Keeps no tasks."""

    async def begin_task(self, task: TaskRecord, record: Any) -> None:
        raise StoreFault("The disk is full.")


@pytest.mark.parametrize("form", FORMS)
async def test_a_task_that_cannot_be_kept_is_refused_and_nothing_was_done(form: str) -> None:
    house = Waiting(form, store=FullStore(FakeClock()))
    reply = await (await house.client()).begin(PAY).ended()
    assert "store_unavailable" in reply.body.decode()
    assert house.paid == 0


async def test_a_tool_that_is_only_a_task_at_its_server_goes_on_as_the_same_task() -> None:
    server = Tasking("legacy")
    house = Waiting("legacy", servers={"payments": server, "fraud": Tasking("legacy")})
    house.gate.rules.current = rules_of(*POLICIES, people=PEOPLE, definitions=ONLY)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    assert (await house.over(client, task_id))["status"] == "working"
    assert len(server.told("tools/call")) == 1
    server.ends(APPROVED)
    assert (await client.get(task_id))["status"] == "completed"
    assert (await client.result(task_id))["structuredContent"] == {"paid": 1}


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    yield
    await settle()
