"""The pipeline with everything real around it, but in memory: only what the servers do is scripted."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from gateway.approval.config import ApprovalsSection
from gateway.approval.own_tools import APPROVALS_SERVER, APPROVALS_TOOLS, EXECUTE, EXECUTE_TOOL
from gateway.budget.budgets import Budgets
from gateway.cache.results import ResultCache
from gateway.catalog.catalog import Catalog, Live
from gateway.catalog.config import ToolRule
from gateway.catalog.lock import Lock, Pin
from gateway.catalog.own_tools import OWN_PINS, READ_RESULT
from gateway.config.model import OWN_SERVERS
from gateway.connector import Surroundings
from gateway.connector.pool import Upstreams
from gateway.connector.upstream import Upstream
from gateway.credentials.keeper import Keeper
from gateway.credentials.pages import Pages
from gateway.facts.config import FactsSection
from gateway.facts.own_tools import FACTS_SERVER, FACTS_TOOLS
from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.key_source import KeyRing
from gateway.identity.local import local_bearer
from gateway.identity.people import PeopleDoor
from gateway.identity.recognising import Known, Recognising
from gateway.identity.token_index import TokenIndex
from gateway.ledger.recollection import Recollections
from gateway.ledger.recorder import Recorder
from gateway.model.call import Call
from gateway.model.errors import IdentityFault
from gateway.model.facts import Approver
from gateway.model.identity import ClientInfo, Credential
from gateway.model.outcome import Outcome
from gateway.model.request import Caller, CallRequest
from gateway.model.tool import Effect
from gateway.pause.pauses import Pauses
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.asking import Asking
from gateway.pipeline.directory import Directory
from gateway.pipeline.doubts import Asked, Doubts
from gateway.pipeline.elicited import Elicited
from gateway.pipeline.entry import Entry
from gateway.pipeline.fact_tools import FactGround, FactTools
from gateway.pipeline.finding import finding_tools
from gateway.pipeline.inflight import InFlight
from gateway.pipeline.joining import Joining
from gateway.pipeline.kept import Kept
from gateway.pipeline.listing import Listing
from gateway.pipeline.looping import Looping
from gateway.pipeline.notices import Notices
from gateway.pipeline.parked import Lobby, Parked
from gateway.pipeline.polling import Polling
from gateway.pipeline.reading import Reading
from gateway.pipeline.rollback import Rollback
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.pipeline.run_tools import RunTools, Workbench
from gateway.pipeline.runner import Ended, Kit, Runner
from gateway.pipeline.safe import Safe
from gateway.pipeline.sealing import Seal
from gateway.pipeline.shaping import Shaping
from gateway.pipeline.stages import Stage
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.check import Check
from gateway.pipeline.stages.claim import Claim, UnderWay
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.execute import Execute, OwnTool, nothing_more
from gateway.pipeline.stages.gather import Gather, Past
from gateway.pipeline.stages.identify import Identify
from gateway.pipeline.stages.redact import Redact
from gateway.pipeline.stages.resolve import Resolve
from gateway.pipeline.stages.validate import Validate
from gateway.pipeline.strangers import Strangers
from gateway.pipeline.tainting import Tainting
from gateway.pipeline.task_requests import TaskRequests
from gateway.pipeline.tasks import Shelter, Tasks
from gateway.policy import AgentEntity, Bundle, LoadOptions, PolicySource, compile_drafts
from gateway.redaction.redactor import Redactor
from gateway.resilience.admission import Admission
from gateway.resilience.config import RateLimit, ResilienceConfig
from gateway.resilience.executor import Executor
from gateway.resilience.owned import OwnedTasks
from gateway.store.memory import MemoryStore
from gateway.store.ports import Event, EventFilter, EventKind, Ledger, PauseRecord
from gateway.taint.taints import Taints
from gateway.workflow.own_tools import OWN_SERVER, OWN_TOOLS
from gateway.workflow.runs import Runs
from tests.fixtures.clock import CountingIds, FakeClock
from tests.fixtures.scripted import ScriptedUpstream
from tests.identity.doubles import agents
from tests.policy.acme import BOOLEAN, INTEGER, NUMBER, PERMIT_ALL, PRECONDITION, STRING, record

__all__ = [
    "DEFINITIONS",
    "JOIN",
    "PAYMENT",
    "PERMIT_ALL",
    "PRECONDITION",
    "RUN_TOOLS",
    "SECRET",
    "Gate",
    "answer",
    "caller",
    "request",
    "served",
    "settle",
]

LOCAL_KEY = b"k" * 32
SECRET = "sk-upstream-0123456789"
PAYMENT = {"payment_id": "p_17", "payee": "ACME", "amount": 250}
PASSED = {"result": "passed", "score": 3}
_PAYMENT_SCHEMA = record("payment_id", "payee", payment_id=STRING, payee=STRING, amount=NUMBER)
MIRRORED = {"type": "string", "x-mcp-header": "To"}
_READ_ONLY = {"readOnlyHint": True}
DEFINITIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "fraud": [
        {
            "name": "check",
            "inputSchema": _PAYMENT_SCHEMA,
            "outputSchema": record("result", result=STRING, score=INTEGER),
            "annotations": _READ_ONLY,
        }
    ],
    "payments": [
        {"name": "pay", "inputSchema": _PAYMENT_SCHEMA},
        {"name": "settle", "inputSchema": _PAYMENT_SCHEMA},
        {"name": "list", "inputSchema": record(limit=INTEGER), "annotations": _READ_ONLY},
    ],
    "mail": [{"name": "send", "inputSchema": record("to", to=MIRRORED, urgent=BOOLEAN)}],
}
RUN_TOOLS = [f"run_{name}" for name in sorted(str(tool["name"]) for tool in OWN_TOOLS)]
TOOL_RULES = {
    "payments.pay": ToolRule(effect=Effect.IRREVERSIBLE),
    "payments.settle": ToolRule(effect=Effect.WRITE, idempotent=True, idempotency_key=["payment_id"]),
}
JOIN = """
@id("join") permit (principal == Gateway::Agent::"other", action == Gateway::Action::"join", resource)
when { resource.owner == Gateway::Agent::"payer" };
"""
AGENTS = agents(
    payer={"auth": {"local": True}},
    other={"auth": {"local": True}},
)


def answer(structured: Any = None, **more: Any) -> dict[str, Any]:
    """An MCP result, with structured content where some is given."""
    result: dict[str, Any] = {"content": [{"type": "text", "text": "done"}], **more}
    return result if structured is None else {**result, "structuredContent": structured}


def caller(agent: str = "payer", session: str | None = None, *, loopback: bool = True) -> Caller:
    """A registered agent on this machine."""
    credential = Credential("bearer", local_bearer(LOCAL_KEY, agent))
    return Caller(credential, client=ClientInfo("test", "1"), session=session, loopback=loopback)


async def through(stage: Stage, call: Call) -> Outcome | None:
    """Take a call through a stage; return what that says."""
    said = stage(call)
    return await said if isinstance(said, Coroutine) else said


def request(tool: str, arguments: Mapping[str, Any] = PAYMENT, agent: str = "payer", **more: Any) -> CallRequest:
    """A `tools/call` of a registered agent."""
    return CallRequest(tool, arguments, more.pop("caller", None) or caller(agent), **more)


def served(definitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Mapping[str, Live]:
    """What servers answered, of which no connector declares anything."""
    return {server: Live(list(tools)) for server, tools in definitions.items()}


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)


def lock_of(definitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Lock:
    """Pin every definition as a person approved it, and the gateway's own tools."""
    pinned = {**definitions, OWN_SERVER: OWN_TOOLS}
    pins = {
        server: {str(tool["name"]): Pin.of(tool, reviewed=True) for tool in tools} for server, tools in pinned.items()
    }
    return Lock({**pins, **OWN_PINS})


def rules_of(
    *policies: str,
    live: Mapping[str, Live] | None = None,
    keys: Any = None,
    people: Sequence[Approver] = (),
    tools: Mapping[str, ToolRule] | None = None,
    definitions: Mapping[str, Sequence[Mapping[str, Any]]] = DEFINITIONS,
    facts: FactsSection | None = None,
) -> Rules:
    """The acme tools as pinned, held against what the servers offer, under these policies, with these people to ask."""
    ours = {APPROVALS_SERVER: (*APPROVALS_TOOLS, EXECUTE)} if people else {}
    ours |= {FACTS_SERVER: FACTS_TOOLS} if facts is not None else {}
    lock = lock_of({**definitions, **ours})
    declared = {**TOOL_RULES, EXECUTE_TOOL: ToolRule(effect=Effect.READ), **(tools or {})}
    pinned = Catalog.build(lock, {}, declared).tools()
    sources = [PolicySource(f"{number}.cedar", text) for number, text in enumerate(policies, 1)]
    sources += compile_drafts(pinned)
    entities = [AgentEntity(name, owner=AGENTS[name].owner) for name in AGENTS]
    section = facts or FactsSection()
    schemas = {name: declared.json_schema for name, declared in section.names.items()}
    options = LoadOptions(fulfils=frozenset({"redact", "max_calls", "self_approval"}), facts=schemas)
    bundle = Bundle.load(sources, pinned, entities, options)
    known = {person.name: person for person in people}
    return Rules(Catalog.build(lock, live or {}, declared), bundle, keys or {}, people=known, facts=section)


class Gate:
    """One gateway's pipeline. `servers` are scripted, `noted` lists what the inventory would be told.

    `made` lists every gate, so that what a test put on record can be replayed at its end.
    `ledger` stands between the stages and the store, where a test wants to see or break what is written.
    """

    made: ClassVar[list["Gate"]] = []
    patience_s = 0.01

    def __init__(
        self,
        *policies: str,
        ledger: Ledger | None = None,
        store: MemoryStore | None = None,
        clock: FakeClock | None = None,
        ids: CountingIds | None = None,
        servers: Mapping[str, Upstream] | None = None,
        rate: RateLimit | None = None,
        keys: Mapping[str, tuple[str, str]] | None = None,
        settings: ResilienceConfig | None = None,
        people: Sequence[Approver] = (),
        tools: Mapping[str, ToolRule] | None = None,
        budgets: Budgets | None = None,
        facts: FactsSection | None = None,
        approvals: ApprovalsSection | None = None,
    ) -> None:
        self.made.append(self)
        self.clock = clock or FakeClock()
        self.ids = ids or CountingIds()
        self.store = store or MemoryStore(self.clock)
        self.ledger: Ledger = ledger or self.store
        self.redactor = Redactor([SECRET])
        rules = rules_of(*(policies or (PERMIT_ALL,)), keys=keys, people=people, tools=tools, facts=facts)
        self.rules = RulesInForce(replace(rules, budgets=budgets or Budgets()))
        self.pauses = Pauses(self.store, self.clock)
        self.pauses.take([], float("inf"))
        self.admission = Admission(self.clock, rate, self.pauses.check_agent)
        self.inflight, self.owned = InFlight(), OwnedTasks()
        self.runs = Runs(self.store, self.clock, self.ids, stopped=self.pauses.check_run)
        self.tainting = Tainting(self.rules, Taints(self.store, self.clock))
        self.recorder = Recorder(self.ledger, self.clock, self.redactor, self.tainting)
        self.elicited = Elicited(self.redactor.deliver, self.pages)
        self.asking = Asking(self.recorder, self.redactor, self.clock, self.ids, self.elicited)
        self.executor = Executor(self.clock, self.ids, settings)
        self.shaping = Shaping(self.store, self.clock, self.redactor.record, OWN_SERVERS)
        self.cache = ResultCache(self.clock, self.asking.told)
        self.reading = Reading(self.cache, self.rules, self.pauses, self.redactor, self.clock)
        trust = Trust(TokenIndex(self.store, self.clock), KeyRing(self.clock), LOCAL_KEY)
        self.authenticator = Authenticator(AGENTS, trust, self.clock)
        self.servers = {name: ScriptedUpstream() for name in DEFINITIONS}
        self.upstreams = Upstreams(Surroundings(self.clock, self.ids))
        for name, server in (servers or self.servers).items():
            self.upstreams.add(name, server)
        self.noted: list[tuple[str, Outcome]] = []
        self.seen: list[str] = []
        self.listing = self._listing()
        self.approving = self._approving(approvals or ApprovalsSection(wait_s=0))
        self.fact_tools = FactTools(FactGround(self.store, self.rules, self.clock, self.redactor.record))
        self.tasks, self.task_requests = self._tasks()
        self.kept = Kept(self.rules, self.clock, self.ids)
        self.looping = Looping(self.rules, self.clock, OWN_SERVERS)
        self.recollections = Recollections(self.ledger, OWN_SERVERS)
        self.doubts = self._doubts()
        self.stages = self._stages()
        self.runner = self.walking(self.stages)
        self.rollback = Rollback(self.runner, self.store, self.rules, self.owned, self.clock)
        self.entry = self._entry()
        self.directory = Directory(self.upstreams, self.rules)
        self.notices = self._notices()

    def _notices(self) -> Notices:
        notices = Notices(self.upstreams, self.rules, self.listing, self.directory, self.clock)
        self.approving.access.shown_in(self.listing, notices.tools_changed)
        return notices

    def _approving(self, section: ApprovalsSection) -> Approving:
        return Approving(Ground(self.store, self.rules, self.clock, self.ids, self.redactor.record), section)

    def _entry(self) -> Entry:
        entry = Entry(self.runner, self.rules, self.kept, self.looping)
        self.approving.drafting.run = entry.run
        return entry

    def _listing(self) -> Listing:
        return Listing(
            self.authenticator,
            self.admission,
            self.rules,
            self._refused,
            lambda identity, client: self.seen.append(identity.agent),
        )

    def _tasks(self) -> tuple[Tasks, TaskRequests]:
        shelter = Shelter(self.store, self.store, self.rules, self.clock, self.redactor.record, self.owned, self.pauses)
        polling = Polling(self.executor, self.upstreams, self.asking)
        tasks = Tasks(shelter, polling)
        seal = Seal(LOCAL_KEY, "waiting calls")
        self.approving.keeps_drafts_in(Safe(self.store, Seal(LOCAL_KEY, "drafts"), self.clock))
        lobby = Lobby(self.approving.approvals, self.store, self.clock, self.redactor.record, self.owned, seal)
        return tasks, TaskRequests(tasks, polling, Parked(tasks, self.approving.parking, lobby))

    def _own(self) -> Mapping[str, OwnTool]:
        joining = Joining(self.rules, self.clock, "production")
        bench = Workbench(self.runs, self.ledger, self.recollections, joining, self.rules, self.clock, self.fact_tools)
        return {
            **RunTools(bench).own_tools,
            **finding_tools(self.listing),
            READ_RESULT: self.kept.read,
            **self.approving.own_tools,
            **self.fact_tools.own_tools,
            **self.task_requests.own_tools,
            "resources/subscribe": nothing_more,
        }

    def _stages(self) -> tuple[Stage, ...]:
        return (
            Identify(self.authenticator),
            Admit(self.admission),
            Resolve(self.rules, self.pauses, self.tasks),
            Validate(self.redactor.found_in),
            Gather(self.rules, self.runs, self._past(), self.clock, "production"),
            Decide(self.inflight, patience_s=self.patience_s),
            Claim(self.recorder, self.under_way(), self.owned, self.redactor, self.approving.parking),
            Execute(self.executor, self.upstreams, self._own(), self.asking, self.reading),
            Check(self.clock, self.shaping, self.doubts.confirm),
            Redact(self.redactor),
        )

    def _doubts(self) -> Doubts:
        return Doubts(Asked(self.ledger, self.rules, self.executor, self.upstreams, self.redactor.record, self.clock))

    @cached_property
    def strangers(self) -> Strangers:
        """What of strangers is put on record."""
        return Strangers(self.store, self.clock)

    @cached_property
    def pages(self) -> Pages:
        """Pages on which nobody is recognised."""
        nobody, keys = Known([], [], {}, 30), KeyRing(self.clock)
        door = PeopleDoor(TokenIndex(self.store, self.clock), self.clock)
        keeper = Keeper(Path("nowhere"), self.clock, self.redactor.hold)
        return Pages(keeper, self.store, Recognising(lambda: nobody, door, keys, self.clock), self.clock)

    def under_way(self) -> UnderWay:
        """Return where the claim looks for calls that have not ended."""
        return UnderWay(self.inflight, self.tasks, self.doubts)

    def _past(self) -> Past:
        given = self.store, self.tainting, self.recollections, self.store, self.looping
        return Past(self.ledger, self.approving.consents, *given)

    def walking(self, stages: Sequence[Stage]) -> Runner:
        """Return a runner over other stages."""
        kit = Kit(
            self.recorder, self.inflight, self.owned, self.clock, self.ids, self._note, self.tasks, self.strangers
        )
        runner = Runner(stages, kit)
        self.task_requests.parked.made_by(runner.run)
        return runner

    async def _refused(self, asked: CallRequest, error: IdentityFault) -> None:
        await self.runner.refuse(asked, error)

    def _note(self, call: Call, outcome: Outcome) -> None:
        self.noted.append((call.id, outcome))
        if call.has("facts"):
            self.runs.count(call.facts.run.id)

    async def run(self, tool: str, arguments: Mapping[str, Any] = PAYMENT, agent: str = "payer", **more: Any) -> Ended:
        """Carry out one call to its end."""
        return await self.runner.run(request(tool, arguments, agent, **more))

    def stage(self, kind: type[Any]) -> Callable[[Call], Awaitable[Outcome | None]]:
        """Return the stage of this kind, to be awaited."""
        return partial(through, next(stage for stage in self.stages if isinstance(stage, kind)))

    async def before(self, kind: type[Any], asked: CallRequest) -> Call:
        """Return a call that came as far as the stage of this kind, and has it before itself."""
        call = Call(self.ids.new("call"), asked, self.clock.now_ms())
        for stage in self.stages:
            if isinstance(stage, kind):
                return call
            assert await through(stage, call) is None
        raise AssertionError(f"{kind} is no stage")

    async def after(self, kind: type[Any], asked: CallRequest) -> tuple[Call, Outcome | None]:
        """Return a call that came as far as the stage of this kind and went through it, and what that stage said."""
        call = await self.before(kind, asked)
        return call, await self.stage(kind)(call)

    async def pause(self, scope: str, reason: str = "") -> None:
        """Stop something, as an operator would."""
        await self.store.put_pause(PauseRecord(scope, self.clock.now_ms(), "os:op", reason))
        await self.pauses.refresh()

    async def events(self, call_id: str = "") -> list[Event]:
        """Return what is on record, of one call or of all."""
        return [event async for event in self.store.events(EventFilter(call_id=call_id))]

    async def kinds(self, call_id: str = "") -> list[EventKind]:
        """Return what kind of events are on record."""
        return [event.kind for event in await self.events(call_id)]
