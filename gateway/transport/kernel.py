"""What the gateway answers to each MCP method, whatever the transport and the era."""

import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from gateway import __version__
from gateway.connector.about import UNSAID, About
from gateway.model.back import NOBODY, Back
from gateway.model.call import Call
from gateway.model.errors import RequestFault
from gateway.model.identity import Credential, Identity
from gateway.model.light import light, maker
from gateway.model.operation import ROOTS_CHANGED, TOOL_CALL, operation
from gateway.model.outcome import Succeeded, Unknown, Waiting
from gateway.model.request import Caller, CallRequest, DryRun
from gateway.model.task import GET_TASK, TASK_RESULT, Begun
from gateway.model.tool import Effect, Tool
from gateway.pipeline.directory import Directory, Place
from gateway.pipeline.elicited import ELICIT
from gateway.pipeline.entry import Entry
from gateway.pipeline.listing import Listing
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.runner import Ended
from gateway.policy import could_be_approved
from gateway.task.forms import MODERN, offers
from gateway.transport.answers import (
    identity_fault,
    operation_error,
    page_of,
    recorded,
    rpc_error,
    success,
    tool_result,
    url_required,
)
from gateway.transport.links import follow_back, follow_back_in_messages, links_in
from gateway.transport.wire import HttpRefusal, RpcError

__all__ = [
    "ATTEMPT_META",
    "DRY_RUN_META",
    "IDEMPOTENCY_META",
    "LEGACY_TASKS_SINCE",
    "RUN_META",
    "SERVER_INFO",
    "Answer",
    "Asked",
    "Kernel",
]

SERVER_INFO: Final = {"name": "toolgate", "version": __version__}
RUN_META: Final = "io.toolgate/run"
ATTEMPT_META: Final = "io.toolgate/attempt"
IDEMPOTENCY_META: Final = "io.toolgate/idempotency-key"
DRY_RUN_META: Final = "io.toolgate/dry-run"
LEGACY_TASKS_SINCE: Final = "2025-11-25"
"""The first of the handshake eras in which a client may ask for a call to be carried out as a task."""

_OPTIONAL: Final[Mapping[str, Any]] = {"execution": {"taskSupport": "optional"}}
_LABEL: Final = re.compile(r"[\x21-\x7e]{1,200}")
_INVALID_PARAMS: Final = -32602
_METHOD_NOT_FOUND: Final = -32601
_LONGEST: Final = 128
_LISTS: Final = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_MORE: Final = ("inputResponses", "requestState")
_UNKNOWN: Final = (Waiting, Unknown)
_call_request: Final = maker(CallRequest)


@light
@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a transport received it. `headers` are by lower-case name.

    `plain` says that neither they nor `_meta` hold anything of the gateway's own. `known` is who the caller was found
    to be, where nothing is waited for between that and the call.
    """

    method: str
    params: Mapping[str, Any] = field(repr=False)
    caller: Caller
    headers: Mapping[str, str] = field(repr=False)
    back: Back = NOBODY
    endpoint: str = ""
    plain: bool = False
    known: Identity | None = None


@light
@dataclass(frozen=True, slots=True)
class Answer:
    """A result object, and the call behind it where there was one; `page` is the one of the gateway's it sends to."""

    result: dict[str, Any]
    ended: Ended | None = None
    page: str = ""

    def claimed_call(self) -> str:
        """The id of the claimed call whose outcome this is, now or from the record; empty for anything else."""
        if self.ended is None:
            return ""
        call, outcome = self.ended.call, self.ended.outcome
        if isinstance(outcome, _UNKNOWN):
            return ""  # who was told that nobody knows has yet to get the answer, once somebody does
        if call.recalled is not None:  # a read; or an effect of another run, whose answer arrives in this one
            return call.id if call.tool.effect is not Effect.READ and isinstance(outcome, Succeeded) else ""
        task = call.request.task
        if task is not None:
            return task.call_id if isinstance(outcome, Succeeded) and _is_the_end(call, outcome) else ""
        if call.intent and call.takes_over is None:
            return call.id
        return (outcome.replayed_from or "") if isinstance(outcome, Succeeded) else ""

    @property
    def attempt(self) -> int:
        """Which attempt at its run the call belongs to."""
        return self.ended.call.facts.run.attempt if self.ended is not None and self.ended.call.has("facts") else 1


_answered: Final = maker(Answer)


class Kernel:
    """Tools, resources, prompts and completion: called through the pipeline, listed through the policies."""

    def __init__(self, entry: Entry, listing: Listing, directory: Directory, rules: RulesInForce) -> None:
        self._entry = entry
        self._rules = rules
        self._listing = listing
        self._directory = directory

    def answer(self, asked: Asked) -> Coroutine[Any, Any, Answer]:
        """Answer one request.

        Raises:
            RpcError: the params are not the method's, what it names is not there, or it was refused or failed.
            IdentityFault: nobody knows the caller (the refusal is on record).
            LimitFault: not now.
        """
        return self._call_tool(asked) if asked.method == TOOL_CALL else self._answer_other(asked)

    async def _answer_other(self, asked: Asked) -> Answer:
        match asked.method:
            case "tools/list":
                return await self._list_tools(asked)
            case "prompts/get":
                return await self._get_prompt(asked)
            case "resources/read":
                return await self._read_resource(asked)
            case "completion/complete":
                return await self._complete(asked)
        if asked.method in _LISTS:
            identity = await self.identify(asked.caller, asked.method, asked.params, asked.endpoint)
            self._listing.admit(identity)
            await self._directory.settled(asked.endpoint)
            if not self._directory.has(asked.method.partition("/")[0], asked.endpoint):
                raise RpcError(_METHOD_NOT_FOUND, "Method not found", status=404, data=asked.method)
            _one_page(asked.params)
            found = await self._directory.listed(asked.method, identity, asked.endpoint)
            return Answer({_LISTS[asked.method]: found})
        raise RpcError(_METHOD_NOT_FOUND, "Method not found", status=404, data=asked.method)

    def known_now(self, credential: Credential, endpoint: str) -> Identity | None:
        """Return who makes a tool call where that takes no waiting, else None: then, and only then, await `identify`.

        Raises `StoreFault`.
        """
        identity = self._listing.known_now(credential)
        return identity if not endpoint or identity is None or self._rules.current.admits(endpoint, identity) else None

    async def identify(self, caller: Caller, method: str, params: Mapping[str, Any], endpoint: str = "") -> Identity:
        """Return who is calling.

        Raises:
            IdentityFault: nobody knows the caller; a stranger is put on record.
            HttpRefusal: 404, the endpoint is not there for this agent.
        """
        name = params.get("name") if method == "tools/call" else None
        asked = name[:_LONGEST] if isinstance(name, str) else method[:_LONGEST]
        identity = await self._listing.identify(caller, asked)
        if not self._rules.current.admits(endpoint, identity):
            raise HttpRefusal(404, "There is no such endpoint.")
        return identity

    def admit(self, identity: Identity) -> None:
        """Let a request pass that makes no call. Raises `LimitFault`: not now."""
        self._listing.admit(identity)

    async def refuse(self, caller: Caller, name: Any, fault: RequestFault) -> None:
        """Put on record that a known caller sent what is no proper call of the tool it calls `name`.

        Raises:
            IdentityFault: nobody knows the caller (which is put on record instead).
        """
        asked = name[:_LONGEST] if isinstance(name, str) else ""
        identity = await self._listing.identify(caller, asked)
        await self._entry.refuse(CallRequest(asked, {}, caller), fault, identity)

    async def subscribe(self, asked: Asked, uri: str) -> Place:
        """Decide whether the caller may have news of a resource; return where it is. Raises as `answer`."""
        place = await self._place(asked, uri)
        if not self._directory.tells(place.server):
            raise RpcError(_METHOD_NOT_FOUND, f"{place.server} does not tell of changes of its resources.", status=404)
        await self.govern(asked, operation(place.server, "resources/subscribe"), {"uri": place.name})
        return place

    def mirrors(self, endpoint: str) -> bool:
        """Tell whether any tool of an endpoint mirrors arguments into headers."""
        return bool(self._rules.current.catalog_at(endpoint).mirroring)

    def header_schema(self, name: Any, endpoint: str = "") -> Mapping[str, Any] | None:
        """Return the pinned input schema of a tool that mirrors arguments into headers (`x-mcp-header`), else None."""
        catalog = self._rules.current.catalog_at(endpoint)
        tool = catalog.find(name) if isinstance(name, str) else None
        return tool.input_schema if tool is not None and tool.name in catalog.mirroring else None

    async def _call_tool(self, asked: Asked) -> Answer:
        params, headers = asked.params, asked.headers
        name = params.get("name")
        arguments = params.get("arguments")
        if not isinstance(name, str):
            raise RpcError(_INVALID_PARAMS, "tools/call needs params.name, a string.")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise RpcError(_INVALID_PARAMS, "params.arguments must be an object.")
        meta = _meta(params)
        run = attempt = key = dry_run = None
        if not asked.plain:
            run = _label(meta, RUN_META, headers.get("toolgate-run"))
            attempt = _label(meta, ATTEMPT_META, headers.get("toolgate-attempt"))
            key = _label(meta, IDEMPOTENCY_META, headers.get("idempotency-key"))
            dry_run = _dry_run(meta)
        more = _more(asked)
        request = _call_request(  # by place: ten names cost as much as all else that is done here
            name, arguments, asked.caller, meta, run, attempt, key, asked.back, more, asked.endpoint, asked.known
        )
        if dry_run is not None:
            request = replace(request, dry_run=dry_run)
        ended = self._entry.end(await self._entry.begin(request))
        if isinstance(ended.outcome, Succeeded):
            result = success(ended.call, ended.outcome)
            if links_in(result.get("content")):
                await follow_back(self._directory, ended.call, asked.endpoint, result)
            return _answered(result, ended)
        return self._unanswered(asked, ended)

    def _unanswered(self, asked: Asked, ended: Ended) -> Answer:
        """Return what the client of a call is told that was not answered. Raises as `answer`."""
        fault = identity_fault(ended.outcome)
        if fault is not None:
            raise fault
        error = rpc_error(ended.outcome)
        if error is not None:
            try:
                raise error
            finally:
                del error  # it knows this frame, and would be kept by it
        page = page_of(ended.outcome)
        if page is not None:
            return _sent_to(page, asked, ended)
        if isinstance(ended.outcome, Waiting) and ended.outcome.answer is not None:
            return Answer(dict(ended.outcome.answer), ended)
        if "task" in ended.call.request.more:
            raise operation_error(ended)  # a client that waits for a task takes no result in its place
        named = partial(self._wire_name, endpoint=asked.endpoint)
        return Answer(tool_result(ended, named, self._whose), ended)

    def _whose(self, call: Call) -> About:
        """Return who answers for the server of a call, as far as it came."""
        rules = self._rules.current
        tool = call.tool if call.has("tool") else rules.catalog.find(call.request.name)
        return UNSAID if tool is None else rules.about(tool)

    async def _list_tools(self, asked: Asked) -> Answer:
        identity = await self.identify(asked.caller, "tools/list", asked.params, asked.endpoint)
        _one_page(asked.params)
        able = self._able_as_tasks(asked, identity) if asked.caller.era == LEGACY_TASKS_SINCE else frozenset()
        if not able:
            return Answer({"tools": self._listing.text(identity, asked.endpoint)})
        tools = self._listing.tools(identity, asked.endpoint)
        return Answer({"tools": [{**_OPTIONAL, **tool} if tool["name"] in able else tool for tool in tools]})

    def _able_as_tasks(self, asked: Asked, identity: Identity) -> frozenset[str]:
        """Return the tools of which a client of 2025-11-25 has to be told that they may be called as tasks.

        Those are a modern server's, where it has any, and those that people may be asked about.
        """
        found = self._directory.offers(asked.endpoint)
        servers = {server for server, offer in found.items() if offers(offer.capabilities, MODERN)}
        rules = self._rules.current
        if not servers and not rules.people:
            return frozenset()

        def is_able(tool: Tool) -> bool:
            asks = bool(rules.people) and not tool.drafts and could_be_approved(rules.bundle, identity, tool)
            return asks or tool.server in servers

        return frozenset(tool.wire_name for tool in rules.catalog_at(asked.endpoint).tools() if is_able(tool))

    async def _get_prompt(self, asked: Asked) -> Answer:
        name = asked.params.get("name")
        if not isinstance(name, str):
            raise RpcError(_INVALID_PARAMS, "prompts/get needs params.name, a string.")
        place = await self._prompt(asked, name)
        arguments = _own(asked.params) | {"name": place.name}
        answer = await self.govern(asked, operation(place.server, asked.method), arguments)
        await follow_back_in_messages(self._directory, place.server, asked.endpoint, answer.result)
        return answer

    async def _read_resource(self, asked: Asked) -> Answer:
        uri = asked.params.get("uri")
        if not isinstance(uri, str):
            raise RpcError(_INVALID_PARAMS, "resources/read needs params.uri, a string.")
        place = await self._place(asked, uri)
        answer = await self.govern(
            asked, operation(place.server, asked.method), _own(asked.params) | {"uri": place.name}
        )
        contents = answer.result.get("contents")
        if place.name != uri and isinstance(contents, list):
            answer.result["contents"] = [
                {**item, "uri": self._directory.uri_seen(place, uri, item["uri"])}
                if isinstance(item, dict) and isinstance(item.get("uri"), str)
                else item
                for item in contents
            ]
        return answer

    async def _complete(self, asked: Asked) -> Answer:
        ref = asked.params.get("ref")
        if not isinstance(ref, dict) or not isinstance(asked.params.get("argument"), dict):
            raise RpcError(_INVALID_PARAMS, "completion/complete needs params.ref and params.argument, objects.")
        kind = ref.get("type")
        key = "name" if kind == "ref/prompt" else "uri"
        name = ref.get(key)
        if kind not in ("ref/prompt", "ref/resource") or not isinstance(name, str):
            raise RpcError(_INVALID_PARAMS, "params.ref must be a ref/prompt with a name or a ref/resource with a uri.")
        place = await (self._prompt if key == "name" else self._place)(asked, name)
        arguments = _own(asked.params) | {"ref": {**ref, key: place.name}}
        return await self.govern(asked, operation(place.server, asked.method), arguments)

    async def _prompt(self, asked: Asked, name: str) -> Place:
        await self.identify(asked.caller, asked.method, asked.params, asked.endpoint)
        await self._directory.settled(asked.endpoint)
        try:
            return await self._directory.prompt(name, asked.endpoint)
        except RequestFault as fault:
            await self.refuse(asked.caller, asked.method, fault)
            self._check_offered(asked, "prompts")
            raise recorded(RpcError(_INVALID_PARAMS, fault.message)) from None

    async def _place(self, asked: Asked, uri: str) -> Place:
        identity = await self.identify(asked.caller, asked.method, asked.params, asked.endpoint)
        await self._directory.settled(asked.endpoint)
        try:
            return await self._directory.resource(uri, asked.endpoint, identity)
        except RequestFault as fault:
            await self.refuse(asked.caller, asked.method, fault)
            self._check_offered(asked, "resources")
            missing = fault.code == "unknown_tool"
            code = -32002 if missing else _INVALID_PARAMS
            raise recorded(RpcError(code, fault.message, data={"uri": uri})) from None

    def _check_offered(self, asked: Asked, capability: str) -> None:
        """Raise `RpcError`, as each server would, where none of the endpoint has a capability; that is on record."""
        if not self._directory.has(capability, asked.endpoint):
            raise recorded(RpcError(_METHOD_NOT_FOUND, "Method not found", status=404, data=asked.method)) from None

    async def govern(self, asked: Asked, what: Tool, arguments: Mapping[str, Any], task: Begun | None = None) -> Answer:
        """Have something that is no tool done, through the same pipeline; `task` is what it is about, if it is one."""
        meta = _meta(asked.params)
        request = CallRequest(
            name=what.name,
            arguments=arguments,
            caller=asked.caller,
            meta=meta,
            run=(None if task is None else task.in_run) or _label(meta, RUN_META, asked.headers.get("toolgate-run")),
            attempt=_label(meta, ATTEMPT_META, asked.headers.get("toolgate-attempt")),
            dry_run=_dry_run(meta),
            back=asked.back,
            more=_more(asked),
            endpoint=asked.endpoint,
            operation=what,
            task=task,
        )
        ended = await self._entry.run(request)
        fault = identity_fault(ended.outcome)
        if fault is not None:
            raise fault
        if isinstance(ended.outcome, Succeeded):
            return Answer(dict(ended.outcome.result), ended)
        page = page_of(ended.outcome)
        if page is not None:
            return _sent_to(page, asked, ended)
        raise rpc_error(ended.outcome) or operation_error(ended)

    def _wire_name(self, canonical: str, endpoint: str) -> str:
        tool = self._rules.current.catalog_at(endpoint).find(canonical)
        return tool.wire_name if tool else canonical


def _sent_to(page: Mapping[str, Any], asked: Asked, ended: Ended) -> Answer:
    """Return the answer that sends a user to a page of the gateway's own; in a session it is a `RpcError`."""
    if not asked.back.takes_input_required:
        raise url_required(page)
    name = page["elicitationId"]
    params = {key: value for key, value in page.items() if key != "elicitationId"}  # which this era does not know
    questions = {name: {"method": ELICIT, "params": params}}
    return Answer({"resultType": "input_required", "inputRequests": questions}, ended, page=name)


def _own(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of a method that is no tool call, as they are decided on and sent."""
    return {name: value for name, value in params.items() if name != "_meta" and name not in _MORE}


def _more(asked: Asked) -> dict[str, Any]:
    """Return what a repeated request brings along; from a client that is not answered so, it leads nowhere."""
    if asked.method == ROOTS_CHANGED:
        return {"changed": True}  # and so it is no question that another's answer would do for
    params = asked.params
    if not asked.back.takes_input_required:
        return _wish(asked) if "task" in params else {}
    if "inputResponses" not in params and "requestState" not in params:
        return {}
    return {name: params[name] for name in _MORE if name in params}


def _wish(asked: Asked) -> dict[str, Any]:
    """Return the wish of a client of 2025-11-25 that a call be carried out as a task, if it has one."""
    wish = asked.params.get("task") if asked.method == TOOL_CALL else None
    return {"task": wish} if isinstance(wish, dict) and asked.caller.era == LEGACY_TASKS_SINCE else {}


def _is_the_end(call: Call, outcome: Succeeded) -> bool:
    """Tell whether an answer about a task holds the result of its call."""
    return call.tool.method == TASK_RESULT or (call.tool.method == GET_TASK and "result" in outcome.result)


def _meta(params: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = params.get("_meta")
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise RpcError(_INVALID_PARAMS, "params._meta must be an object.")
    return meta


def _dry_run(meta: Mapping[str, Any]) -> DryRun | None:
    wanted = meta.get(DRY_RUN_META, False)
    if type(wanted) is not bool:  # whoever means to try must not do
        raise RpcError(_INVALID_PARAMS, f"{DRY_RUN_META} must be true or false.")
    return DryRun() if wanted else None


def _one_page(params: Mapping[str, Any]) -> None:
    if params.get("cursor") is not None:
        raise RpcError(_INVALID_PARAMS, "There is no such cursor: the list has one page.")


def _label(meta: Mapping[str, Any], key: str, header: str | None) -> str | None:
    """Read a run or idempotency key from `_meta`, else from its header.

    Raises:
        RpcError: not 1-200 visible ASCII characters, or the two disagree.
    """
    value = meta.get(key, header)
    if value is None:
        return None
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise RpcError(_INVALID_PARAMS, f"{key} must be 1 to 200 visible ASCII characters.")
    if header is not None and header != value:
        raise RpcError(_INVALID_PARAMS, f"{key} in _meta and in the header disagree.")
    return value
