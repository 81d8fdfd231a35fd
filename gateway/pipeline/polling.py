"""Asking a server about a task of its own, over the session that the task lives in."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from gateway.connector import ITSELF, Behalf
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import ToolCall
from gateway.model.back import AskRefused, Back
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault
from gateway.model.operation import TOOL_CALL, operation
from gateway.model.task import TASKS_EXTENSION
from gateway.pipeline.asking import Asking, declaring
from gateway.pipeline.related import Related, Way
from gateway.pipeline.sending import behalf_of, passed_meta
from gateway.resilience.executor import Executor
from gateway.store.tasks import TaskRecord
from gateway.task.forms import LEGACY, MODERN, RELATED_META, Form, form_of, is_only_task, offers

__all__ = ["Held", "Polling", "is_unknown", "wanted_in"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_GONE: Final = frozenset({-32602, -32601, -32002})
"""What servers say of a task that they do not know, or when they no longer know any."""


@dataclass(slots=True, eq=False)
class Held:
    """A task as this process knows it: its record, and how it stands, as its client sees it.

    `call` is the call as it was before its answer; `way` the server's session that the task lives in, `behalf` for whom
    it was made, both only where this process began it. `vetted` are the questions that were decided already,
    `questions` those that a modern server has for a legacy client. `orphaned` says that a legacy server was let ask an
    earlier process what it needs to know. An approved call that could not be made in so many `tries` is tried again at
    `next_try_ms`.
    """

    record: TaskRecord
    state: Mapping[str, Any]
    call: Call
    way: Way | None = None
    behalf: Behalf = ITSELF
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    vetted: set[str] = field(default_factory=set)
    questions: Any = None
    orphaned: bool = False
    tries: int = 0
    next_try_ms: int = 0

    @property
    def awaits(self) -> str:
        """The approval that its call waits for; empty once it was made, or people have said no."""
        return str(self.record.body.get("awaits", ""))

    @property
    def asked_people(self) -> bool:
        """Whether people were asked before its call was made."""
        return "approval" in self.record.body

    @property
    def call_id(self) -> str:
        """The call whose outcome is the task's: where people were asked, that is a later one than the one asked."""
        return str(self.record.body.get("by", self.record.call_id))

    @property
    def form(self) -> Form:
        """In which form its client knows it."""
        return form_of(self.record.body["form"])

    @property
    def spoken(self) -> Form:
        """In which form its server does."""
        return form_of(self.record.body.get("spoken", self.record.body["form"]))

    @property
    def server(self) -> str:
        """Whose task it is."""
        return str(self.record.body["server"])

    @property
    def is_unwatchable(self) -> bool:
        """Whether only its client can ask about it: its server knows who that is, and the gateway has restarted."""
        return bool(self.record.body["personal"]) and self.way is None


class Polling:
    """Asks servers. What a client asks goes in its name; what the gateway asks by itself in the name of the call."""

    def __init__(self, executor: Executor, upstreams: Upstreams, asking: Asking) -> None:
        self._executor = executor
        self._upstreams = upstreams
        self._asking = asking

    def spoken_for(self, call: Call) -> Form | None:
        """Return in which form its server may make a task of a call whose client can follow one, in whichever form.

        Where that is the other one, a legacy server is asked for tasks only by what is nothing else there.
        """
        wanted = wanted_in(call)
        if wanted is None or call.tool.method != TOOL_CALL:
            return None
        try:
            offer = self._upstreams.get(call.tool.server).offer()
        except ConnectorFault:  # it is a tool of the gateway's own
            return None
        if offers(offer.capabilities, wanted):
            return wanted
        if wanted is LEGACY:
            return MODERN if offers(offer.capabilities, MODERN) else None
        return LEGACY if offers(offer.capabilities, LEGACY) and is_only_task(call.tool.definition) else None

    def way(self, call: Call) -> Way:
        """Return which session of its server a call goes over."""
        return Way(self._asking.way(call))

    async def ask(
        self, task: Held, method: str, params: Mapping[str, Any] = _NOTHING, call: Call | None = None
    ) -> Mapping[str, Any]:
        """Return what the server answers about its task. `call` is the client's request, where it is one that asks.

        Raises:
            ConnectorFault: it cannot, or will not.
        """
        if call is None:
            back: Back = task.way or Way(Back())
            behalf, meta = task.behalf, _NOTHING
        else:
            back = Related(self._asking.way(call), task.record.id, task.way)
            behalf, meta = behalf_of(call), passed_meta(call)
        back.declares = declaring(back.declares, task.spoken is MODERN)
        tool = operation(task.server, method)
        asked = ToolCall(
            tool=method,
            arguments={**params, "taskId": task.record.body["upstream"]},
            call_id=task.call_id,
            timeout_s=tool.deadline_s,
            meta=meta,
            back=back,
            method=method,
            behalf=behalf,
        )
        return await self._executor.execute(tool, asked, self._upstreams.get(task.server))

    async def vet(self, task: Held, call: Call, questions: Any) -> None:
        """Decide the server's questions that the client has not seen yet. Raises `ConnectorFault`: one is refused."""
        if not isinstance(questions, Mapping):
            raise ConnectorFault("The server's input requests are out of shape.", code="contract_broken")
        new = {key: each for key, each in questions.items() if key not in task.vetted}
        await self._asking.vet(call, new)
        task.vetted.update(new)

    async def vetted(self, call: Call, fault: ConnectorFault) -> ConnectorFault:
        """Return a task's error as the client may know it, which it may send somewhere."""
        return await self._asking.vetted(call, fault)

    async def put(self, task: Held, call: Call, question: Any) -> Mapping[str, Any]:
        """Have the client of `call` answer what a modern server asks about a task.

        Raises:
            ConnectorFault: it is out of shape, may not be asked, or is not answered.
        """
        method, params = (
            (question.get("method"), question.get("params", {})) if isinstance(question, Mapping) else (0, 0)
        )
        if not isinstance(method, str) or not isinstance(params, Mapping):
            raise ConnectorFault("The server's input requests are out of shape.", code="contract_broken")
        about = {**params, "_meta": {**params.get("_meta", {}), RELATED_META: {"taskId": task.record.id}}}
        try:
            return await self._asking.way(call).ask(method, about)
        except AskRefused as refused:
            said = f"{task.server} needs an answer to {method[:50]!a} from the client, and got none: {refused}."
            raise ConnectorFault(said, code="rejected") from refused

    def shown(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a client may see of something a server said."""
        return self._asking.deliver(said)


def is_unknown(fault: ConnectorFault) -> bool:
    """Tell whether a server says that it does not know the task."""
    return fault.rpc is not None and fault.rpc.get("code") in _GONE


def wanted_in(call: Call) -> Form | None:
    """Return in which form the client of a call can follow a task that it becomes, if in any."""
    request = call.request
    if request.promised is not None:
        return form_of(request.promised.form)
    if "task" in request.more:
        return LEGACY
    extensions = request.back.declares.get("extensions")
    return MODERN if extensions and TASKS_EXTENSION in extensions else None
