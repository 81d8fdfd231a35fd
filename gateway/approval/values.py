"""What an approval is: for which call, who said what, and until when it counts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.codec import digest
from gateway.store.approvals import ApprovalState, ApprovalTrail

__all__ = ["Approval", "ApprovalRefused", "Bound", "Vote", "approval_from"]


class ApprovalRefused(Exception):
    """What a person asked of an approval is not done; `code` is stable, the text says why and what would do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Bound:
    """The one call that an approval is for. Whatever differs in one of these is another call.

    `run` is empty where the caller did not name the run: a conversation ends, and the approval outlives it. `child` is
    the delegation under which the call was made, empty where an agent made it as itself.
    """

    agent: str
    on_behalf_of: str
    tool: str
    tool_digest: str
    arguments_digest: str
    bundle: str
    run: str = ""
    child: str = ""

    @property
    def digest(self) -> str:
        """All of it in one text."""
        told = asdict(self)
        return digest(told if self.child else {name: each for name, each in told.items() if name != "child"})


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's consent, or with `yes` False their refusal.

    `channel` is how they gave it, and with that what showed who they are: `token` (the HTTP API), `page (token)` and
    `page (login at ISSUER)`, `local-cli` (the gateway's own operating-system user says so), `elicitation` (whoever
    holds the client). It is empty in what was recorded before that was.
    """

    by: str
    yes: bool
    at_ms: int
    why: str = ""
    channel: str = ""

    def told(self) -> dict[str, Any]:
        """Return it as events and people are told it."""
        told = asdict(self)
        return told if self.channel else {name: each for name, each in told.items() if name != "channel"}


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval, pending or whatever became of it.

    `who` and `quorum` say whom the policies ask, and how many of them. `votes` are the consents that stand, or last the
    refusal that ended it. `until_ms` is when it ends: while pending, for people; once approved, for the agent.
    `due_ms` is by when an answer was wanted, `overdue` that this went by and was told, `assigned` the person who is to
    give it, if one is. `asked` is the event that opened it, secrets taken out; `edited_to` the approval that took its
    place, `used_by` the call that used it last.
    """

    id: str
    state: ApprovalState
    version: int
    agent: str
    on_behalf_of: str
    tool: str
    run: str
    asked_ms: int
    expires_ms: int
    until_ms: int
    decided_ms: int
    votes: tuple[Vote, ...]
    used: int
    most: int
    standing: bool
    who: tuple[str, ...] = ()
    quorum: int = 1
    edited_to: str = ""
    used_by: str = ""
    due_ms: int = 0
    overdue: bool = False
    assigned: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def bound(self) -> Bound:
        """What it is bound to. Raises `KeyError` for a standing one, which is bound to a pattern."""
        return Bound(**self.asked["bound"])

    @property
    def child(self) -> str:
        """The delegation under which its call was made, or nothing; nothing where retention removed that."""
        return str(self.asked.get("bound", {}).get("child", ""))

    @property
    def consents(self) -> tuple[Vote, ...]:
        """The consents that stand."""
        return tuple(vote for vote in self.votes if vote.yes)

    def is_usable(self, now_ms: int) -> bool:
        """Tell whether a call may still rely on it."""
        return self.state is ApprovalState.APPROVED and self.used < self.most and now_ms < self.until_ms

    def is_pending(self, now_ms: int) -> bool:
        """Tell whether people can still decide it."""
        return self.state is ApprovalState.PENDING and now_ms < self.until_ms

    def status(self, now_ms: int) -> str:
        """Return in one word how it stands: a state, or `used`."""
        if self.used >= self.most:
            return "used"
        over = self.state in {ApprovalState.PENDING, ApprovalState.APPROVED} and now_ms >= self.until_ms
        return str(ApprovalState.EXPIRED if over else self.state)


_REMOVED: Final[Mapping[str, Any]] = {
    "expires_ms": 0,
    "asker": {"owner": ""},
    "effect": "",
    "decision": {"message": "removed by retention", "policies": []},
    "arguments": {},
    "arguments_digest": "",
    "tools": [],
    "where": [],
}
"""What stands in the place of what was asked, once its time is over."""


def approval_from(trail: ApprovalTrail) -> Approval:
    """Return the approval that these events tell of."""
    row, asked, decided = trail.row, trail.asked, trail.decided
    if "removed" in asked:
        asked = {**_REMOVED, **asked}
    return Approval(
        id=row.id,
        state=ApprovalState(row.state),
        version=row.version,
        agent=trail.agent,
        on_behalf_of=trail.on_behalf_of,
        tool=trail.tool,
        run=trail.run_id,
        asked_ms=trail.asked_ms,
        expires_ms=asked["expires_ms"],
        until_ms=row.until_ms,
        decided_ms=trail.decided_ms,
        votes=tuple(Vote(**vote) for vote in decided.get("votes", ())),
        used=row.used,
        most=row.most,
        standing=row.standing,
        who=tuple(asked.get("who", ())),
        quorum=asked.get("quorum", 1),
        edited_to=decided.get("edited_to", ""),
        used_by=trail.used_by,
        due_ms=asked.get("due_ms", asked["expires_ms"]),
        overdue=decided.get("overdue", False),
        assigned=decided.get("assigned", ""),
        asked=asked,
    )
