"""What drafts are carried out with where it holds secrets: sealed beside a record that never forgets."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.approval.values import Approval
from gateway.model.clock import Clock
from gateway.model.errors import ApprovalFault, StoreFault
from gateway.pipeline.sealing import Seal
from gateway.store.ports import EventKind, Record
from gateway.store.tasks import TaskRecord, TaskStore

__all__ = ["Safe"]

_LOST: Final = (
    "cannot be carried out: what it calls with held a secret, and is not kept any more. Make the call again for a new "
    "draft."
)


class Safe:
    """Keeps the arguments of drafts, until they are carried out or their time is over.

    They are rows among the tasks of nobody: the chain tells of each, and none of what is in it.
    """

    def __init__(self, store: TaskStore, seal: Seal, clock: Clock) -> None:
        self._store = store
        self._seal = seal
        self._clock = clock

    async def keep(self, draft: Approval, arguments: Mapping[str, Any], until_ms: int) -> None:
        """Keep what a draft calls with until then, unless that is kept already. Raises `StoreFault`."""
        now, name = self._clock.now_ms(), _name(draft)
        kept = await self._store.find_task(name)
        if self._in(kept, draft) is not None:
            return
        row = TaskRecord(name, draft.id, "", False, until_ms, {"sealed": self._seal.close(arguments, name)})
        if kept is not None:  # sealed with a key that is gone
            await self._store.save_task(row, now)
            return
        about = "", now, draft.run, draft.agent, draft.on_behalf_of, draft.tool
        try:
            told = {"task": name, "approval": draft.id}
            await self._store.begin_task(row, Record(*about, told, EventKind.TASK_BEGUN))
        except StoreFault:
            if await self._store.find_task(name) is None:  # else the same call was made twice at once
                raise

    async def arguments(self, draft: Approval) -> Mapping[str, Any]:
        """Return what a draft calls with, which nothing was taken out of.

        Raises:
            ApprovalFault: it is not kept any more, or was sealed with a key that is gone.
            StoreFault: it cannot be told.
        """
        found = self._in(await self._store.find_task(_name(draft)), draft)
        if found is None:
            raise ApprovalFault(f"{draft.id} {_LOST}", code="approval_over")
        return found

    def _in(self, kept: TaskRecord | None, draft: Approval) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._seal.open(
                "" if kept is None else kept.body.get("sealed", ""), _name(draft)
            )
        except ValueError:
            return None
        return found

    async def forget(self, draft: Approval) -> None:
        """Let go of what a draft was carried out with. Raises `StoreFault`."""
        await self._store.save_task(TaskRecord(_name(draft), draft.id, "", False, 0, {}), self._clock.now_ms())


def _name(draft: Approval) -> str:
    return f"sealed_{draft.id}"
