"""Tasks whose calls were approved, and cannot be made, or not at once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.catalog.catalog import Catalog
from gateway.connector import Unavailable
from gateway.model.errors import ConnectorFault, StoreFault
from gateway.model.facts import Approver
from gateway.store.approvals import ApprovalTrail
from gateway.store.memory import MemoryStore
from gateway.store.tasks import TaskRecord
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import rules_of, settle
from tests.pipeline.people import PEOPLE, POLICIES, changed_policies
from tests.transport.tasking import FORBID, FORMS, PAY, result_of
from tests.transport.waiting import Waiting, refused, restarted


@pytest.fixture(params=FORMS)
def house(request: pytest.FixtureRequest) -> Waiting:
    return Waiting(request.param)


async def test_a_task_whose_server_fails_says_so_and_gives_the_approval_back(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    house.gate.servers["payments"].calls += [ConnectorFault("It is closed.", code="rejected")]
    await house.swept()
    code, text = await refused(house, client, task_id)
    assert (code, text.split(".")[0]) == ("rejected", "It is closed")
    [approval] = await house.gate.approving.approvals.listed()
    assert approval.is_usable(house.gate.clock.now_ms())


async def test_a_task_whose_server_cannot_be_reached_yet_is_made_once_it_can(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    house.gate.servers["payments"].calls += [Unavailable(sent=False)] * 100
    await house.swept()
    tried = house.paid
    await house.swept()  # not again at once
    assert ((await client.get(task_id))["status"], house.paid) == ("working", tried)
    house.gate.servers["payments"].calls.clear()
    house.gate.clock.passed += 60
    await house.swept()
    assert ((await client.get(task_id))["status"], house.paid) == ("completed", tried + 1)


async def test_a_task_that_the_policies_refuse_after_its_approval_says_so(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    policies = house.gate.rules.current
    house.gate.rules.current = rules_of(*POLICIES, FORBID, people=PEOPLE)
    await house.swept()
    house.gate.rules.current = policies
    code, text = await refused(house, client, task_id)
    assert (code, house.paid) == ("denied", 0)
    assert text.startswith("It was approved and is refused all the same: ")


async def test_a_task_whose_tool_is_gone_when_it_is_approved_says_so(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    rules = house.gate.rules.current
    house.gate.rules.current = replace(rules, catalog=Catalog(()), views={})
    await house.swept()
    house.gate.rules.current = rules
    assert (await refused(house, client, task_id))[0] == "unknown_tool"
    later = await restarted(house)
    assert (await refused(later, await later.client(), task_id))[0] == "unknown_tool"


async def test_a_task_whose_credential_holds_no_more_is_carried_out_when_its_caller_asks(
    house: Waiting,
) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    agents = house.gate.authenticator._roster.agents
    house.gate.authenticator.replace({})
    await house.swept()
    [held] = house.gate.tasks.waiting()
    assert "ask about this task with a valid credential" in held.state["statusMessage"]
    house.gate.authenticator.replace(agents)
    house.gate.clock.passed += 60
    await house.swept()
    assert (house.paid, held.state["status"]) == (0, "working")
    assert (await house.over(client, task_id))["status"] == "completed"
    assert house.paid == 1


async def test_a_consent_that_counts_no_more_leaves_the_task_waiting(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    rules = house.gate.rules.current
    house.gate.rules.current = replace(rules, people={**rules.people, "bob": Approver("bob")})
    state = await house.over(client, task_id)
    assert state["status"] == "working"
    assert "Who approved it so far is not enough for it any more." in state["statusMessage"]
    assert house.paid == 0


async def test_a_task_approved_just_before_the_policies_changed_has_people_asked_anew(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    before = await house.approve()
    house.gate.rules.current = changed_policies()
    state = await house.over(client, task_id)
    again = next(each for each in await house.gate.approving.approvals.listed() if each.id != before)
    assert (state["status"], house.paid) == ("working", 0)
    assert f"They are asked as {again.id}" in state["statusMessage"]
    await house.gate.approving.desk.approve("carol", again.id)
    house.gate.clock.passed += 60
    assert (await house.over(client, task_id))["status"] == "completed"
    assert house.paid == 1


async def test_a_task_is_tried_again_later_where_the_gateway_cannot_now(house: Waiting) -> None:
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    [held] = house.gate.tasks.waiting()
    house.gate.admission.stop()
    await house.swept()
    assert (house.paid, held.state["status"]) == (0, "working")
    assert "tried again" in held.state["statusMessage"]
    later = await restarted(house)
    await later.swept()
    assert ((await (await later.client()).get(task_id))["status"], later.paid) == ("completed", 1)


class Faulty(MemoryStore):
    """Cannot say, or note, how tasks and approvals stand while it is `broken`."""

    broken = False

    async def save_task(self, task: TaskRecord, at_ms: int) -> None:
        if self.broken:
            raise StoreFault("The disk is full.")
        await super().save_task(task, at_ms)

    async def find_approval(self, approval_id: str) -> ApprovalTrail | None:
        if self.broken:
            raise StoreFault("The disk is full.")
        return await super().find_approval(approval_id)


@pytest.mark.parametrize("form", FORMS)
async def test_a_task_that_was_made_and_could_not_be_closed_is_closed_by_the_next_look(form: str) -> None:
    store = Faulty(FakeClock())
    house, going = Waiting(form, store=store), asyncio.Event()
    house.gate.servers["payments"].calls.append(going)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    await house.approve()
    await client.get(task_id)
    store.broken = True
    going.set()
    await house.gate.owned.drain(10)
    store.broken = False
    assert ((await client.get(task_id))["status"], house.paid) == ("completed", 1)


async def test_a_task_that_cannot_be_looked_at_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Faulty(FakeClock())
    house = Waiting("modern", store=store)
    await (await house.client()).started(PAY)
    await house.approve()
    store.broken = True
    running = asyncio.ensure_future(house.parked.run())
    while len(house.gate.clock.slept) < 3:
        await asyncio.sleep(0)
    assert len(caplog.records) == 1  # and not one every half second
    store.broken = False
    while house.gate.tasks.waiting():
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert house.paid == 1


async def test_a_task_begun_before_a_restart_is_followed_only_where_its_server_has_it() -> None:
    later = await restarted(await begun(Waiting("modern")))
    following = asyncio.ensure_future(later.gate.tasks.run())
    await settle()
    assert (len(later.gate.tasks.waiting()), later.gate.tasks._followers) == (1, {})
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def begun(house: Waiting) -> Waiting:
    await (await house.client()).started(PAY)
    return house


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    yield
    await settle()


class Emptied(MemoryStore):
    """Somebody has taken an approval out of it."""

    gone = ""

    async def find_approval(self, approval_id: str) -> ApprovalTrail | None:
        return None if approval_id == self.gone else await super().find_approval(approval_id)


async def test_a_task_whose_approval_somebody_removed_is_over_and_the_others_go_on(house: Waiting) -> None:
    clock = FakeClock()
    store = Emptied(clock)
    house = Waiting(house.form, store=store, clock=clock)
    client = await house.client()
    lost = (await client.started(PAY))["taskId"]
    store.gone = await house.asked()
    other = (await client.started({**PAY, "arguments": {**PAY["arguments"], "amount": 7}}))["taskId"]
    [newest, _] = await house.gate.approving.approvals.listed()
    await house.gate.approving.desk.approve("bob", newest.id)
    running = asyncio.ensure_future(house.parked.run())
    while house.gate.tasks.waiting() and not running.done():
        await asyncio.sleep(0)
    assert not running.done()
    code, text = await refused(house, client, lost)
    assert (code, "Make the call again" in text, house.paid) == ("approval_over", True, 1)
    assert (await client.get(other))["status"] == "completed"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_task_whose_approval_somebody_removed_can_be_called_off(house: Waiting) -> None:
    clock = FakeClock()
    store = Emptied(clock)
    house = Waiting(house.form, store=store, clock=clock)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    store.gone = await house.asked()
    await result_of(client.send("tasks/cancel", {"taskId": task_id}))
    assert (await client.get(task_id))["status"] == "cancelled"
