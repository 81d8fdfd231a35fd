"""The life of a running gateway: start, reload, status, close."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from gateway.app.front import Asgi, Front, build_front
from gateway.app.opening import connect
from gateway.app.parts import Parts
from gateway.app.pipeline import build_runner
from gateway.catalog.catalog import Catalog, pin_new
from gateway.catalog.lock import Lock, LockError
from gateway.config.model import GatewayConfig
from gateway.connector.about import UNSAID
from gateway.connector.registry import fixed_in, load_connectors, sought_in
from gateway.home import Home
from gateway.ledger.latency import ended_calls
from gateway.ledger.retention import Retention
from gateway.model.call import Call
from gateway.model.clock import Clock, SystemClock
from gateway.model.outcome import Failed, Outcome, Succeeded, Unknown
from gateway.pipeline.tracing import Tracing
from gateway.policy import PolicyLoadError, open_to_any
from gateway.redaction.redactor import Redactor
from gateway.resilience.config import Objective
from gateway.resilience.slo import Expected, ServiceLevels
from gateway.rulebook import build_rules, read_policies, undecided_in
from gateway.telemetry.calls import CallCounts
from gateway.transport.guard import Guard

__all__ = ["Gateway"]

_LOG = logging.getLogger(__name__)
_FIRST_ANSWER_S: Final = 5.0
_FIRST_RULES_S: Final = 30.0
_DRAIN_S: Final = 12.0
"""How long calls under way may go on once the gateway stops; its server waits longer, to take their answers out."""
_LAST_S: Final = 3.0


class Gateway(Parts):
    """A running gateway. `asgi` serves it; `reload` swaps its rules; `close` drains and stops it."""

    def __init__(self, config: GatewayConfig, home: Home, redactor: Redactor, clock: Clock | None = None) -> None:
        super().__init__(config, home, redactor, clock or SystemClock())
        self._stack = AsyncExitStack()
        self._front: Front | None = None
        self._draining: asyncio.Future[int] | None = None
        if config.metrics is not None:
            self.counts = CallCounts(self.clock.now_ms())
        self._levels = ServiceLevels(self._expected(), self.store, self.clock)
        self._started_with: Mapping[str, Any] = {}

    def _objective(self, server: str) -> Objective | None:
        return self.config.objective(server)

    def _expected(self) -> Expected:
        return Expected(
            lambda: self.config.mcpServers,
            self._objective,
            partial(ended_calls, self.store),
            lambda server: self.rules.current.abouts.get(server, UNSAID),
        )

    async def start(self, host: str, port: int) -> None:
        """Open the store, check its chain, settle what a crash left, connect to the servers; served at `host:port`.

        Raises:
            LedgerTampered: the chain does not hold; nothing is served.
            StoreFault: the store cannot be opened.
            ConnectorLoadError: a configured connector is not installed.
        """
        self._stack.push_async_callback(self.store.close)
        self._stack.push_async_callback(self.keys.close)
        self._started_with = _fixed(self.config)
        await self.store.open()
        await self.store.verify()
        if self.heads is not None:
            await self.heads.check()
            self._stack.push_async_callback(self.heads.close)
            self._background(self.heads.watch(self.config.ledger.pace))
        alive = await self.task_requests.tasks.revive()
        recovered = await self.recorder.recover(lambda recorded: recorded.call_id in alive, self.doubts.is_read)
        await self.fact_tools.settle(recovered)
        await self._index()
        self._stack.push_async_callback(self.credentials.close)
        self._stack.push_async_callback(self.builds.close)
        self.hooks.receivers.update(connect(self.config, self.upstreams, self.survey, self.surroundings))
        await self.hooks.restore()
        self._stack.push_async_callback(self.upstreams.close)
        self.notices.listen(self.elicited, self.task_requests.tasks)
        self._background(self.upstreams.open())
        await self._first_answers()
        self._loud = logging.ERROR
        if self.policy_problem:
            _LOG.error("the policies do not load, every call is denied until they do:\n%s", self.policy_problem)
        for known in (self.tokens, self.children, self.pauses, self.runs):
            await known.refresh()
        for work in self._watches():
            self._background(work)
        self._stack.push_async_callback(self._drained)
        self.runner = build_runner(self, self._noted)
        self._background(self.task_requests.tasks.run())
        self._background(self.task_requests.parked.run())
        guard = Guard.build(host, port, self.config.server.public_url or "")
        self.pages.site.serve_at(host, port, self.config.server.public_url or "")
        self._front = build_front(self, guard, self.status)
        self._background(self.doubts.watch(self.runner.run, recovered))
        self.asgi: Asgi = self._front.asgi

    def _watches(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what goes on beside the calls for as long as the gateway runs."""
        tracing = Tracing(self.store, self.config.traces, self.home.private, self.outbox.telling)
        return (
            self.tokens.watch(),
            self.children.watch(),
            self.pauses.watch(),
            self.runs.watch(),
            self.inventory.watch(),
            self.survey.watch(self.upstreams),
            self.notices.run(),
            self.approving.watch(),
            Retention(self.store, lambda: self.config.ledger.retention.bodies_ms, self.clock).watch(),
            self.probing.watch(),
            self.drift.watch(),
            self._levels.watch(),
            self.shaping.watch(),
            self.outbox.watch(),
            tracing.watch(self.config.server.environment, self.clock),
            self.strangers.watch(),
        )

    async def _first_answers(self) -> None:
        """Wait, within bounds, for servers that were never pinned; the others are listed as they were approved."""
        unknown = [name for name in self.config.mcpServers if name not in self.lock.servers]
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ANSWER_S):
                await asyncio.gather(*(self.upstreams.get(name).open() for name in unknown))
        with suppress(TimeoutError, OSError):  # whoever cannot write gateway.lock is told by the survey
            async with asyncio.timeout(_FIRST_RULES_S):
                await self.builds.done()

    def _background(self, work: Awaitable[None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)
        task.add_done_callback(_tell_of_its_end)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)
        return task

    def _noted(self, call: Call, outcome: Outcome) -> None:
        caller, identity = call.request.caller, getattr(call, "identity", None)
        try:
            tool, run_id = call.tool.name, call.facts.run.id
        except AttributeError:  # it did not come so far
            tool, run_id = call.tool.name if call.has("tool") else "", ""
        if identity is None or caller.credential.kind != "none":  # else the gateway asks in its name
            refused = type(outcome) is not Succeeded
            self.inventory.saw(identity, caller.client, tool, refused=refused, at_ms=call.received_ms)
        if type(outcome) is Unknown and call.tool.lookup is not None:
            self.doubts.open.add(call.takes_over.call_id if call.takes_over is not None else call.id)
        if self.config.slo and call.has("attempts"):
            code = outcome.error.code if isinstance(outcome, Failed | Unknown) else ""
            self._levels.count(tool, code, call.attempts)
        if self.counts is not None:
            self.counts.count(call, outcome, self.clock.now_ms())
        if run_id:
            self.runs.count(run_id)

    async def reload(self, config: GatewayConfig) -> str:
        """Go by a new configuration from now on; return what is wrong with it, and then the old one stays in force.

        Agents, policies, tool rules, the lock and servers' credentials change at once. Servers, what is in their
        environment, the address, and whatever else only a start heeds change with a restart; what is due is said.
        """
        async with self.builds.turn:
            live = self.survey.live
            try:
                lock = (await asyncio.to_thread(Lock.read, self.home.lock)).begun_with(self.lock.decided)
                lock = await asyncio.to_thread(pin_new, lock, live, config.tools)
                written = await asyncio.to_thread(read_policies, config, self.home, lock, self.trial)
                rules = await asyncio.to_thread(build_rules, config, written, lock, live, self.rules.current)
            except (LockError, PolicyLoadError) as error:
                self.policy_problem = self.refused_problem = str(error)
                return str(error)
            self.lock, self.rules.current, self.config, self.written = lock, rules, config, written
            self.policy_problem = self.refused_problem = ""
            self.built_from(live)
        for sought in sought_in(config.mcpServers, load_connectors()):
            self.credentials.follow(sought)
        self.authenticator.replace(config.agents)
        await self._index()
        if due := self.restart_due():
            _LOG.warning("%s changed: that counts from the next start of the gateway", ", ".join(due))
        return ""

    def restart_due(self) -> list[str]:
        """Return what the configuration says otherwise since the gateway was started, and what only a start heeds."""
        was, now = self._started_with, _fixed(self.config)
        return [name for name in {**was, **now} if was.get(name) != now.get(name)]

    async def _index(self) -> None:
        for tool, paths in self.rules.current.bundle.prior_indexes:
            await self.store.index_steps(tool, paths)

    def status(self) -> dict[str, Any]:
        """Return how every server stands, and what is wrong with the policies and with following the files, as JSON."""
        usable, held = _by_server(self.rules.current.catalog)
        breakers, abouts = self.executor.breakers(), self.rules.current.abouts
        new = {each.server for each in undecided_in(self.config, self.lock)}
        return {
            "policy_problem": self.policy_problem,
            "files_problem": self.files_problem,
            "restart_due": self.restart_due(),
            "store_problem": self.store.trouble(),
            "bundle": self.rules.current.bundle.digest,
            "credentials": self.credentials.status(),
            "events_problems": self.outbox.problems,
            "wildcards": open_to_any(self.rules.current.bundle),
            "paused": [pause.scope for pause in self.pauses.now()],
            "servers": {
                name: {
                    "state": str(health.state),
                    "since_ms": health.since_ms,
                    "error": health.error,
                    "about": abouts[name].told() if name in abouts else {},
                    "undecided": name in new,
                    "probe": self._probed(name),
                    "slo": self._levels.standing(name),
                    "breaker": str(breakers[name].state) if name in breakers else "closed",
                    "breaker_open_for": breakers[name].open_for if name in breakers else 0,
                    "tools": usable[name],
                    "quarantined": held.get(name, {}),
                }
                for name, health in self.upstreams.health().items()
            },
        }

    def _probed(self, server: str) -> dict[str, Any] | None:
        probed = self.upstreams.get(server).probed
        return None if probed is None else asdict(probed)

    async def _drained(self) -> None:
        if self._draining is not None:
            await self._draining
        await self.owned.drain(_LAST_S)  # what was put on record of the rest
        await self.inventory.flush()

    def stop(self) -> None:
        """Admit nothing more, end the streams that have no end of their own, and give calls under way a while to end.

        What has not ended by then is in doubt, and its client is told so. No call waits for its client's answer.
        Bridges are let go once no call is under way: until then they begin no other gateway.
        """
        if self._front is None or self._draining is not None:
            return
        for end in self._front.ends:
            end()
        self.admission.stop()
        self._draining = asyncio.ensure_future(self.owned.drain(_DRAIN_S))
        self._draining.add_done_callback(lambda drained: self.leases.ended.set())

    async def close(self) -> None:
        """Stop admitting, let calls under way end, and leave nothing behind. Works after a failed `start`."""
        self.stop()
        await self._stack.aclose()


def _by_server(catalog: Catalog) -> tuple[Counter[str], dict[str, dict[str, str]]]:
    """Return how many tools of each server may be called, and why the others may not."""
    usable: Counter[str] = Counter()
    held: dict[str, dict[str, str]] = {}
    for tool in catalog.tools():
        if tool.quarantined:
            held.setdefault(tool.server, {})[tool.name] = tool.quarantined
        else:
            usable[tool.server] += 1
    return usable, held


def _tell_of_its_end(task: "asyncio.Future[None]") -> None:
    """Tell of what ends by an error, and not with the gateway: nobody waits for what goes on beside the calls."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("a part of the gateway has stopped; restart it, and report this", exc_info=error)


def _fixed(config: GatewayConfig) -> Mapping[str, Any]:
    """Return what of a configuration counts from a start on."""
    registry = load_connectors()
    servers = {f"mcpServers.{name}": fixed_in(section, registry) for name, section in config.mcpServers.items()}
    return {
        "server": config.server.model_dump(exclude={"new_servers", "list_limit", "result_limit"}),
        "identity": config.identity.model_dump(include={"local_key", "clock_skew", "trust_domain"}),
        "ledger": config.ledger.model_dump(exclude={"retention", "imported"}),
        "metrics": config.metrics is None,
        **{name: getattr(config, name) for name in ("approvals", "events", "resilience", "traces")},
        **servers,
    }
