"""The life of an approval: opened, voted on, edited, expired; every change an event that is decided on the one before.

Nothing here knows a policy: whether some consents are enough is asked of whoever does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from gateway.approval.ring import Ring
from gateway.approval.standing import opens_access
from gateway.approval.values import Approval, ApprovalRefused, Bound, Vote, approval_from
from gateway.model.clock import Clock, IdSource
from gateway.store.approvals import (
    ApprovalAsk,
    ApprovalChange,
    ApprovalFilter,
    ApprovalState,
    ApprovalStore,
)
from gateway.store.ports import EventKind

__all__ = ["MOST_LISTED", "Approvals", "Enough", "Kept", "Page", "Wanted"]

Enough = Callable[[Approval, Sequence[Vote]], bool]
"""Tells whether these consents are all that the call needs."""

MOST_LISTED: Final = 1000
"""Approvals that are listed at once, unless more are asked for."""

_EVERYTHING: Final = 2**31 - 1
_POLL_S: Final = 0.25
_TRIES: Final = 20
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """How long people are asked, by when an answer is due, and how long what they said counts, in milliseconds."""

    expires_ms: int = 24 * 3_600_000
    use_within_ms: int = 3_600_000
    answer_within_ms: int = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which approvals to list, the newest first: those that are open, or all; at most `limit`.

    `before` is the id of the last one of an earlier list. Of standing ones, `access` lists those that open access or
    those that do not; None lists both.
    """

    standing: bool = False
    is_open: bool = True
    limit: int = MOST_LISTED
    before: str = ""
    access: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Approvals as they were listed; `next` is the `before` with which the list goes on, empty where this is all."""

    found: list[Approval]
    next: str = ""


class Approvals:
    """Every approval of one ledger. Two people who decide at once decide one after the other."""

    def __init__(self, store: ApprovalStore, clock: Clock, ids: IdSource, ring: Ring, kept: Kept = Kept()) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._ring = ring
        self.kept = kept
        self._next_due_ms = 0

    def now_ms(self) -> int:
        """Return what time it is for approvals."""
        return self._clock.now_ms()

    async def held(self, bound: Bound) -> Approval | None:
        """Return what was said, or is being asked, about exactly this call; nothing that is over."""
        trail = await self._store.held_approval(bound.digest, self._clock.now_ms())
        return None if trail is None else approval_from(trail)

    async def find(self, approval_id: str) -> Approval:
        """Return an approval. Raises `ApprovalRefused`: there is none."""
        trail = await self._store.find_approval(approval_id)
        if trail is None:
            raise ApprovalRefused("unknown_approval", f"There is no approval {approval_id!r}.")
        return approval_from(trail)

    async def listed(self, *, standing: bool = False, is_open: bool = True, limit: int = MOST_LISTED) -> list[Approval]:
        """Return approvals, the newest first."""
        return (await self.page(Wanted(standing, is_open, limit))).found

    async def standing(self, *, access: bool | None = None) -> list[Approval]:
        """Return every standing approval that is open, however many there are; `access` as in `Wanted`."""
        return (await self.page(Wanted(standing=True, limit=_EVERYTHING, access=access))).found

    async def page(self, wanted: Wanted) -> Page:
        """Return the approvals wanted, and how their list goes on. Raises `ApprovalRefused`: there is no `before`."""
        trail = await self._store.find_approval(wanted.before) if wanted.before else None
        if wanted.before and trail is None:
            raise ApprovalRefused("unknown_approval", f"There is no approval {wanted.before!r}.")
        found: list[Approval] = []
        now, before_seq = self._clock.now_ms(), 0 if trail is None else trail.row.asked_seq
        async for one in self._each(wanted.standing, wanted.is_open, before_seq):
            if wanted.is_open and one.until_ms <= now:
                continue
            if wanted.access is not None and opens_access(one) is not wanted.access:
                continue
            if len(found) == wanted.limit:
                return Page(found, found[-1].id)
            found.append(one)
        return Page(found)

    async def ask(self, bound: Bound, body: Mapping[str, Any], run_id: str) -> tuple[Approval, bool]:
        """Open an approval, or return the one that stands for the same call; and whether it was opened.

        `body` is the event's: who asked for what, `who` decides it and their `quorum`.
        """
        answered = await self._store.ask_approval(self._asked(bound, body, run_id))
        return approval_from(answered.trail), answered.opened

    async def decided(self, approval_id: str, patience_s: float) -> Approval:
        """Return an approval once it is not pending any more, or as it is after `patience_s`."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + patience_s
        with self._ring.listening(approval_id) as bell:
            while True:
                approval = await self.find(approval_id)
                left = ends - loop.time()
                if left <= 0 or not approval.is_pending(self._clock.now_ms()):
                    return approval
                bell.clear()
                try:
                    async with asyncio.timeout(min(left, _POLL_S)):  # another process may decide it too
                        await bell.wait()
                except TimeoutError:
                    continue

    async def approve(self, approval_id: str, said: Vote, enough: Enough) -> Approval:
        """Add a person's consent. Raises `ApprovalRefused`: it is decided already, or they have given it."""

        def consent(approval: Approval) -> ApprovalChange:
            if any(vote.by == said.by for vote in approval.consents):
                raise ApprovalRefused("voted_already", f"{said.by} has approved {approval_id} already.")
            votes = (*approval.consents, said)
            return self._voted(approval, votes, EventKind.APPROVAL_APPROVED, enough(approval, votes))

        return await self._change(approval_id, consent, withdrawing=False)

    async def deny(self, approval_id: str, said: Vote) -> Approval:
        """Refuse for good: one refusal outweighs every consent that was not used yet."""

        def refuse(approval: Approval) -> ApprovalChange:
            now = self._clock.now_ms()
            votes = (*approval.consents, said)
            until = max(approval.expires_ms, now + self.kept.use_within_ms)
            return _change(approval, (EventKind.APPROVAL_DENIED, ApprovalState.DENIED), now, until, votes)

        return await self._change(approval_id, refuse, withdrawing=True)

    async def withdraw(self, approval_id: str, said: Vote, enough: Enough) -> Approval:
        """Take a person's own consent back. Raises `ApprovalRefused`: there is none that was not used."""

        def take_back(approval: Approval) -> ApprovalChange:
            votes = tuple(vote for vote in approval.consents if vote.by != said.by)
            if votes == approval.consents:
                raise ApprovalRefused("not_voted", f"{said.by} has not approved {approval_id}.")
            is_enough = bool(votes) and enough(approval, votes)
            change = self._voted(approval, votes, EventKind.APPROVAL_WITHDRAWN, is_enough)
            return replace(change, body={**change.body, "withdrawn": said.told()})

        return await self._change(approval_id, take_back, withdrawing=True)

    async def edit(self, approval_id: str, vote: Vote, edited: Mapping[str, Any], *, is_enough: bool) -> Approval:
        """Put an approval of other arguments, consented to by `vote`, in this one's place; return the new one.

        `edited` is the body of its opening, `bound` included. Raises `ApprovalRefused`: this one is decided already, or
        the other call is being asked about too.
        """
        old = await self.find(approval_id)
        now = self._clock.now_ms()
        if not old.is_pending(now):
            raise _over(old, now)
        state = ApprovalState.APPROVED if is_enough else ApprovalState.PENDING
        asked = self._asked(Bound(**edited["bound"]), {**edited, "votes": [vote.told()]}, old.run)
        until = now + self.kept.use_within_ms if is_enough else asked.until_ms
        opens = replace(asked, state=state, until_ms=until)
        void = (EventKind.APPROVAL_EDITED, ApprovalState.EDITED)
        told = {name: each for name, each in vote.told().items() if name in {"by", "why", "channel"}}
        change = _change(old, void, now, max(old.expires_ms, until), old.votes, edited_to=opens.id, **told)
        if not await self._store.change_approval(change, opens):
            raise ApprovalRefused(
                "approval_changed", f"{approval_id} has changed, or such a call waits already. Look again."
            )
        self._ring.strike(approval_id)
        return await self.find(opens.id)

    async def void(self, approval: Approval, why: str, channel: str = "") -> None:
        """End an approval that nothing can use any more, unless it has changed since."""
        now = self._clock.now_ms()
        kind = EventKind.STANDING_REVOKED if approval.standing else EventKind.APPROVAL_VOIDED
        told = {"why": why, **({"channel": channel} if channel else {})}
        change = _change(approval, (kind, ApprovalState.REVOKED), now, now, approval.votes, **told)
        await self._store.change_approval(change)
        self._ring.strike(approval.id)

    async def assign(self, approval_id: str, to: str, said: Vote) -> Approval:
        """Put on record that one person is to answer, as `said.by` has it. Raises `ApprovalRefused`: it is over."""

        def give(approval: Approval) -> ApprovalChange:
            kind, by = (EventKind.APPROVAL_ASSIGNED, approval.state), {"by": said.by, "channel": said.channel}
            now, until = self._clock.now_ms(), approval.until_ms
            return _change(replace(approval, assigned=to), kind, now, until, approval.votes, **by)

        return await self._change(approval_id, give, withdrawing=False)

    async def overdue(self) -> list[Approval]:
        """Put on record which approvals nobody has answered in time; return those that were not on record as that."""
        now, within = self._clock.now_ms(), self.kept.answer_within_ms
        if within >= self.kept.expires_ms or now < self._next_due_ms:
            return []
        late, soonest = [], now + within  # what is asked from now on is due then at the earliest
        async for approval in self._each(standing=False, is_open=True):
            if not approval.is_pending(now) or approval.overdue:
                continue
            found, kind = replace(approval, overdue=True), (EventKind.APPROVAL_OVERDUE, approval.state)
            change = _change(found, kind, now, found.until_ms, found.votes)
            if now >= approval.due_ms and await self._store.change_approval(change):
                late.append(found)
            else:
                soonest = min(soonest, approval.due_ms)
        self._next_due_ms = soonest
        return late

    async def _each(self, standing: bool, is_open: bool, before_seq: int = 0) -> AsyncIterator[Approval]:
        """Yield approvals, however many there are, the newest first."""
        while True:
            wanted = ApprovalFilter(standing=standing, is_open=is_open, before_seq=before_seq, limit=_AT_ONCE)
            found = await self._store.list_approvals(wanted)
            for trail in found:
                yield approval_from(trail)
            if len(found) < _AT_ONCE:
                return
            before_seq = found[-1].row.asked_seq

    async def expire(self) -> int:
        """Put on record which approvals have ended unused; return how many."""
        now = self._clock.now_ms()
        due = await self._store.list_approvals(ApprovalFilter(is_open=True, until_ms=now, limit=_AT_ONCE))
        for approval in map(approval_from, due):
            over = (EventKind.APPROVAL_EXPIRED, ApprovalState.EXPIRED)
            if await self._store.change_approval(_change(approval, over, now, approval.until_ms, approval.votes)):
                self._ring.strike(approval.id)
        return len(due)

    async def grant(self, body: Mapping[str, Any], vote: Vote, most: int, until_ms: int) -> Approval:
        """Open a standing approval, for `most` calls until then, by `vote`; see `gateway.approval.standing`."""
        approval_id = self._ids.new("stn")
        told = {**body, "votes": [vote.told()], "expires_ms": until_ms}
        ask = ApprovalAsk(
            id=approval_id,
            at_ms=vote.at_ms,
            kind=EventKind.STANDING_CREATED,
            binding=approval_id,
            state=ApprovalState.APPROVED,
            until_ms=until_ms,
            agent=body["agent"],
            on_behalf_of=body["on_behalf_of"],
            tool=body["tool"],
            run_id="",
            body=told,
            standing=True,
            most=most,
        )
        return approval_from((await self._store.ask_approval(ask)).trail)

    def _asked(self, bound: Bound, body: Mapping[str, Any], run_id: str) -> ApprovalAsk:
        now = self._clock.now_ms()
        until, due = now + self.kept.expires_ms, now + self.kept.answer_within_ms
        told = {"due_ms": due} if due < until else {}
        return ApprovalAsk(
            id=self._ids.new("apr"),
            at_ms=now,
            kind=EventKind.APPROVAL_ASKED,
            binding=bound.digest,
            state=ApprovalState.PENDING,
            until_ms=until,
            agent=bound.agent,
            on_behalf_of=bound.on_behalf_of,
            tool=bound.tool,
            run_id=run_id,
            body={"votes": [], **body, "bound": asdict(bound), "expires_ms": until, **told},
        )

    def _voted(self, approval: Approval, votes: Sequence[Vote], kind: EventKind, is_enough: bool) -> ApprovalChange:
        now = self._clock.now_ms()
        if approval.standing:
            state, until = (ApprovalState.APPROVED if votes else ApprovalState.REVOKED), approval.until_ms
        elif is_enough:
            state, until = ApprovalState.APPROVED, now + self.kept.use_within_ms
        else:
            state, until = ApprovalState.PENDING, approval.expires_ms
        return _change(approval, (kind, state), now, until, votes)

    async def _change(
        self, approval_id: str, deed: Callable[[Approval], ApprovalChange], *, withdrawing: bool
    ) -> Approval:
        for _ in range(_TRIES):
            approval = await self.find(approval_id)
            now = self._clock.now_ms()
            if not (approval.is_pending(now) or ((withdrawing or approval.standing) and approval.is_usable(now))):
                raise _over(approval, now)
            if await self._store.change_approval(deed(approval)):
                self._ring.strike(approval_id)
                return await self.find(approval_id)
        raise ApprovalRefused("approval_changed", f"{approval_id} keeps changing. Look again.")


def _over(approval: Approval, now_ms: int) -> ApprovalRefused:
    return ApprovalRefused(
        "approval_over", f"{approval.id} is {approval.status(now_ms)}: nothing can be said to it any more."
    )


def _change(
    approval: Approval,
    what: tuple[EventKind, ApprovalState],
    now: int,
    until_ms: int,
    votes: Sequence[Vote],
    **more: Any,
) -> ApprovalChange:
    kind, state = what
    kept = {"assigned": approval.assigned, "overdue": approval.overdue}
    body = {
        "votes": [vote.told() for vote in votes],
        **{name: each for name, each in (*kept.items(), *more.items()) if each not in {"", False}},
    }
    return ApprovalChange(approval.id, now, kind, approval.version, state, until_ms, body)
