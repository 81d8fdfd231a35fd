"""One MCP server as the gateway sees it: opened, listed, called."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from connectors.mcp.connection import Connection, Pace, Terms
from connectors.mcp.era import Era, Protocol
from connectors.mcp.errand import Errand
from connectors.mcp.faults import confined
from connectors.mcp.form import Form
from connectors.mcp.inputs import INPUT_REQUIRED, MOST_ROUNDS, answers_to
from connectors.mcp.lanes import Lanes
from connectors.mcp.listing import LISTS, TOOLS_LIST, list_all
from connectors.mcp.mirrored import mirrored_parameters, parameter_headers
from connectors.mcp.notices import Notices
from connectors.mcp.request import TASKS_EXTENSION, TOOL_CALL, meta_of, name_of
from connectors.mcp.roots import ROOTS, told_of_change
from connectors.mcp.waited import as_task, refused_without, waited_for
from connectors.mcp.watching import Watch
from connectors.mcp.wire import METHOD_NOT_FOUND, Pending, RpcError, Wire
from gateway.connector import (
    ITSELF,
    Back,
    Behalf,
    ConnectorFault,
    Notice,
    Offer,
    Rejected,
    Surroundings,
    ToolCall,
    ToolTraits,
    dump,
    plain,
)

__all__ = ["McpUpstream"]

_HEADER_MISMATCH: Final = -32020
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_TASK: Final = "task"


class McpUpstream:
    """An `Upstream` over any wire.

    `make` returns a new one, given whether it is for one client alone and on whose behalf it is; `concerning` says what
    of a behalf makes a difference. One connection is for whatever leaves no trace of a client in the server's session,
    the others are lanes.
    """

    def __init__(
        self,
        make: Callable[[bool, Behalf], Wire],
        protocol: Protocol,
        surroundings: Surroundings,
        pace: Pace | None = None,
        concerning: Callable[[Behalf], Behalf] | None = None,
    ) -> None:
        self._make = make
        self._protocol = protocol
        self._concerning = concerning
        self._pace = pace or Pace()
        self._clock = surroundings.clock
        self._terms = Terms(surroundings, self._pace)
        self._notices = Notices()
        self._shared = Connection(
            self._wire(False, ITSELF), protocol, self._terms, lambda: surroundings.lends(surroundings.server)
        )
        self._watch = Watch(self._shared, self._terms, self._notices)
        self._lanes = Lanes(self._lane, self._terms)
        self._ending: asyncio.Task[None] | None = None
        self._has_no_sessions: Era | None = None
        """What was agreed with a server of which was found out that it has no sessions, or other tools in them."""
        self._mirrored: dict[str, Mapping[tuple[str, ...], str]] = {}
        self._forms: dict[str, Form] = {}

    async def open(self) -> None:
        self._watch.allow()
        await self._shared.open()

    async def close(self) -> None:
        self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)  # a caller that gives up must not leave anything behind

    async def _end(self) -> None:
        await self._watch.stop()
        await self._shared.close()
        await self._lanes.close()

    def traits(self, tool: str) -> ToolTraits | None:
        """A server's own hints are relayed in its definitions; the connector vouches for nothing."""
        return None

    def offer(self) -> Offer:
        return self._shared.offer

    def on_notice(self, listener: Notice) -> None:
        self._notices.on_notice(listener)

    async def watch(self, uris: frozenset[str]) -> None:
        await self._watch.want(uris)

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        found = await self.listed(TOOLS_LIST)
        self._shared.definitions = {tool["name"]: tool for tool in found}
        self._shared.defined_over = self._shared.era
        return found

    async def listed(self, method: str) -> Sequence[Mapping[str, Any]]:
        ends = self._clock.monotonic() + self._pace.list_s
        return await self._shared.hold_session(lambda: self._list(self._shared, method, ends))

    def concerning(self, behalf: Behalf) -> Behalf:
        return ITSELF if self._concerning is None else self._concerning(behalf)

    def call(self, call: ToolCall) -> Awaitable[Mapping[str, Any]]:
        try:
            behalf = ITSELF if self._concerning is None else self._concerning(call.behalf)
        except ConnectorFault as fault:
            raise self._terms.faults.named(fault) from fault
        if call.method == ROOTS:
            return self._tell_of_roots(call, behalf)
        back, shared = call.back, self._shared
        errand = Errand(call, self._clock, shared.definitions)
        if behalf is not ITSELF:
            return self._call_for(behalf, errand)
        era = shared.era if shared.wire.alive else None
        if (back.capabilities or back.log_level) and (
            era is None or self._leaves_a_trace(back, era) or self._mirrors(back, era)
        ):
            return self._call_for(behalf, errand)
        pending = None if era is None else self._begun(errand, era)
        return self._perform(shared, errand) if pending is None else pending

    def _begun(self, errand: Errand, era: Era) -> Pending | None:
        """Send a call over the shared connection, if nothing has to be waited for or found out first."""
        call, back, shared = errand.call, errand.back, self._shared
        begin = shared.wire.begin
        if begin is None or back.wants_progress or shared.defined_over is not era or shared.starts:
            return None
        if not era.modern and as_task(era, errand):
            return None
        form = self._forms.get(call.tool)
        if form is None or form.era is not era:
            form = self._forms[call.tool] = Form(era, call.tool, bool(self._mirrored.get(call.tool)))
        told = call.meta or call.more or back.capabilities or back.declares or back.log_level
        if told or call.idempotency_key is not None or call.method != TOOL_CALL or form.mirrors:
            params = era.params(errand.params(), meta_of(call), back)
            headers, rest = self._headers(era, call), dump({"method": call.method, "params": params})[1:]
        else:
            headers, rest = form.headers, form.written(call.arguments, back)
        pending = begin(rest, headers, call.timeout_s, errand)
        if pending is not None:
            errand.may_ask = not era.modern
            errand.agreed = era
            pending.goes_on = self._go_on
        return pending

    def _go_on(self, pending: Pending) -> Awaitable[Mapping[str, Any]]:
        errand = pending.ear
        assert isinstance(errand, Errand)
        errand.pending = pending
        return self._perform(self._shared, errand)

    async def _call_for(self, behalf: Behalf, errand: Errand, *, mirrors: bool = True) -> Mapping[str, Any]:
        """Perform a call of which the server's session may have to know the client."""
        back, era = errand.call.back, self._shared.era
        if behalf == ITSELF:
            era = await self._shared.reach(errand.deadline.left())
        mirrored = mirrors and era is not None and self._mirrors(back, era)
        if behalf == ITSELF and era is not None and not (mirrored or self._leaves_a_trace(back, era)):
            return await self._perform(self._shared, errand)
        try:
            with self._lanes.borrowed(back, behalf, mirrored=mirrored) as lane:
                return await self._perform(lane, errand)
        except ConnectorFault as fault:
            if not mirrored or fault.sent:
                raise confined(fault) from fault
            if fault.code not in {"unavailable", "credential_expired"}:  # which tell nothing of its sessions
                self._has_no_sessions = era
        return await self._call_for(behalf, errand, mirrors=False)

    async def _tell_of_roots(self, call: ToolCall, behalf: Behalf) -> Mapping[str, Any]:
        """Have the server list the client's roots anew, if it has a session for that client."""
        try:
            with self._lanes.held(call.back, behalf) as lane:
                return {"told": lane is not None and await told_of_change(lane, call, self._clock)}
        except ConnectorFault as fault:
            raise confined(self._terms.faults.named(fault)) from fault

    def _wire(self, alone: bool, behalf: Behalf) -> Wire:
        wire = self._make(alone, behalf)
        wire.on_notice(self._notices.put)
        return wire

    def _lane(self, lends: Mapping[str, Any], behalf: Behalf, mirrored: bool) -> Connection:
        era = self._shared.era
        protocol = Protocol.MODERN if era is not None and era.modern and not mirrored else Protocol.LEGACY
        connection = Connection(self._wire(True, behalf), protocol, self._terms, lambda: lends)
        connection.allow()
        return connection

    def _leaves_a_trace(self, back: Back, era: Era) -> bool:
        """Tell whether the server's session has to know the client, or what it says could not be told apart."""
        logs = bool(back.log_level) and "logging" in era.offer.capabilities
        if era.modern:
            return logs and not self._shared.wire.own_streams
        return logs or bool(back.capabilities)

    def _mirrors(self, back: Back, era: Era) -> bool:
        """Tell whether to try a session of its client's era, for many a server of both asks in no other way.

        Not where it has tasks, which are of the era that is spoken with all.
        """
        if not era.modern or back.takes_input_required or not back.capabilities or self._has_no_sessions is era:
            return False
        extensions = era.offer.capabilities.get("extensions")
        has_tasks = isinstance(extensions, Mapping) and TASKS_EXTENSION in extensions
        return self._protocol is Protocol.AUTO and not has_tasks

    async def _list(self, connection: Connection, method: str, ends: float) -> Sequence[Mapping[str, Any]]:
        """Return a whole list; an empty one where the server says that it has none of it."""
        era = await connection.ready(ends - self._clock.monotonic())
        has = LISTS[method].capability in era.offer.capabilities
        if not has and method != TOOLS_LIST:  # tools are asked for all the same: many forget to say that they have any
            return ()
        try:
            found = await list_all(method, connection.wire, era, self._clock, ends - self._clock.monotonic())
        except RpcError as error:
            if error.code != METHOD_NOT_FOUND or (has and method == TOOLS_LIST):
                raise
            found = ()
        if method == TOOLS_LIST and connection is self._shared:
            self._mirrored = mirrored_parameters(found)
            self._forms.clear()
        return found

    async def _perform(self, connection: Connection, errand: Errand) -> Mapping[str, Any]:
        """Return the call's result, having answered what a modern server asks meanwhile."""
        for rounds in range(MOST_ROUNDS + 1):
            agreed = connection.era if errand.pending is None else errand.agreed
            try:
                result = await self._send(connection, errand)
            except (RpcError, ConnectorFault) as fault:
                result = await connection.hold_session(self._repeats(connection, errand, fault), agreed)
            else:
                connection.works()
            if type(result) is dict and result.get("resultType", "complete") == "complete":
                return await self._whole(connection, errand, result) if errand.waits else result
            try:
                kind = _kind(result, connection.era)
                if kind == _TASK and errand.waits:
                    return await self._whole(connection, errand, result)
                if kind == _TASK or (kind == INPUT_REQUIRED and errand.call.back.takes_input_required):
                    return result  # type: ignore[no-any-return]  # seen by _kind
                errand.repeat_with(await answers_to(result, errand.put, rounds, self._clock))
            except ConnectorFault as fault:
                raise self._terms.faults.named(fault) from fault
        raise self._terms.faults.named(Rejected(f"The server asked for input more than {MOST_ROUNDS} times."))

    async def _whole(self, connection: Connection, errand: Errand, begun: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the result of a call that had to go out as a task."""
        return await connection.hold_session(lambda: waited_for(connection, errand, begun, self._clock))

    def _repeats(self, connection: Connection, errand: Errand, failed: Exception) -> Callable[[], Awaitable[Any]]:
        """Return what makes an attempt each time it is called; the first one has `failed` already."""
        faults = [failed]
        return lambda: self._once(connection, errand, faults.pop() if faults else None)

    async def _once(self, connection: Connection, errand: Errand, failed: Exception | None) -> Any:
        """Send the request, or go on where sending it has `failed` already."""
        call = errand.call
        try:
            if failed is not None:
                raise failed
            return await self._send(connection, errand)
        except RpcError as error:
            if call.method == TOOL_CALL and refused_without(error, errand):
                errand.go_as_task(modern=True)
                return await self._send(connection, errand)
            # Refused unread for headers that the tool's schema asks for: learn the schema, then ask again.
            if error.code != _HEADER_MISMATCH or call.method != TOOL_CALL or call.tool in self._mirrored:
                raise
        finally:
            del failed  # it knows this frame, and would be kept by it
        await self._list(connection, TOOLS_LIST, self._clock.monotonic() + errand.deadline.left())
        return await self._send(connection, errand)

    async def _send(self, connection: Connection, errand: Errand) -> Any:
        if errand.pending is not None:
            pending, errand.pending = errand.pending, None
            return await pending.come_of()
        call = errand.call
        era = connection.live or await connection.ready(errand.deadline.left())
        if connection.defined_over is not era or connection.definitions is not errand.told:
            await self._refuse_drift(connection, errand)
        if connection is not self._shared:
            await connection.want_logs(call.back.log_level, errand.deadline.left())
        errand.may_ask = not era.modern
        if not era.modern and not errand.waits and as_task(era, errand):
            errand.go_as_task(modern=False)
        params = era.params(errand.params(), meta_of(call), errand.back)
        headers = self._headers(era, call)
        return await connection.wire.request(call.method, params, headers, errand.deadline.left(), errand)

    async def _refuse_drift(self, connection: Connection, errand: Errand) -> None:
        """Send no call to a server that, connected to anew, defines the tool in another way than was decided on."""
        told, tool = errand.told, errand.call.tool
        if told is None or errand.call.method != TOOL_CALL:
            return
        now = connection.definitions
        if connection.defined_over is not connection.era or (now is not told and _differ(now, told, tool)):
            now = await self._defined(connection, errand)
        if now is not told and _differ(now, told, tool):
            raise ConnectorFault(
                "The server came back with another definition of this tool, so nothing was sent. List the tools again.",
                code="rejected",
                sent=False,
            )

    async def _defined(self, connection: Connection, errand: Errand) -> Mapping[str, Mapping[str, Any]]:
        """Ask how the server at the other end of a new connection defines its tools."""
        listed = await self._list(connection, TOOLS_LIST, self._clock.monotonic() + errand.deadline.left())
        now = {each["name"]: each for each in listed}
        if connection is not self._shared:
            connection.definitions, connection.defined_over = now, connection.era
        elif now == connection.definitions:
            connection.defined_over = connection.era
        else:  # what the gateway's catalog was told no longer holds: it has to list the tools itself
            self._notices.put(_TOOLS_CHANGED, {})
        return now

    def _headers(self, era: Era, call: ToolCall) -> bytes:
        if call.method != TOOL_CALL:
            return era.headers(call.method, name_of(call))
        return era.headers(TOOL_CALL, call.tool, parameter_headers(self._mirrored.get(call.tool), call.arguments))


def _differ(
    now: Mapping[str, Mapping[str, Any]] | None, told: Mapping[str, Mapping[str, Any]] | None, tool: str
) -> bool:
    return now is not None and told is not None and now.get(tool) != told.get(tool)


def _kind(result: Any, era: Era | None) -> str:
    """Return what kind of result this is that is not a complete one, the only one a legacy server knows.

    Of any other it is not known whether the server did something.
    """
    if not isinstance(result, dict):
        raise ConnectorFault("The server's result is not an object.", code="contract_broken")
    kind = result["resultType"]
    if era is not None and not era.modern:
        raise ConnectorFault("The server's result is of a kind that its era does not know.", code="contract_broken")
    if kind not in (_TASK, INPUT_REQUIRED):  # a set would have to hash what a server wrote
        text = f"The server answered {plain(kind, 50)!r}, which this gateway does not relay."
        raise ConnectorFault(text, code="contract_broken")
    return str(kind)
