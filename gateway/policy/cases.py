"""Policy tests as data: a request, a history, and what must come of it (`toolgate policy test`)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.codec import digest
from gateway.model.answers import Label
from gateway.model.decision import Decision
from gateway.model.facts import Approver, FactKey, Facts, Held, PriorQuery, PriorScope, RunRef, Step, StepStatus
from gateway.model.identity import Child, Identity
from gateway.model.operation import operation_named
from gateway.model.problem import Problem
from gateway.model.tool import Effect, Tool, Traits
from gateway.policy.bundle import Bundle
from gateway.policy.config import Duration, StandingSection
from gateway.policy.decide import decide
from gateway.policy.entities import AgentEntity, ServerEntity
from gateway.policy.given import Approval, Question, Surroundings, approving_input, compose
from gateway.policy.prior import duration_ms
from gateway.policy.problem import PolicyLoadError
from gateway.policy.remedy import value_at

__all__ = ["Case", "CaseFile", "CaseResult", "read_cases", "run_cases"]

_NOW: Final = 1_767_225_600_000
_STATUSES: Final[Mapping[str, StepStatus]] = {
    "ok": StepStatus.SUCCEEDED,
    "error": StepStatus.FAILED,
    "executing": StepStatus.EXECUTING,
    "unknown": StepStatus.UNKNOWN,
    "compensated": StepStatus.COMPENSATED,
}


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseTool(_Data):
    """A tool that the cases are about."""

    effect: Effect = Field(description="read, write or irreversible.")
    input: dict[str, Any] = Field(default_factory=dict, description="Its input schema.")
    output: dict[str, Any] | None = Field(default=None, description="Its output schema.")
    annotations: dict[str, Any] = Field(default_factory=dict, description="The hints of its server.")
    trusted: bool = Field(default=False, description="Whether a person vouched for those hints.")
    traits: Traits = Field(default=Traits(), description="What the operator says of it beside its effect.")
    groups: tuple[str, ...] = Field(default=(), description="Its tool groups.")
    undo: str = Field(default="", description="The tool that undoes it.")
    quarantined: str = Field(default="", description="Why it may not be called, if so.")


class CaseAgent(_Data):
    """An agent that the cases are about."""

    owner: str = Field(default="", description="Who answers for it.")
    teams: tuple[str, ...] = Field(default=(), description="Its teams.")
    roles: tuple[str, ...] = Field(default=(), description="Its roles.")


class CasePerson(_Data):
    """A person who approves."""

    teams: tuple[str, ...] = Field(default=(), description="Their teams.")
    roles: tuple[str, ...] = Field(default=(), description="Their roles.")


class Past(_Data):
    """An earlier call."""

    call: str = Field(description="The tool that was called.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="With which arguments.")
    output: dict[str, Any] | None = Field(default=None, description="Its structured result.")
    status: Literal["ok", "error", "executing", "unknown", "compensated"] = Field(
        default="ok", description="How it ended."
    )
    ago: Duration | None = Field(default=None, description="How long ago; just now if absent.")
    ahead: Duration | None = Field(default=None, description="How far in the future, to test clocks that went back.")
    by: str | None = Field(default=None, description="The agent that made it; the case's agent if absent.")
    other_run: bool = Field(default=False, description="Whether it belongs to another run and session.")
    consumed: bool = Field(default=False, description="Whether another call used it up.")
    labels: tuple[Label, ...] = Field(default=(), description="What its answer is labelled: incomplete, stale.")


class CaseApproval(_Data):
    """A person's consent."""

    by: str = Field(description="Who gave it.")
    args_match: bool = Field(default=True, description="Whether it was given for these arguments.")
    quorum: int = Field(default=1, description="How many people gave it.")


class CaseGrant(_Data):
    """Access that people opened to calls like it."""

    by: str = Field(description="Who opened it.")


class CaseDelegation(_Data):
    """What the agent handed on to a child that makes the call."""

    name: str = Field(default="child", description="The child's name; the agent's own goes before it.")
    depth: int = Field(default=1, description="How many generations it stands below the agent.")
    scopes: tuple[str, ...] = Field(default=("*",), description="What it was given, by name or pattern.")

    def child_of(self, agent: str, run_id: str) -> Child:
        """Return the child."""
        return Child("case", f"{agent}:{self.name}", run_id, self.scopes, self.depth)


class Around(_Data):
    """What else bears on the decision."""

    environment: str = Field(default="production", description="The gateway's environment.")
    on_behalf_of: str | None = Field(default=None, description="The user the agent acts for.")
    delegation: CaseDelegation | None = Field(default=None, description="That a child of the agent makes the call.")
    taint: tuple[str, ...] = Field(default=(), description="The labels of what the run has read.")
    approval: CaseApproval | None = Field(default=None, description="A person's consent, if any.")
    grant: CaseGrant | None = Field(default=None, description="The access that people opened, if any.")
    calls_left: int | None = Field(default=None, description="What is left of a budget, if there is one.")
    cost_left: str = Field(default="0.0", description="What is left of its cost.")
    facts: dict[str, Any] = Field(default_factory=dict, description="The declared facts that hold, by name.")
    confidence: str | None = Field(
        default=None, pattern=r"^[01]\.\d{1,4}$", description="How sure the agent says it is, if it does: 0.85."
    )
    dry_run: bool = Field(default=False, description="Whether the call is only decided.")


class Case(_Data):
    """One call and what must come of it."""

    it: str = Field(description="What the case shows, as a sentence.")
    agent: str = Field(description="Who calls.")
    call: str = Field(description="Which tool, or operation: files.resources/read.")
    approver: str | None = Field(
        default=None, description="A person: then whether they may approve the call is what is decided."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="With which arguments.")
    history: tuple[Past, ...] = Field(default=(), description="What happened before, oldest first.")
    around: Around = Field(default_factory=Around, description="What else bears on the decision.")
    expect: Literal["allow", "needs_precondition", "needs_approval", "deny"] = Field(
        description="What must be decided; deny is a refusal that neither an earlier step nor an approval would turn."
    )
    reasons: tuple[str, ...] | None = Field(default=None, description="The ids of the policies that must decide it.")
    obligations: tuple[str, ...] | None = Field(
        default=None, description="What an allowed call must carry, or whose approval it needs: approval:finance-leads."
    )


class CaseFile(_Data):
    """Cases, and the tools and agents they are about where they do not use the gateway's own."""

    tools: dict[str, CaseTool] = Field(default_factory=dict, description="Tools by canonical name.")
    servers: dict[str, StandingSection] = Field(default_factory=dict, description="Their servers: trust, quarantined.")
    agents: dict[str, CaseAgent] = Field(default_factory=dict, description="Agents by name.")
    people: dict[str, CasePerson] = Field(default_factory=dict, description="People by name.")
    facts: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Declared facts by name: the JSON Schema of each."
    )
    beside: str = Field(default="", description="Cedar to load beside the policies under test.")
    cases: tuple[Case, ...] = Field(description="The cases.")

    def pinned(self) -> tuple[Tool, ...]:
        """Return the file's tools as the catalog would pin them."""
        return tuple(_tool(name, tool) for name, tool in self.tools.items())

    def standing(self) -> tuple[ServerEntity, ...]:
        """Return the file's servers; what it does not tell of is not trusted."""
        return tuple(ServerEntity(name, one.trust, one.quarantined) for name, one in self.servers.items())

    def registered(self) -> tuple[AgentEntity, ...]:
        """Return the file's agents."""
        return tuple(AgentEntity(name, one.owner, one.teams, one.roles) for name, one in self.agents.items())

    def person(self, name: str) -> Approver:
        """Return a person; one whom the file does not tell of is in no team and has no role."""
        found = self.people.get(name, CasePerson())
        return Approver(name, found.roles, found.teams)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case. `got` (a `Ruling`) and `reasons` are what was decided; `why` what is wrong, or is empty."""

    case: Case
    got: str
    reasons: tuple[str, ...]
    why: str

    @property
    def passed(self) -> bool:
        return not self.why


def read_cases(name: str, text: str) -> CaseFile:
    """Read a file of cases, YAML or JSON; `name` is for the messages.

    Raises:
        PolicyLoadError: with every place that is wrong.
    """
    try:
        return CaseFile.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        reason = getattr(error, "problem", None) or "not YAML"
        raise PolicyLoadError([Problem(name, line, column, "yaml", str(reason), "correct the file.")]) from None
    except ValidationError as error:
        problems = [
            Problem(name, 0, 0, "cases", f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}", "correct it.")
            for one in error.errors()
        ]
        raise PolicyLoadError(problems) from None


def run_cases(bundle: Bundle, cases: CaseFile) -> tuple[CaseResult, ...]:
    """Decide every case by `bundle`, in order."""
    return tuple(_run(bundle, case, cases.person) for case in cases.cases)


def _run(bundle: Bundle, case: Case, person: Callable[[str], Approver]) -> CaseResult:
    tool = operation_named(case.call) or bundle.tools.get(case.call)
    if tool is None:
        return CaseResult(case, "deny", (), f"there is no tool {case.call!r}")
    handed = case.around.delegation
    child = None if handed is None else handed.child_of(case.agent, "run_case")
    identity = Identity(case.agent, "local", "case", on_behalf_of=case.around.on_behalf_of, child=child)
    run = RunRef("run_case", case.agent, "open")
    priors = {query.name: step for query in bundle.priors_for(tool.name) for step in _latest(case, query)}
    held = {name: Held(FactKey("run", run.id, name), 1, value) for name, value in case.around.facts.items()}
    facts = Facts(
        _NOW,
        run,
        step=len(case.history),
        priors=priors,
        environment=case.around.environment,
        held=held,
        confidence=case.around.confidence,
        dry_run=case.around.dry_run,
    )
    question = Question(identity, tool, case.arguments, facts, _around(case.around, person))
    asks = None if case.approver is None else person(case.approver)
    decision = decide(bundle, compose(bundle, question) if asks is None else approving_input(bundle, asks, question))
    return CaseResult(case, str(decision.ruling), decision.policies, _difference(case, decision))


def _difference(case: Case, decision: Decision) -> str:
    got = "allow" if decision.allowed else str(decision.ruling)
    if got != case.expect:
        return f"expected {case.expect}, got {got} by {_listed(decision.policies)}. {decision.message}".strip()
    if case.reasons is not None and sorted(case.reasons) != sorted(decision.policies):
        return f"expected it by {_listed(case.reasons)}, got it by {_listed(decision.policies)}"
    carried = tuple(f"{kind}:{value}" for kind, value in decision.obligations)
    if case.obligations is not None and sorted(case.obligations) != sorted(carried):
        return f"expected it with {_listed(case.obligations, 'nothing')}, got it with {_listed(carried, 'nothing')}"
    return ""


def _listed(names: tuple[str, ...], none: str = "no policy") -> str:
    return ", ".join(names) or none


def _around(around: Around, person: Callable[[str], Approver]) -> Surroundings:
    given = around.approval
    approval = None
    if given is not None:
        approval = Approval(given.by, _NOW, given.args_match, given.quorum, (person(given.by),))
    opened = around.grant
    grant = None if opened is None else Approval(opened.by, _NOW, True, 1, (person(opened.by),))
    return Surroundings(around.taint, around.calls_left, around.cost_left, approval, grant)


def _latest(case: Case, query: PriorQuery) -> Iterator[Step]:
    """Yield the latest started step that a query finds in the case's history, if any."""
    steps = [_step(case, past, number) for number, past in enumerate(case.history) if _matches(case, past, query)]
    if query.within_ms is not None:
        steps = [step for step in steps if step.started_at_ms >= _NOW - query.within_ms]
    if steps:
        yield max(steps, key=lambda step: step.started_at_ms)


def _matches(case: Case, past: Past, query: PriorQuery) -> bool:
    same_run = query.scope not in {PriorScope.RUN, PriorScope.SESSION} or not past.other_run
    same_agent = query.scope is not PriorScope.AGENT or past.by in {None, case.agent}
    bound = (
        (value_at(past.arguments, tuple(step.split("."))), value_at(case.arguments, tuple(argument.split("."))))
        for step, argument in query.bindings
    )
    return (
        past.call == query.tool
        and same_run
        and same_agent
        and all(one and other and _same(one[0], other[0]) for one, other in bound)
    )


def _same(one: Any, other: Any) -> bool:
    """Tell whether two JSON scalars are equal: 250 is 250.0, 7 is not "7", 1 is not true."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


def _step(case: Case, past: Past, number: int) -> Step:
    offset = duration_ms(past.ahead) if past.ahead else -duration_ms(past.ago) if past.ago else 0
    return Step(
        call_id=f"call_{number}",
        tool=past.call,
        agent=past.by or case.agent,
        run_id="run_other" if past.other_run else "run_case",
        status=_STATUSES[past.status],
        started_at_ms=_NOW + offset,
        at_ms=_NOW + offset,
        arguments=past.arguments,
        output=past.output,
        consumed_by="call_other" if past.consumed else None,
        labels=past.labels,
    )


def _tool(name: str, tool: CaseTool) -> Tool:
    server, _, upstream = name.partition(".")
    definition = {"name": upstream, "inputSchema": tool.input, "annotations": tool.annotations}
    return Tool(
        name=name,
        wire_name=name.replace(".", "_"),
        server=server,
        upstream_name=upstream,
        version=1,
        digest=digest(definition),
        effect=tool.effect,
        definition=definition,
        input_schema=tool.input,
        output_schema=tool.output,
        annotations_trusted=tool.trusted,
        quarantined=tool.quarantined,
        groups=tool.groups,
        undo=tool.undo,
        traits=tool.traits,
    )
