"""A gateway whose payments need a person, and clients that follow tasks."""

from typing import Any

from tests.pipeline.gate import Gate, answer
from tests.pipeline.people import PEOPLE, POLICIES, paid
from tests.transport.front import Front
from tests.transport.tasking import Client, Json, error_of

__all__ = ["APPROVED", "Waiting", "refused", "restarted"]

APPROVED = answer({"paid": 1})


class Waiting:
    """A gateway whose payments need a person, in front of servers without tasks, and a client that follows tasks."""

    def __init__(self, form: str, before: "Waiting | None" = None, **more: Any) -> None:
        kept = {} if before is None else {"store": before.gate.store, "clock": before.gate.clock}
        self.form = form
        self.gate = Gate(*POLICIES, people=PEOPLE, **kept, **more)
        if before is not None:
            self.gate.servers["payments"].asked = before.gate.servers["payments"].asked
            self.gate.ids = before.gate.ids
        self.gate.notices.listen(self.gate.elicited, self.gate.tasks)
        self.front = Front(self.gate)
        self.parked = self.gate.task_requests.parked

    async def client(self, agent: str = "payer") -> Client:
        return await Client(self.front, self.form, agent).ready()

    async def asked(self) -> str:
        """The approval that people are asked for now."""
        [approval] = await self.gate.approving.approvals.listed()
        return approval.id

    async def approve(self, by: str = "bob") -> str:
        approval = await self.asked()
        await self.gate.approving.desk.approve(by, approval)
        return approval

    async def over(self, client: Client, task_id: str) -> Json:
        """How a task stands once what was begun by asking about it is done."""
        await client.get(task_id)
        await self.gate.owned.drain(10)
        return await client.get(task_id)

    async def swept(self) -> None:
        """Let the gateway look after what waits, once."""
        for held in self.gate.tasks.waiting():
            await self.parked.look(held)
        await self.gate.owned.drain(10)

    @property
    def paid(self) -> int:
        return len(paid(self.gate))


async def restarted(house: Waiting) -> Waiting:
    """The same store and servers behind a gateway that knows nothing more."""
    later = Waiting(house.form, house)
    alive = await later.gate.tasks.revive()
    await later.gate.recorder.recover(lambda recorded: recorded.call_id in alive)
    return later


async def refused(house: Waiting, client: Client, task_id: str) -> tuple[str, str]:
    """The status of a task that came to nothing, and why."""
    state = await client.get(task_id)
    assert state["status"] == "failed"
    error = state["error"] if house.form == "modern" else await error_of(client.fetch(task_id))
    assert error["message"].startswith(state["statusMessage"])
    return error["data"]["code"], error["message"]
