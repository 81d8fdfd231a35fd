"""What a server asks of the client while a call is under way: decided by policy, recorded, and only then asked."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from gateway.codec import CodecError, digest
from gateway.ledger.recorder import Recorder
from gateway.model.back import NOBODY, AskRefused, Back, Hear
from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import ConnectorFault, GatewayError, RequestFault
from gateway.model.operation import LIST_ROOTS, operation
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded
from gateway.model.request import CallRequest
from gateway.model.task import TASK_METHODS, TASKS_EXTENSION
from gateway.pipeline.elicited import ELICIT, URL_REQUIRED, Elicited, pages_in
from gateway.pipeline.sending import said_besides
from gateway.policy import decide, decision_input, may_ask
from gateway.redaction.redactor import Redactor
from gateway.task.forms import LEGACY, MODERN

__all__ = ["Asking", "declaring", "lacking_for"]

_MOST_QUESTIONS: Final = 64
_SAMPLE: Final = "sampling/createMessage"
_REFUSED: Final = -31403
"""JSON-RPC code of what a policy refused; outside the range the specification reserves."""


class Asking:
    """Puts the policies between a server's questions and the client."""

    def __init__(self, recorder: Recorder, redactor: Redactor, clock: Clock, ids: IdSource, elicited: Elicited) -> None:
        self._recorder = recorder
        self._redactor = redactor
        self._clock = clock
        self._ids = ids
        self._elicited = elicited

    def way(self, call: Call) -> Back:
        """Return the way back to the client of `call` that its server may use."""
        back = call.request.back
        if back is NOBODY:
            return back
        capabilities = back.capabilities
        if capabilities:
            allowed = {method.partition("/")[0] for method in may_ask(call.bundle, call.identity, call.tool.server)}
            capabilities = {name: each for name, each in capabilities.items() if name in allowed}
        declares = _declares(call) if back.declares or call.as_task else back.declares
        return _Governed(self, call, capabilities, declares)

    def told(self, call: Call) -> str:
        """Return what the server of `call` is told beside its arguments, as one text: see `said_besides`."""
        return said_besides(call, self.way(call))

    def deliver(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the client may see of a notification."""
        shown: Mapping[str, Any] = self._redactor.deliver(params)
        return shown

    async def vetted(self, call: Call, fault: ConnectorFault) -> ConnectorFault:
        """Return a server's refusal as its client may know it.

        One that says which pages the user has to be at first asks for that: each is decided and recorded as if it had
        been asked with `elicitation/create`, and all are withheld where one may not be.
        """
        if fault.wants_consent:
            return await self._elicited.sent(call, fault)
        if fault.rpc is None or fault.rpc.get("code") != URL_REQUIRED:
            return fault
        server, pages = call.tool.server, pages_in(fault.rpc)
        if not pages:
            said = f"{server} wants its user at a page first, and names none that can be made out."
            return ConnectorFault(said, code="contract_broken")
        for page in pages:
            try:
                asked = await self._decided(call, ELICIT, {"mode": "url", **page})
                await self._record(asked, Succeeded({"passed": "with a refusal"}))
            except AskRefused as refusal:
                return ConnectorFault(
                    f"{server} wants its user at a page first. {_why(call, refusal)}", code="rejected"
                )
        for page in pages:
            self._elicited.asked(server, page, call.request.caller.session)
        return fault

    async def vet(self, call: Call, questions: Any) -> None:
        """Decide the questions of an `input_required` result, which the client is asked with the answer itself.

        Raises:
            ConnectorFault: no policy lets the server ask one of them, or they are out of shape.
        """
        if not isinstance(questions, dict):  # none, or what `check` refuses
            return
        if len(questions) > _MOST_QUESTIONS:
            raise ConnectorFault(f"The server asks more than {_MOST_QUESTIONS} questions.", code="contract_broken")
        for each in questions.values():
            method, params = (each.get("method"), each.get("params")) if isinstance(each, dict) else (None, None)
            if not isinstance(method, str):
                raise ConnectorFault("The server's input requests are out of shape.", code="contract_broken")
            try:
                asked = await self._decided(call, method, params if isinstance(params, dict) else {})
            except AskRefused as refusal:
                raise ConnectorFault(_why(call, refusal), code="rejected") from None
            await self._record(asked, Succeeded({"passed": "with the answer"}))

    async def ask(
        self, call: Call, method: str, params: Mapping[str, Any], hear: Hear | None = None
    ) -> Mapping[str, Any]:
        """Put a question to the client of `call` and return its answer. Raises `AskRefused`."""
        asked = await self._decided(call, method, params)
        self._elicited.asked(call.tool.server, params, call.request.caller.session)
        if method == LIST_ROOTS:
            call.request.back.lists_roots(call.tool.server)
        try:
            result = await call.request.back.ask(method, self._redactor.deliver(params), hear)
        except AskRefused as refusal:
            said = f"The client refused: {refusal.message}"
            await self._record(asked, Failed(ConnectorFault(said, code="rejected")))
            raise
        except asyncio.CancelledError:
            gone = Failed(RequestFault("The call ended before the client answered.", code="cancelled"))
            with suppress(AskRefused):  # the call is over: there is nobody to tell
                await self._record(asked, gone)
            raise
        await self._record(asked, Succeeded(result))
        return result

    def now(self) -> float:
        """Return the time, in seconds, by which questions are measured."""
        return self._clock.monotonic()

    async def _record(self, asked: Call, outcome: Outcome) -> None:
        """Put a question on record; what cannot be recorded is not answered either."""
        try:
            await self._recorder.record(asked, outcome)
        except GatewayError as error:
            raise AskRefused(-32603, error.message) from error

    async def _decided(self, call: Call, method: str, params: Mapping[str, Any]) -> Call:
        """Return the question as a call of its own, allowed. Raises `AskRefused`; a refusal is put on record."""
        if method.partition("/")[0] not in call.request.back.capabilities:
            raise AskRefused(-32601, f"The client does not offer {method}")
        try:
            arguments_digest = digest(params)
        except CodecError:
            raise AskRefused(-32602, "The params cannot be read exactly") from None
        asked = Call(self._ids.new("call"), CallRequest(method, params, call.request.caller), self._clock.now_ms())
        asked.identity, asked.bundle, asked.facts = call.identity, call.bundle, call.facts
        asked.tool = operation(call.tool.server, method)
        asked.arguments, asked.arguments_digest = params, arguments_digest
        asked.given = decision_input(asked.bundle, asked.identity, asked.tool, params, asked.facts)
        asked.decision = decide(asked.bundle, asked.given)
        if not asked.decision.allowed:
            await self._record(asked, Denied(asked.decision))
            raise AskRefused(
                _REFUSED, f"may not ask for {method} here: {asked.decision.message or 'no policy allows it.'}"
            )
        lacking = lacking_for(call.request.back.capabilities[method.partition("/")[0]], method, params)
        if lacking:
            await self._record(asked, Failed(ConnectorFault(lacking, code="rejected")))
            raise AskRefused(-32602, lacking)
        return asked


def _why(call: Call, refusal: AskRefused) -> str:
    """Return why a server's question is not passed on, for its client."""
    if refusal.code == _REFUSED:
        return f"{call.tool.server} {refusal.message}"
    return f"{call.tool.server} asks for what it cannot be told: {refusal.message}."


def lacking_for(offered: Mapping[str, Any], method: str, params: Mapping[str, Any]) -> str:
    """Return which part of what a question needs its client did not declare, as a client has to answer such a one.

    In MCP an elicitation without a mode is a form, and a client that declares no mode takes forms only; sampling with
    tools is declared by itself (2025-11-25).
    """
    if method == ELICIT:
        mode = params.get("mode", "form")
        if mode not in ("form", "url"):
            return "The client offers elicitation in the modes form and url only"
        if mode not in offered and (mode == "url" or "url" in offered):
            return f"The client does not offer elicitation in {mode} mode"
    if method == _SAMPLE and ("tools" in params or "toolChoice" in params) and "tools" not in offered:
        return "The client does not offer sampling with tools"
    return ""


def _declares(call: Call) -> Mapping[str, Any]:
    """Return what the client of a call declares, that it follows tasks where there can be one, and only there."""
    declares = call.request.back.declares
    if call.tool.method in TASK_METHODS:
        return declares
    return declaring(declares, call.as_task == MODERN.name)


def declaring(declares: Mapping[str, Any], follows_tasks: bool) -> Mapping[str, Any]:
    """Return what a client declares, whether it follows tasks as the extension has them being so or not."""
    extensions = declares.get("extensions") or {}
    if (TASKS_EXTENSION in extensions) is follows_tasks:
        return declares
    if follows_tasks:
        return {**declares, "extensions": {**extensions, TASKS_EXTENSION: {}}}
    return {**declares, "extensions": {name: each for name, each in extensions.items() if name != TASKS_EXTENSION}}


class _Governed(Back):
    """The way back to a client as far as the policies open it to one server."""

    _questions = 0
    _since = _still = 0.0

    def __init__(
        self, asking: Asking, call: Call, capabilities: Mapping[str, Any], declares: Mapping[str, Any]
    ) -> None:
        self._asking = asking
        self._call = call
        self._back = back = call.request.back
        self.capabilities = capabilities
        self.declares = declares
        self.lane = back.lane
        self.log_level = back.log_level
        self.logs_by_default = back.logs_by_default
        self.wants_progress = back.wants_progress
        self.takes_input_required = back.takes_input_required
        self.begins_tasks = back.begins_tasks
        if call.as_task == LEGACY.name and back.takes_input_required:  # whatever is about the task needs its session
            self.takes_input_required = False
            self.lane = f"{back.lane} tasks"

    def stood_still(self) -> float:
        return self._still + (self._asking.now() - self._since if self._questions else 0.0)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._back.notify(method, self._asking.deliver(params))

    def between(self) -> Back:
        way = self._back.between()
        return way if way is NOBODY else _Between(self._asking, way)

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        self.was_asked = self._back.was_asked = True
        if not self._questions:
            self._since = self._asking.now()
        self._questions += 1
        try:
            return await self._asking.ask(self._call, method, params, hear)
        finally:
            self._questions -= 1
            if not self._questions:
                self._still += self._asking.now() - self._since


class _Between(Back):
    """The way to a client between its requests: it hears what it may see."""

    def __init__(self, asking: Asking, back: Back) -> None:
        self._asking = asking
        self._back = back

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        self._back.notify(method, self._asking.deliver(params))
