"""What is said of tasks: that there are any, which there are, and how they stand."""

import asyncio
from typing import Any

import pytest

from gateway.store.memory import MemoryStore
from gateway.store.ports import Record
from tests.fixtures.clock import FakeClock
from tests.fixtures.tasking import TASKS
from tests.pipeline.gate import PERMIT_ALL, SECRET, Gate, answer, settle
from tests.transport.peer import Peer
from tests.transport.tasking import FORBID, ID, LIST, PAY, House, error_of, result_of


async def test_tasks_are_claimed_where_a_server_has_them_and_in_the_form_of_the_era() -> None:
    legacy, modern = House("legacy"), House("modern")
    client = await legacy.client()
    assert client.said["capabilities"]["tasks"] == {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
    older = Peer(legacy.front)
    assert "tasks" not in (await older.initialize("2025-06-18"))["capabilities"]
    assert (await error_of(older.legacy("tasks/list", {})))["code"] == -32601
    wish = await result_of(older.legacy("tools/call", {**LIST, "task": {}}))
    assert wish["content"] == [{"type": "text", "text": "at once"}]
    offered = (await result_of(Peer(modern.front).modern("server/discover")))["capabilities"]
    assert offered["extensions"] == {TASKS: {}}
    for form, method in (("legacy", "tasks/update"), ("modern", "tasks/result"), ("modern", "tasks/list")):
        made = await (legacy if form == "legacy" else modern).client()
        assert (await error_of(made.send(method, {"taskId": ID})))["code"] == -32601
    for server in (legacy.server, legacy.fraud):
        del server.capabilities["tasks"]["cancel"]
    assert "cancel" not in (await legacy.client()).said["capabilities"]["tasks"]


async def test_a_client_that_does_not_declare_tasks_is_told_to() -> None:
    house = House("modern")
    plain = Peer(house.front)
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        error = await error_of(plain.modern(method, {"taskId": ID}))
        assert (error["code"], error["data"]["requiredCapabilities"]) == (-32021, {"extensions": {TASKS: {}}})
    listening = plain.modern("subscriptions/listen", {"notifications": {"taskIds": [ID]}})
    assert (await error_of(listening))["code"] == -32021


async def test_the_header_that_routes_has_to_name_the_task() -> None:
    house = House("modern")
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    meta["io.modelcontextprotocol/clientCapabilities"] = client.peer.capabilities  # type: ignore[assignment]
    message = {"id": 1, "method": "tasks/get", "params": {"taskId": task_id, "_meta": meta}}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tasks/get"}
    assert "result" in (await client.peer.post(message, **headers, **{"mcp-name": task_id}).ended()).messages[0]
    wrong = await client.peer.post(message, **headers, **{"mcp-name": "task_2"}).ended()
    assert (wrong.status, wrong.messages[0]["error"]["code"]) == (400, -32020)
    await house.close()


async def test_a_session_lists_its_principals_tasks_the_latest_first() -> None:
    house = House("legacy")
    client, other = await house.client(), await house.client("other")
    first, second = await client.started(PAY), await client.started(LIST)
    await other.started(LIST)
    await client.get(first["taskId"])
    listed = await result_of((await house.client()).send("tasks/list", {}))
    assert [task["taskId"] for task in listed["tasks"]] == [second["taskId"], first["taskId"]]
    assert (await error_of(client.send("tasks/list", {"cursor": "x"})))["code"] == -32602
    await house.close()


async def test_a_session_hears_how_its_principals_tasks_stand_and_no_other_does() -> None:
    house = House("legacy")
    client, stranger, shut = await house.client(), await house.client("other"), await house.client()
    streams = [await each.peer.get().started() for each in (client, stranger)]
    older = Peer(house.front)
    await older.initialize("2025-06-18")
    streams.append(await older.get().started())
    task_id = (await shut.started(PAY))["taskId"]
    house.server.tasks["theirs-1"] |= {"status": "input_required", "statusMessage": f"with {SECRET}"}
    house.server.tell("notifications/tasks/status", {"taskId": "theirs-1", "status": "input_required"})
    told = await streams[0].message("notifications/tasks/status")
    assert (told["params"]["taskId"], told["params"]["status"]) == (task_id, "input_required")
    assert told["params"]["statusMessage"] == "with [redacted]"
    house.gate.rules.current = Gate(PERMIT_ALL, FORBID).rules.current
    house.server.ends(answer())
    while len(house.gate.tasks):
        await asyncio.sleep(0)
    for peer in (client.peer, stranger.peer, older):
        await peer.delete().ended()
    heard = [[message["method"] for message in (await stream.ended()).messages] for stream in streams]
    assert heard == [["notifications/tasks/status"], [], []]


async def test_whoever_listens_hears_of_each_change_of_a_task_what_asking_would_answer() -> None:
    house = House("modern")
    client, stranger = await house.client(), await house.client("other")
    task_id = (await client.started(PAY))["taskId"]
    wanted = {"notifications": {"taskIds": [task_id, "task_9", task_id]}}
    stream, nothing = [each.send("subscriptions/listen", wanted) for each in (client, stranger)]
    acknowledged = "notifications/subscriptions/acknowledged"
    assert (await stream.message(acknowledged))["params"]["notifications"] == {"taskIds": [task_id]}
    assert (await nothing.message(acknowledged))["params"]["notifications"] == {}
    house.server.ends(answer({"paid": 1}))
    told = (await stream.message("notifications/tasks"))["params"]
    assert (told["taskId"], told["status"], told["result"]["structuredContent"]) == (task_id, "completed", {"paid": 1})
    assert "resultType" not in told
    about = {"mine": None, "io.modelcontextprotocol/related-task": {"taskId": task_id}}
    assert told["_meta"].pop("io.modelcontextprotocol/subscriptionId")
    assert told["_meta"] == about
    for reply in (stream, nothing):
        reply.leave()
        await reply.ended()
    assert [message["method"] for message in nothing.messages if "method" in message] == [acknowledged]


@pytest.mark.parametrize("wanted", ["x", [1], [ID] * 101, {"a": 1}])
async def test_ids_to_listen_to_have_to_be_ids(wanted: Any) -> None:
    client = await House("modern").client()
    error = await error_of(client.send("subscriptions/listen", {"notifications": {"taskIds": wanted}}))
    assert error["code"] == -32602


async def test_a_change_that_may_not_be_known_any_more_is_not_told() -> None:
    house = House("modern")
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    other = await client.started(LIST)
    stream = client.send("subscriptions/listen", {"notifications": {"taskIds": [task_id]}})
    await stream.message("notifications/subscriptions/acknowledged")
    house.server.tell("notifications/tasks", {"taskId": "nobody's"})
    house.gate.rules.current = Gate(PERMIT_ALL, FORBID).rules.current
    house.server.ends(answer())
    house.server.ends(answer(), "theirs-2")
    while len(house.gate.tasks):
        await asyncio.sleep(0)
    await settle()
    assert [message["method"] for message in stream.messages] == ["notifications/subscriptions/acknowledged"]
    stream.leave()
    await stream.ended()
    del other


class Slow(MemoryStore):
    """A store that puts nothing more on record from some moment on."""

    is_stuck = False

    async def record(self, record: Record, *, durable: bool = True) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        await super().record(record, durable=durable)


async def test_what_is_being_told_ends_with_the_stream() -> None:
    store = Slow(FakeClock())
    house = House("modern", store=store)
    client = await house.client()
    task_id = (await client.started(PAY))["taskId"]
    stream = client.send("subscriptions/listen", {"notifications": {"taskIds": [task_id]}})
    await stream.message("notifications/subscriptions/acknowledged")
    [subscriber] = house.gate.notices._subscribers
    assert subscriber.tasks is not None
    store.is_stuck = True
    before = asyncio.all_tasks()
    subscriber.tasks(house.gate.tasks._open[task_id])
    [telling] = asyncio.all_tasks() - before
    await settle()
    assert not telling.done()
    stream.leave()
    await stream.ended()
    assert telling.done()
    assert "notifications/tasks" not in [message.get("method") for message in stream.messages]
    await house.close()
