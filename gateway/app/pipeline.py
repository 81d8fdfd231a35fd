"""Builds the pipeline: the ten stages over the parts, and the tools the gateway offers itself."""

from collections.abc import Callable

from gateway.app.opening import issuer_of
from gateway.app.parts import Parts
from gateway.cache.results import ResultCache
from gateway.catalog.own_tools import READ_RESULT
from gateway.identity.delegations import Bounds, Delegations
from gateway.model.call import Call
from gateway.model.outcome import Outcome
from gateway.pipeline.delegating import Delegating
from gateway.pipeline.entry import Entry
from gateway.pipeline.finding import finding_tools
from gateway.pipeline.inflight import InFlight
from gateway.pipeline.joining import Joining
from gateway.pipeline.passports import Office
from gateway.pipeline.reading import Reading
from gateway.pipeline.run_tools import RunTools, Workbench
from gateway.pipeline.runner import Kit, Runner
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

__all__ = ["build_runner"]


def build_runner(parts: Parts, noted: Callable[[Call, Outcome], None]) -> Runner:
    """Return the pipeline over the parts; `noted` is told of every call once its outcome is recorded."""
    inflight, tasks = InFlight(), parts.task_requests.tasks
    environment = parts.config.server.environment
    recollections = parts.recollections
    joining = Joining(parts.rules, parts.clock, environment)
    bench = Workbench(parts.runs, parts.store, recollections, joining, parts.rules, parts.clock, parts.fact_tools)
    delegations = Delegations(
        parts.store,
        parts.children,
        lambda: Bounds(parts.config.identity.delegation, parts.config.agents),
        parts.clock,
        parts.ids,
    )
    office = Office(parts.store, issuer_of(parts.config, parts.signing), parts.rules, parts.clock, parts.ids)
    own: dict[str, OwnTool] = {
        **RunTools(bench).own_tools,
        **Delegating(delegations, parts.rules).own_tools,
        **office.own_tools,
        **finding_tools(parts.listing),
        READ_RESULT: parts.kept.read,
        **parts.approving.own_tools,
        **parts.fact_tools.own_tools,
        **parts.task_requests.own_tools,
        "resources/subscribe": nothing_more,
    }
    reading = Reading(
        ResultCache(parts.clock, parts.asking.told), parts.rules, parts.pauses, parts.redactor, parts.clock
    )
    given = parts.store, parts.tainting, recollections, parts.store, parts.looping
    past = Past(parts.store, parts.approving.consents, *given)
    stages = (
        Identify(parts.authenticator),
        Admit(parts.admission),
        Resolve(parts.rules, parts.pauses, tasks),
        Validate(parts.redactor.found_in),
        Gather(parts.rules, parts.runs, past, parts.clock, environment),
        Decide(inflight),
        Claim(
            parts.recorder,
            UnderWay(inflight, tasks, parts.doubts),
            parts.owned,
            parts.redactor,
            parts.approving.parking,
        ),
        Execute(parts.executor, parts.upstreams, own, parts.asking, reading),
        Check(parts.clock, parts.shaping, parts.doubts.confirm),
        Redact(parts.redactor),
    )
    kit = Kit(parts.recorder, inflight, parts.owned, parts.clock, parts.ids, noted, tasks, parts.strangers)
    runner = Runner(stages, kit)
    parts.task_requests.parked.made_by(runner.run)
    parts.approving.drafting.run = Entry(runner, parts.rules, parts.kept, parts.looping).run
    return runner
