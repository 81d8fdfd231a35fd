"""Clients that follow tasks, and a gateway in front of servers that carry their calls out as tasks."""

import json
from typing import Any

from tests.fixtures.tasking import TASKS, Tasking
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate, settle
from tests.transport.front import Front
from tests.transport.peer import Peer, Reply

__all__ = ["FORBID", "FORMS", "ID", "LIST", "PAY", "Client", "House", "Json", "error_of", "result_of"]

PAY = {"name": "payments_pay", "arguments": PAYMENT}
LIST = {"name": "payments_list", "arguments": {}}
FORMS = ("legacy", "modern")
ID = "task_1"
FORBID = '@id("shut") forbid (principal, action == Gateway::Action::"payments.pay", resource);'
Json = dict[str, Any]


class Client:
    """A client that follows tasks, in one era."""

    def __init__(self, front: Front, form: str, agent: str = "payer") -> None:
        self.form = form
        self.peer = Peer(front, agent)

    async def ready(self, **more: Any) -> "Client":
        if self.form == "legacy":
            self.said = await self.peer.initialize(**more)
        self.peer.capabilities = {"extensions": {TASKS: {}}, **more}
        return self

    def begin(self, call: Json, **more: Any) -> Reply:
        wish = {"task": {"ttl": 60_000}} if self.form == "legacy" else {}
        return self.send("tools/call", {**call, **wish, **more})

    def send(self, method: str, params: Json) -> Reply:
        return (self.peer.legacy if self.form == "legacy" else self.peer.modern)(method, params)

    async def started(self, call: Json) -> Json:
        """The task that a call became."""
        result = await result_of(self.begin(call))
        if self.form == "modern":
            assert result["resultType"] == "task"
            return result
        assert set(result) <= {"task", "_meta"}
        task: Json = result["task"]
        return task

    async def get(self, task_id: str) -> Json:
        return await result_of(self.send("tasks/get", {"taskId": task_id}))

    def fetch(self, task_id: str) -> Reply:
        """Ask for a result, as of 2025-11-25."""
        return self.send("tasks/result", {"taskId": task_id})

    async def result(self, task_id: str) -> Json:
        """The result of a task that is over."""
        if self.form == "legacy":
            return await result_of(self.fetch(task_id))
        found: Json = (await self.get(task_id))["result"]
        return found


async def result_of(reply: Reply) -> Json:
    await reply.ended()
    assert "result" in reply.messages[-1], reply.body
    found: Json = reply.messages[-1]["result"]
    return found


async def error_of(reply: Reply) -> Json:
    await reply.ended()
    found: Json = reply.messages[-1]["error"]
    return found


class House:
    """A gateway in front of a server of payments with tasks."""

    def __init__(self, form: str, *policies: str, **more: Any) -> None:
        self.server, self.fraud = Tasking(form), Tasking(form)
        self.form = form
        servers: Any = {"payments": self.server, "fraud": self.fraud}
        self.gate = Gate(*(policies or (PERMIT_ALL,)), servers=servers, **more)
        self.gate.notices.listen(self.gate.elicited, self.gate.tasks)
        self.front = Front(self.gate)

    async def client(self, agent: str = "payer", **more: Any) -> Client:
        return await Client(self.front, self.form, agent).ready(**more)

    async def bodies(self, call_id: str) -> list[Json]:
        return [{"kind": event.kind, **json.loads(event.body)} for event in await self.gate.events(call_id)]

    async def close(self) -> None:
        for follower in list(self.gate.tasks._followers.values()):
            follower.cancel()
        await settle()
