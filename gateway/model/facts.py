"""What already happened, as data for a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from gateway.model.bill import Left
from gateway.model.light import light

__all__ = [
    "Approval",
    "Approver",
    "Expected",
    "FactKey",
    "Facts",
    "Held",
    "PriorQuery",
    "PriorScope",
    "RunRef",
    "Step",
    "StepStatus",
]


class PriorScope(StrEnum):
    """How far back a precondition may look (POLICY.md §2)."""

    RUN = "run"
    SESSION = "session"
    AGENT = "agent"
    USER = "user"


class StepStatus(StrEnum):
    """The state of a recorded call (ARCHITECTURE.md §6)."""

    EXECUTING = "executing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    COMPENSATED = "compensated"  # it succeeded, and another call took its effect back


@dataclass(frozen=True, slots=True)
class PriorQuery:
    """One `@prior` annotation: which earlier step a policy wants to see.

    `name` is how policies refer to it (`context.prior.<name>`). `bindings` pairs a path in the earlier step's
    arguments with a path in this call's (`(("payment_id", "payment_id"),)`, dots separate nested properties).
    `within_ms` is None where the annotation states no bound. `once` means the step is consumed by the claim. `imported`
    means that a step made under another gateway is one too.
    """

    name: str
    tool: str
    bindings: tuple[tuple[str, str], ...]
    scope: PriorScope
    within_ms: int | None = None
    once: bool = False
    imported: bool = False


@light
@dataclass(frozen=True, slots=True)
class Step:
    """An earlier call, read back from the ledger and checked against its hash.

    `output` is the structured content of a succeeded call, else None. `consumed_by` is the call that used it up.
    `labels` say what to know of the output before acting on it (`incomplete`, `stale`). `started_at_ms` orders steps;
    `at_ms` is when it ended (or started, while executing).
    """

    call_id: str
    tool: str
    agent: str
    run_id: str
    status: StepStatus
    started_at_ms: int
    at_ms: int
    arguments: Mapping[str, Any] = field(repr=False)
    output: Mapping[str, Any] | None = field(default=None, repr=False)
    on_behalf_of: str | None = None
    consumed_by: str | None = None
    labels: tuple[str, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class RunRef:
    """The run a call belongs to. `source` says how it was found: handle, meta, header, key, session or open.

    `attempt` is how often the caller has begun it, and `since` the event with which it did last: what the run recorded
    before that is answered from the record.
    """

    id: str
    owner: str
    source: str
    status: str = "open"
    attempt: int = 1
    since: int = 0


@light
@dataclass(frozen=True, slots=True)
class Expected:
    """The first recorded step of a run that its caller, who began it anew, has not repeated. `n` counts from 1."""

    n: int
    tool: str
    call_id: str


@light
@dataclass(frozen=True, slots=True)
class Approver:
    """A person as policies see them."""

    name: str
    roles: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class Approval:
    """The consent that a call may rely on: for these very arguments, or (`standing`) for such as these.

    `by` are the people who gave it and may give it, the last one last; `at_ms` is when they had. `version` is what the
    claim holds it to.
    """

    id: str
    version: int
    by: tuple[Approver, ...]
    at_ms: int
    standing: bool = False


class FactKey(NamedTuple):
    """What a fact is called: `scope` is run, session, agent, user or team, `owner` which of them."""

    scope: str
    owner: str
    name: str


@light
@dataclass(frozen=True, slots=True)
class Held:
    """A fact that holds: what an agent put, in its present version (0 and None: there is none)."""

    key: FactKey
    version: int
    value: Any = field(repr=False)


@light
@dataclass(frozen=True, slots=True)
class Facts:
    """Everything about the past that this decision may use.

    `now_ms` is read once, so a decision can be replayed. `priors` maps a query's name to the latest started step that
    matches it; a name is absent where there is none. `step` counts the run's calls before this one. `repeat_of` is the
    recorded call this one repeats: then the facts are those the original was decided on. `approval` is what people said
    to this call, if they did; `grant` is the access that they opened beforehand to calls like it, where that is what
    lets it through. `budget` is what is left of its budgets, where it has any and a policy asks. `taint` are
    the labels of what its run and its principal have read. `expected` is set where a run begun anew takes another
    course than recorded. `held` are the declared facts that a policy asks for, by name. `confidence` is what the agent
    says of how sure it is, a decimal text from 0 to 1, where it says so and a policy asks. `dry_run` says
    that the call is only decided.
    """

    now_ms: int
    run: RunRef
    step: int = 0
    priors: Mapping[str, Step] = field(default_factory=dict)
    repeat_of: str | None = None
    environment: str = "production"
    approval: Approval | None = None
    grant: Approval | None = None
    budget: Left | None = None
    taint: tuple[str, ...] = ()
    expected: Expected | None = None
    held: Mapping[str, Held] = field(default_factory=dict)
    confidence: str | None = None
    dry_run: bool = False
