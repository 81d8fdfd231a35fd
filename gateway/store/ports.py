"""What the concepts ask of storage. A method is one domain transition, one transaction, one hop.

Every transition of a call appends one event to the hash chain. `calls` rows only index and lock: arguments, decisions
and results live once, in the events. Every method raises `StoreFault` when the store cannot answer.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gateway.model.bill import Charge
from gateway.model.facts import PriorScope, Step, StepStatus
from gateway.model.light import light
from gateway.store.approvals import ApprovalStore, ApprovalUse
from gateway.store.budgets import BudgetStore, Settled, Shortage
from gateway.store.delegations import DelegationStore
from gateway.store.facts import FactStore, FactUse
from gateway.store.imports import ImportStore
from gateway.store.removable import Written
from gateway.store.retention import RetentionStore
from gateway.store.runs import RunStore
from gateway.store.sightings import AgentInventory
from gateway.store.spending import SpentStore
from gateway.store.taints import TaintStore
from gateway.store.tasks import TaskStore

__all__ = [
    "ClaimVerdict",
    "Claimed",
    "Ending",
    "Event",
    "EventFilter",
    "EventKind",
    "Events",
    "Intent",
    "Ledger",
    "PauseRecord",
    "PauseStore",
    "Record",
    "Recorded",
    "SessionRecord",
    "SessionStore",
    "StepLookup",
    "StepUse",
    "Store",
    "TokenRecord",
    "TokenStore",
]


class EventKind(StrEnum):
    """What an event says happened."""

    RUN_OPENED = "run.opened"
    RUN_BEGUN = "run.begun"  # a caller begins a run anew: its recorded steps are answered from the record
    RUN_CANCELLED = "run.cancelled"
    RUN_IMPORTED = "run.imported"  # its calls were made under another gateway, whose signed chain says so
    CALL_CLAIMED = "call.claimed"  # the intent: durable before anything is sent
    CALL_FINISHED = "call.finished"  # ends a claimed call
    CALL_SETTLED = "call.settled"  # a person or a look-up says how a call in doubt ended
    CALL_COMPENSATED = "call.compensated"  # another call took the effect of a succeeded one back
    RUN_PLACED = "run.placed"  # a conversation goes on in another run
    TASK_BEGUN = "task.begun"  # the server carries a claimed call out as a task; its ending is the call's
    TASK_CHANGED = "task.changed"
    TASKS_FORGOTTEN = "tasks.forgotten"  # they are over, and nobody asks for them any more
    CALL_RECORDED = "call.recorded"  # a whole call that needed no claim: a read, or a refusal
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_APPROVED = "approval.approved"  # one person's consent
    APPROVAL_DENIED = "approval.denied"
    APPROVAL_WITHDRAWN = "approval.withdrawn"  # somebody took a consent back before it was used
    APPROVAL_ASSIGNED = "approval.assigned"  # one person is to answer; others still may
    APPROVAL_OVERDUE = "approval.overdue"  # nobody has answered in the time that was set for it; it waits on
    APPROVAL_EDITED = "approval.edited"  # void: approved with other arguments, as another approval
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_VOIDED = "approval.voided"  # the policies or the tool are no longer those it was asked under
    APPROVAL_USED = "approval.used"  # follows the claim that used it
    APPROVAL_RETURNED = "approval.returned"  # the call that used it certainly did nothing
    STANDING_CREATED = "standing.created"
    STANDING_REVOKED = "standing.revoked"
    TAINT_MARKED = "taint.marked"  # follows the record of a call whose answer carried the labels
    TAINT_CLEARED = "taint.cleared"  # a person took responsibility for what a run has read
    WEBHOOK_RECEIVED = "webhook.received"  # a message of another system, before it is acknowledged
    USAGE_REPORTED = "usage.reported"  # tokens that an agent's models used up, as its telemetry says
    FACT_PUT = "fact.put"
    FACT_DELETED = "fact.deleted"
    FACT_CONTRADICTED = "fact.contradicted"  # another value holds: the put was not carried out
    DELEGATED = "agent.delegated"  # an agent handed a part of what it may do on; its call id is the delegation's
    WITHDRAWN = "agent.withdrawn"  # and took it back, or an operator did
    BUNDLE_KEPT = "bundle.kept"  # policies that decided calls after it; its call id is their digest
    HEAD_SIGNED = "head.signed"  # states, signed, which event came before it; its call id is "head"
    BODIES_REMOVED = "bodies.removed"  # the time that what they held was to be kept is over
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - the name of a kind
    TOKEN_REVOKED = "token.revoked"  # noqa: S105 - the name of a kind
    STATE_SPENT = "state.spent"  # something that is good for one use was used
    ROWS_ADOPTED = "rows.adopted"  # rows of an earlier version, which no events told of
    SHAPE_LEARNT = "shape.learnt"  # what the answers of a tool without a schema are like
    SHAPE_DRIFTED = "shape.drifted"  # one of them was not like that
    ADMIN = "admin"  # a schema approved, something stopped, a ledger accepted …


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the hash chain: `hash` = SHA-256 over `prev_hash` and every other field (store/chain.py)."""

    seq: int
    at_ms: int
    kind: EventKind
    call_id: str
    run_id: str
    agent: str
    on_behalf_of: str
    tool: str
    body: str = field(repr=False)
    prev_hash: str
    hash: str


@light
@dataclass(frozen=True, slots=True)
class StepLookup:
    """The latest *started* step of `tool` in a scope whose arguments hold `values` (path → JSON scalar).

    `owner` is the run id, session id, agent or user that `scope` names; an empty one owns nothing. Steps that started
    before `since_ms` do not count. Only claimed calls are steps: refusals never are, nor what was imported, unless
    `imported`. Values compare as JSON (7 is not "7", 250 is 250.0).
    """

    tool: str
    scope: PriorScope
    owner: str
    values: tuple[tuple[str, str | int | float | bool], ...]
    since_ms: int = 0
    imported: bool = False


@light
@dataclass(frozen=True, slots=True)
class StepUse:
    """A step the decision relied on: claim refuses as stale unless `lookup` still finds `call_id` in `status`.

    With `consume` the claim also marks it consumed, and refuses when another call has.
    """

    lookup: StepLookup
    call_id: str
    status: StepStatus
    consume: bool


@light
@dataclass(frozen=True, slots=True)
class Intent:
    """A call about to be made. `step_key` is unique per (agent, tool). `body` is the event's JSON object.

    `approval` is what people said to the call, `grant` the access that they had opened to it: the claim uses both.
    """

    call_id: str
    at_ms: int
    run_id: str
    session: str
    agent: str
    on_behalf_of: str
    tool: str
    arguments_digest: str
    step_key: str | None
    body: Mapping[str, Any] | Written = field(repr=False)
    uses: tuple[StepUse, ...] = ()
    approval: ApprovalUse | None = None
    grant: ApprovalUse | None = None
    charges: tuple[Charge, ...] = ()
    facts: tuple[FactUse, ...] = ()


class ClaimVerdict(StrEnum):
    """What became of an intent."""

    CLAIMED = "claimed"  # the row is ours: execute
    RECORDED = "recorded"  # the same step stands already, in any status: see `recorded`
    CONFLICT = "conflict"  # the same key with other arguments
    CONSUMED = "consumed"  # a single-use step was used by another call
    STALE = "stale"  # what the decision relied on is no longer so: a step, an approval, a fact. Decide again
    SHORT = "short"  # a budget has not enough left: see `short`


@light
@dataclass(frozen=True, slots=True)
class Recorded:
    """A claimed call as the ledger has it. `claim_body` and `end_body` are the events' JSON objects.

    `delivered` is the latest attempt at its run in which its answer reached its caller; 0 where it never did.
    """

    call_id: str
    tool: str
    agent: str
    run_id: str
    status: StepStatus
    arguments_digest: str
    step_key: str | None
    started_at_ms: int
    delivered: int
    claim_body: Mapping[str, Any] = field(repr=False)
    end_body: Mapping[str, Any] | None = field(default=None, repr=False)


@light
@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim; `recorded` is set for RECORDED and CONFLICT, `call_id` for CONSUMED (who used it)."""

    verdict: ClaimVerdict
    recorded: Recorded | None = None
    call_id: str = ""
    short: tuple[Shortage, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class Ending:
    """The outcome of a claimed call. `release` gives consumed steps and the step key back (nothing was sent).

    Then `returns` names the approvals that the call used, if any, and those are given back too. `compensates` is the
    call whose effect this one took back, if it succeeded. `charges` settle what was reserved; what none of them names
    stays reserved.
    `taint` are labels of its answer that are to follow its run and its principal.
    """

    call_id: str
    at_ms: int
    status: StepStatus
    body: Mapping[str, Any] | Written = field(repr=False)
    release: bool = False
    returns: tuple[str, ...] = ()
    compensates: str = ""
    charges: tuple[Settled, ...] = ()
    taint: tuple[str, ...] = ()


@light
@dataclass(frozen=True, slots=True)
class Record:
    """A whole call in one event: a read that needed no claim, or a refusal. `taint` as of an `Ending`."""

    call_id: str
    at_ms: int
    run_id: str
    agent: str
    on_behalf_of: str
    tool: str
    body: Mapping[str, Any] | Written = field(repr=False)
    kind: EventKind = EventKind.CALL_RECORDED
    taint: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read, in order of `seq`. `tool` may end in `*`. Times are inclusive start, exclusive end.

    Empty texts, no `kind` and a zero `until_ms` ask for nothing. `limit` is a maximum: the first, or with `latest` the
    last ones.
    """

    after_seq: int = 0
    call_id: str = ""
    run_id: str = ""
    agent: str = ""
    tool: str = ""
    kind: EventKind | None = None
    since_ms: int = 0
    until_ms: int = 0
    limit: int = 1000
    latest: bool = False


class Events(Protocol):
    """What can be read like a ledger."""

    def events(self, wanted: EventFilter) -> AsyncIterator[Event]:
        """Read events in order of `seq`."""
        ...


class Ledger(Events, Protocol):
    """The append-only record of calls, and the locks on it."""

    def claim(self, intent: Intent) -> Awaitable[Claimed]:
        """Take the step key, check and consume `uses`, reserve `charges`, write the intent: all durable, or nothing.

        A FAILED row with the same key and arguments is superseded: the claim is CLAIMED.
        """
        ...

    def finish(self, ending: Ending) -> Awaitable[None]:
        """End a claimed call, durably. A call ends once: a second ending raises `StoreFault`.

        Where it succeeded and `compensates` a succeeded call, that one is compensated from now on, in one transaction.
        """
        ...

    async def settle(self, ending: Ending) -> None:
        """Say how a call in doubt ended, as `finish`; from now on it counts as that.

        Raises `StoreFault`: it is not in doubt.
        """
        ...

    def record(self, record: Record, *, durable: bool = True) -> Awaitable[None]:
        """Append a call that needed no claim: committed, so that it outlives the process, though not yet synced.

        With `durable` False it returns once the row is queued in order.
        """
        ...

    async def record_later(self, record: Record) -> None:
        """Queue a call that `record` could not write; it is written with the next transition that can be.

        Raises `StoreFault` when too many wait already.
        """
        ...

    async def steps(self, lookups: Sequence[StepLookup]) -> list[Step | None]:
        """Answer each lookup, in order. Raises `LedgerTampered` when an event behind an answer breaks its hash."""
        ...

    async def recorded(self, agent: str, tool: str, step_key: str) -> Recorded | None:
        """Return the claimed call that holds this step key, if any; hash-checked like `steps`."""
        ...

    async def deliver(self, call_id: str, attempt: int = 1) -> None:
        """Note, lazily, that the answer to a claimed call reached its caller, in which attempt at its run."""
        ...

    async def made(self, call_id: str) -> Recorded | None:
        """Return a call by its id, claimed or recorded in one piece; hash-checked like `steps`.

        One without a claim has its record as both bodies and counts as SUCCEEDED or FAILED.
        """
        ...

    async def unfinished(self) -> list[Recorded]:
        """Return calls claimed and never ended: after a restart, those in doubt."""
        ...

    async def in_doubt(self) -> list[Recorded]:
        """Return the calls whose outcome is not known, oldest first."""
        ...

    async def index_steps(self, tool: str, paths: tuple[str, ...]) -> None:
        """Make lookups of `tool` by these argument paths cheap, however long the ledger."""
        ...

    async def verify(self) -> int:
        """Check the whole chain and every call row against it; return the number of events.

        Raises:
            LedgerTampered: naming the first event (seq) that was changed, removed, inserted or moved.
        """
        ...


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An API token as stored: `digest` is a SHA-256 of the secret part, the token itself is nowhere."""

    id: str
    agent: str
    digest: str
    created_ms: int
    expires_ms: int
    revoked_ms: int | None = None


class TokenStore(Protocol):
    """API tokens. Each change is an event of the chain; another process's are seen by the next read.

    `by` is who made it.
    """

    async def put_token(self, token: TokenRecord, *, by: str = "") -> None:
        """Add a token; its id must be new."""
        ...

    async def revoke_tokens(self, agent: str, at_ms: int, *, keep: str = "", by: str = "") -> list[str]:
        """Revoke, as of `at_ms`, the agent's tokens except the id `keep`; return the revoked ids.

        That there were none is on record too, unless one was to be kept.
        `at_ms` may lie ahead (an overlap). A token that is revoked already, but only after `at_ms`, is revoked sooner.
        """
        ...

    async def tokens(self) -> list[TokenRecord]:
        """Return every token, revoked ones too."""
        ...


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """What an operator stopped. `scope` is `all` or `kind:name` (see gateway/pause); `since_ms` when, `by` who."""

    scope: str
    since_ms: int
    by: str
    reason: str = ""


class PauseStore(Protocol):
    """Kill switches. Each change is an event of the chain; another process's are seen by the next read."""

    async def put_pause(self, pause: PauseRecord) -> None:
        """Stop a scope, or say anew why and by whom."""
        ...

    async def end_pause(self, pause: PauseRecord) -> bool:
        """Let a scope go on, as told by `pause`; False where it was not stopped."""
        ...

    async def pauses(self) -> list[PauseRecord]:
        """Return what is stopped, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A client session of the handshake eras. `seen_ms` is when it was last written; `body` is a JSON object."""

    id: str
    seen_ms: int
    body: Mapping[str, Any] = field(repr=False)


class SessionStore(Protocol):
    """Client sessions, so that they outlive the process. Not part of the ledger: nothing is decided by them."""

    async def put_session(self, session: SessionRecord) -> None:
        """Add a session, or put it in the place of what was known of it."""
        ...

    async def find_session(self, session_id: str) -> SessionRecord | None:
        """Return a session, or None where there is none of that id."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Remove a session; nothing happens where there is none."""
        ...

    async def forget_sessions(self, before_ms: int) -> int:
        """Remove the sessions last written before `before_ms`; return how many."""
        ...


class Store(
    Ledger,
    RunStore,
    TokenStore,
    AgentInventory,
    SessionStore,
    PauseStore,
    ApprovalStore,
    SpentStore,
    TaskStore,
    BudgetStore,
    TaintStore,
    FactStore,
    RetentionStore,
    DelegationStore,
    ImportStore,
    Protocol,
):
    """One adapter serves every port."""

    async def open(self) -> None:
        """Connect and migrate. Whoever serves calls then awaits `verify()` before the first one."""
        ...

    def trouble(self) -> str:
        """Return why the last attempt to write failed, for an operator; nothing where it did not."""
        ...

    async def adopt_rows(self) -> None:
        """Take the rows of which sums are kept (store/sums.py) as they are, since somebody says that they are right."""
        ...

    async def close(self) -> None:
        """Write what is queued and disconnect; works after a failed `open`."""
        ...
