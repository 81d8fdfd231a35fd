"""The composition root: the only file that names the adapters and builds the stages."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from gateway.catalog.catalog import Live, pin_new
from gateway.catalog.lock import Lock, LockError
from gateway.catalog.names import canonical_name
from gateway.catalog.own_tools import READ_RESULT
from gateway.config.model import GatewayConfig
from gateway.connector import Surroundings
from gateway.connector.pool import PoolPace, Upstreams
from gateway.connector.registry import build_upstream, load_connectors, sought_in
from gateway.credentials.keeper import Keeper
from gateway.home import Home
from gateway.identity.authenticator import Authenticator, Trust
from gateway.identity.inventory import Inventory
from gateway.identity.key_source import KeyRing
from gateway.identity.local import load_local_key
from gateway.identity.metadata import challenge, resource_metadata
from gateway.identity.people import PeopleDoor
from gateway.identity.token_index import TokenIndex
from gateway.ledger.recorder import Recorder
from gateway.model.call import Call
from gateway.model.clock import Clock, IdSource, RandomIds, SystemClock
from gateway.model.errors import IdentityFault
from gateway.model.identity import Identity
from gateway.model.outcome import Outcome, Succeeded
from gateway.model.request import CallRequest
from gateway.pause.pauses import Pauses
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.asking import Asking
from gateway.pipeline.directory import Directory
from gateway.pipeline.entry import Entry
from gateway.pipeline.finding import finding_tools
from gateway.pipeline.inflight import InFlight
from gateway.pipeline.kept import Kept
from gateway.pipeline.listing import Listing
from gateway.pipeline.notices import Notices
from gateway.pipeline.rules import Rules, RulesInForce
from gateway.pipeline.runner import Kit, Runner
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.check import Check
from gateway.pipeline.stages.claim import Claim
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.execute import Execute, OwnTool, nothing_more
from gateway.pipeline.stages.gather import Gather, Past
from gateway.pipeline.stages.identify import Identify
from gateway.pipeline.stages.redact import Redact
from gateway.pipeline.stages.resolve import Resolve
from gateway.pipeline.stages.validate import Validate
from gateway.pipeline.survey import Survey
from gateway.policy import PolicyLoadError, may_ask
from gateway.redaction.redactor import Redactor
from gateway.resilience.admission import Admission
from gateway.resilience.executor import Executor
from gateway.resilience.owned import OwnedTasks
from gateway.rulebook import build_rules, recatalogued, rules_without_policies
from gateway.store.memory import MemoryStore
from gateway.store.ports import Store
from gateway.store.sqlite import SqliteStore
from gateway.transport.approvals import ApprovalsApi
from gateway.transport.endpoint import Door, Eras, McpEndpoint
from gateway.transport.guard import Guard
from gateway.transport.input import Inputs
from gateway.transport.kernel import Kernel
from gateway.transport.legacy import Legacy
from gateway.transport.modern import Modern
from gateway.transport.server import build_asgi
from gateway.transport.sessions import Sessions
from gateway.transport.sides import Leases, Operator, Sides
from gateway.transport.welcome import Welcome
from gateway.workflow.own_tools import OWN_SERVER, start_run
from gateway.workflow.runs import Runs

__all__ = ["Gateway", "Home", "build_rules", "live_definitions", "open_store", "operator_token"]

_LOG = logging.getLogger(__name__)
_FIRST_ANSWER_S: Final = 5.0
_MODES: Final[Mapping[str, Any]] = {"elicitation": {"form": {}, "url": {}}}
"""Ways of asking that a server is told of, so that it offers what needs them; a call says what its client can do."""
_DRAIN_S: Final = 15.0
_ASK_S: Final = 20.0
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def open_store(config: GatewayConfig, home: Home, clock: Clock) -> Store:
    """Return the configured store, not yet open: `sqlite:///path` relative to the home folder, or `memory:`."""
    url = config.server.store
    if url == "memory:":
        return MemoryStore(clock)
    path = home.path / url.removeprefix("sqlite:///")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteStore(path, clock)


def operator_token(local_key: bytes) -> str:
    """Return what a command of the gateway's own user presents to the running gateway."""
    return hmac.digest(local_key, b"\0toolgate operator", "sha256").hex()


async def live_definitions(
    config: GatewayConfig, home: Home, secrets: frozenset[str]
) -> tuple[Mapping[str, Live], Mapping[str, str]]:
    """Ask every configured server for its tools once; return the answers, and why the silent ones were silent."""
    redactor = Redactor(secrets)
    keeper = Keeper(home.private, SystemClock(), redactor.hold)
    surroundings = Surroundings(redact=redactor.text, folder=home.path, credential=keeper.credential)
    upstreams = Upstreams(surroundings, PoolPace(open_s=_ASK_S, list_s=_ASK_S))
    survey = Survey(surroundings.clock, lambda live: None)
    connect(config, upstreams, survey, surroundings)
    try:
        await upstreams.open()
        health = upstreams.health()
        silent = {name: each.error for name, each in health.items() if name not in survey.live}
        return survey.live, silent
    finally:
        await upstreams.close()
        await keeper.close()


def connect(config: GatewayConfig, upstreams: Upstreams, survey: Survey, surroundings: Surroundings) -> None:
    """Add every configured server, not yet open. Raises `ConnectorLoadError`."""
    registry = load_connectors()
    for name, section in config.mcpServers.items():
        upstreams.add(name, survey.over(name, build_upstream(name, section, registry, surroundings)))


def _as_agent(name: str) -> Identity:
    """Return an agent as one that may call: what its own token says of it is not known here."""
    return Identity(name, method="", credential_id="")


class Gateway:
    """A running gateway. `asgi` serves it; `reload` swaps its rules; `close` drains and stops it."""

    def __init__(self, config: GatewayConfig, home: Home, redactor: Redactor, clock: Clock | None = None) -> None:
        self.config = config
        self.home = home
        self.clock = clock or SystemClock()
        self.ids: IdSource = RandomIds()
        self.store = open_store(config, home, self.clock)
        self.credentials = Keeper(home.private, self.clock, redactor.hold, self.store)
        self._surroundings = Surroundings(
            self.clock,
            self.ids,
            redactor.text,
            folder=home.path,
            lends=self._lends,
            credential=self.credentials.credential,
        )
        self.upstreams = Upstreams(self._surroundings)
        self.survey = Survey(self.clock, self._servers_changed, self._quarantined)
        self.pauses = Pauses(self.store, self.clock)
        self.admission = Admission(self.clock, config.resilience.rate_limit, self.pauses.check_agent)
        self.executor = Executor(self.clock, self.ids, config.resilience)
        self.inventory = Inventory(self.store, self.clock)
        self.leases = Leases()
        self.policy_problem = ""
        self.files_problem = ""  # kept by whoever follows the files
        self._lock = Lock.read(home.lock)
        self.rules = RulesInForce(self._first_rules())
        self._redactor = redactor
        ground = Ground(self.store, self.rules, self.clock, self.ids, redactor.record)
        self.approving = Approving(ground, config.approvals)
        self._owned = OwnedTasks()
        self._runs = Runs(self.store, self.clock, self.ids, stopped=self.pauses.check_run)
        self._tokens = TokenIndex(self.store, self.clock)
        self._local_key = local_key = load_local_key(home.path / config.identity.local_key)
        self._keys = KeyRing(self.clock)
        trust = Trust(self._tokens, self._keys, local_key, config.identity.clock_skew)
        self.authenticator = Authenticator(config.agents, trust, self.clock)
        self._session_key = hashlib.sha256(b"toolgate session ids\0" + local_key).digest()
        self.listing = Listing(self.authenticator, self.admission, self.rules, self._refused, self.inventory.saw)
        self.directory = Directory(self.upstreams, self.rules)
        self.notices = Notices(self.upstreams, self.rules, self.listing, self.directory, self.clock)
        self._loud = logging.DEBUG  # while servers are still answering for the first time
        self._stack = AsyncExitStack()
        self._ends: tuple[Callable[[], None], ...] = ()

    def _first_rules(self) -> Rules:
        try:
            return build_rules(self.config, self.home, self._lock, {})
        except PolicyLoadError as error:
            self.policy_problem = str(error)  # said aloud in `start`: tools nobody has pinned yet may be all it is
            return rules_without_policies(self.config, self._lock, {})

    async def start(self, host: str, port: int) -> None:
        """Open the store, check its chain, settle what a crash left, connect to the servers; served at `host:port`.

        Raises:
            LedgerTampered: the chain does not hold; nothing is served.
            StoreFault: the store cannot be opened.
            ConnectorLoadError: a configured connector is not installed.
        """
        self._stack.push_async_callback(self.store.close)
        self._stack.push_async_callback(self._keys.close)
        await self.store.open()
        await self.store.verify()
        recorder = self._recorder()
        await recorder.recover()
        await self._index()
        self._stack.push_async_callback(self.credentials.close)
        connect(self.config, self.upstreams, self.survey, self._surroundings)
        self._stack.push_async_callback(self.upstreams.close)
        self.notices.listen()
        self._background(self.upstreams.open())
        await self._first_answers()
        self._loud = logging.ERROR
        if self.policy_problem:
            _LOG.error("the policies do not load, every call is denied until they do:\n%s", self.policy_problem)
        await self._tokens.refresh()
        await self.pauses.refresh()
        watches = (
            self._tokens.watch(),
            self.pauses.watch(),
            self.inventory.watch(),
            self.survey.watch(self.upstreams),
            self.notices.run(),
            self.approving.watch(),
        )
        for work in watches:
            self._background(work)
        self._stack.push_async_callback(self._drain)
        self._assemble(recorder, Guard.build(host, port, self.config.server.public_url or ""))

    async def _first_answers(self) -> None:
        """Wait, within bounds, for servers that were never pinned; the others are listed as they were approved."""
        unknown = [name for name in self.config.mcpServers if name not in self._lock.servers]
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ANSWER_S):
                await asyncio.gather(*(self.upstreams.get(name).open() for name in unknown))

    def _background(self, work: Awaitable[None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)
        return task

    def _recorder(self) -> Recorder:
        early = self.config.server.early_reads
        return Recorder(self.store, self.clock, self._redactor.record, durable_reads=not early)

    def _assemble(self, recorder: Recorder, guard: Guard) -> None:
        inflight = InFlight()
        kept = Kept(self.rules, self.clock, self.ids)
        asking = Asking(recorder, self._redactor, self.clock, self.ids)
        own: dict[str, OwnTool] = {
            f"{OWN_SERVER}.start": partial(start_run, self._runs),
            **finding_tools(self.listing),
            READ_RESULT: kept.read,
            **self.approving.own_tools,
            "resources/subscribe": nothing_more,
        }
        past = Past(self.store, self.approving.consents)
        stages = (
            Identify(self.authenticator),
            Admit(self.admission),
            Resolve(self.rules, self.pauses),
            Validate(),
            Gather(self.rules, self._runs, past, self.clock, self.config.server.environment),
            Decide(inflight),
            Claim(recorder, inflight, self._owned, self._redactor, self.approving.parking),
            Execute(self.executor, self.upstreams, own, asking),
            Check(),
            Redact(self._redactor),
        )
        self.runner = Runner(stages, Kit(recorder, inflight, self._owned, self.clock, self.ids, self._noted))
        sessions = Sessions(self._session_key, self.clock, self.store)
        entry = Entry(self.runner, self.rules, kept)
        kernel = Kernel(entry, self.listing, self.directory, self.rules)
        welcome = Welcome(self.upstreams, self.directory)
        inputs = Inputs(self._session_key, self.clock)
        self._ends = (self.notices.stop, sessions.stop, inputs.stop)
        eras = Eras(
            Modern(kernel, inputs, self.notices, welcome),
            Legacy(kernel, sessions, self.notices, welcome),
        )
        endpoint = McpEndpoint(kernel, eras, Door(guard, self._challenge, self.store.deliver))
        sides = Sides(
            self.leases,
            self.listing.identify,
            Operator(operator_token(self._local_key), self.status),
            resource_metadata(self.config.identity, self.config.agents),
            ApprovalsApi(self.approving.desk, PeopleDoor(self._tokens, self.clock).identify, self.clock),
        )
        self.asgi: Asgi = build_asgi(endpoint, guard, sides)

    def _lends(self, server: str) -> Mapping[str, Any]:
        """Return what clients can be asked for by a server, as far as some policy lets it ask some agent."""
        bundle = self.rules.current.bundle
        methods = {method for agent in bundle.agents for method in may_ask(bundle, _as_agent(agent), server)}
        return {(name := method.partition("/")[0]): _MODES.get(name, {}) for method in sorted(methods)}

    async def _refused(self, request: CallRequest, error: IdentityFault) -> None:
        await self.runner.refuse(request, error)

    def _challenge(self, fault: IdentityFault, presented: bool) -> str:
        served = resource_metadata(self.config.identity, self.config.agents) is not None
        return challenge(fault, presented=presented, resource=self.config.identity.resource if served else None)

    def _noted(self, call: Call, outcome: Outcome) -> None:
        identity = call.identity if call.has("identity") else None
        tool = call.tool.name if call.has("tool") else ""
        self.inventory.saw(identity, call.request.caller.client, tool, refused=not isinstance(outcome, Succeeded))
        if call.has("facts"):
            self._runs.count(call.facts.run.id)

    def _quarantined(self, server: str, tool: str) -> str:
        found = self.rules.current.catalog.find(canonical_name(server, tool))
        return found.quarantined if found is not None else ""

    def _servers_changed(self, live: Mapping[str, Live]) -> None:
        """A server answered with other tools than before: new servers are pinned, drift is quarantined."""
        lock = pin_new(self._lock, live, self.config.tools)
        if lock != self._lock:
            lock.write(self.home.lock)
            self._lock = lock
        self._swap(self.config, live)

    def _swap(self, config: GatewayConfig, live: Mapping[str, Live]) -> None:
        """Put new rules in force; when the policies do not load, the old ones stay, over the new catalog."""
        try:
            self.rules.current = build_rules(config, self.home, self._lock, live)
            self.policy_problem = ""
        except PolicyLoadError as error:
            self.policy_problem = str(error)
            _LOG.log(self._loud, "the policies do not load, those in force stay:\n%s", error)
            self.rules.current = recatalogued(self.rules.current, config, self._lock, live)
        self.notices.tools_changed()

    async def reload(self, config: GatewayConfig) -> str:
        """Go by a new configuration from now on; return what is wrong with it, and then the old one stays in force.

        Agents, policies, tool rules, the lock and servers' credentials change at once. Servers and the address change
        with a restart.
        """
        try:
            lock = pin_new(Lock.read(self.home.lock), self.survey.live, config.tools)
            rules = build_rules(config, self.home, lock, self.survey.live)
        except (LockError, PolicyLoadError) as error:
            self.policy_problem = str(error)
            return str(error)
        self._lock, self.rules.current, self.config, self.policy_problem = lock, rules, config, ""
        for sought in sought_in(config.mcpServers, load_connectors()):
            self.credentials.follow(sought)
        self.notices.tools_changed()
        self.authenticator.replace(config.agents)
        await self._index()
        return ""

    async def _index(self) -> None:
        for tool, paths in self.rules.current.bundle.prior_indexes:
            await self.store.index_steps(tool, paths)

    def status(self) -> dict[str, Any]:
        """Return how every server stands, and what is wrong with the policies and with following the files, as JSON."""
        tools = self.rules.current.catalog.tools()
        breakers = self.executor.breakers()
        return {
            "policy_problem": self.policy_problem,
            "files_problem": self.files_problem,
            "bundle": self.rules.current.bundle.digest,
            "credentials": self.credentials.status(),
            "paused": [pause.scope for pause in self.pauses.now()],
            "servers": {
                name: {
                    "state": str(health.state),
                    "error": health.error,
                    "breaker": str(breakers.get(name, "closed")),
                    "tools": sum(tool.server == name and not tool.quarantined for tool in tools),
                    "quarantined": {t.name: t.quarantined for t in tools if t.server == name and t.quarantined},
                }
                for name, health in self.upstreams.health().items()
            },
        }

    async def _drain(self) -> None:
        self.admission.stop()
        await self._owned.drain(_DRAIN_S)
        await self.inventory.flush()

    def stop(self) -> None:
        """End the streams that have no end of their own, and have no call wait for its client's answer any longer."""
        for end in self._ends:
            end()

    async def close(self) -> None:
        """Stop admitting, let calls under way end, and leave nothing behind. Works after a failed `start`."""
        self.stop()
        await self._stack.aclose()
