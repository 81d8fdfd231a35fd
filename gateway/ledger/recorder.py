"""Writes calls to the ledger: the intent before, the outcome after, and in one piece what needs no intent."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, Protocol

from gateway.ledger.bundles import Bundles, Kept
from gateway.ledger.charging import settled, settled_later
from gateway.ledger.entries import claim_body, end_body, record_body
from gateway.ledger.ordinary import Ordinary
from gateway.ledger.parts import Parts, Redacts
from gateway.model.bill import NO_BILL, Bill
from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.errors import StoreFault, UnwritableError
from gateway.model.facts import Approval, Facts, StepStatus
from gateway.model.identity import ANONYMOUS_AGENT
from gateway.model.light import maker
from gateway.model.outcome import Outcome, Succeeded, Unknown
from gateway.model.request import CallRequest
from gateway.store.approvals import ApprovalUse
from gateway.store.bodies import used_in
from gateway.store.facts import FactUse
from gateway.store.ports import Claimed, Ending, Intent, Ledger, Record, Recorded, StepUse
from gateway.store.removable import Written

__all__ = ["Carrying", "Recorder"]

_LONGEST_NAME: Final = 256
_FAILED: Final = StepStatus.FAILED
_SUCCEEDED: Final = StepStatus.SUCCEEDED
_AGAIN_S: Final = 1.0
_intent: Final = maker(Intent)
_record: Final = maker(Record)
_ending: Final = maker(Ending)


class Carrying(Protocol):
    """Says what answers carry that has to follow whoever reads them."""

    def carried(self, call: Call, outcome: Outcome) -> tuple[str, ...]:
        """Return the labels of what a call is answered."""
        ...

    def are_news(self, call: Call, carried: tuple[str, ...]) -> bool:
        """Tell whether the ledger has to mark them."""
        ...

    def marked(self, call: Call) -> None:
        """Hear that it has."""
        ...


class Recorder:
    """Records calls; `redactor` takes out what must not be kept. With `durable_reads` a read waits for its commit.

    What an answer carries (`carrying`) is recorded with it, so it follows whoever is given the answer.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        redactor: Redacts,
        carrying: Carrying | None = None,
        *,
        durable_reads: bool = True,
    ) -> None:
        self._carrying = carrying
        self._ledger = ledger
        self._clock = clock
        self._redact = redactor.record
        self._durable_reads = durable_reads
        self._parts = Parts()
        self._ordinary = Ordinary(redactor, self._parts)
        self._bundles = Bundles(ledger, clock)
        self.named: Callable[[CallRequest], str] = attrgetter("name")
        """Says which tool a call names that was refused before it was known: agents know tools by other names."""

    def claim(self, call: Call, uses: Sequence[StepUse]) -> Awaitable[Claimed]:
        """Write the intent of a decided call and take its locks.

        Raises:
            StoreFault: at once, or when awaited; then nothing may be sent.
        """
        bundle = getattr(call, "bundle", None)
        if bundle is not None and not self._bundles.has(bundle):
            return self._claim_first(call, uses, bundle)
        identity, facts = call.identity, call.facts
        held = tuple([FactUse(each.key, each.version) for each in facts.held.values()]) if facts.held else ()
        ordinary = self._ordinary.claim(call)
        intent = _intent(  # by place, as all that is made for every call
            call.id,
            self._clock.now_ms() if ordinary is None else facts.now_ms,  # its facts were gathered in this very turn
            facts.run.id,
            call.request.caller.session or "",
            identity.agent,
            identity.on_behalf_of or "",
            call.tool.name,
            call.arguments_digest,
            call.step_key,
            claim_body(call, self._redact, self._parts) if ordinary is None else ordinary,
            tuple(uses),
            None if facts.approval is None else _relied_on(facts.approval),
            None if facts.grant is None else _relied_on(facts.grant),
            _bill(call).charges,
            held,
        )
        return self._ledger.claim(intent)

    async def _claim_first(self, call: Call, uses: Sequence[StepUse], bundle: Kept) -> Claimed:
        await self._bundles.keep(bundle)
        return await self.claim(call, uses)

    async def knows(self, call: Call) -> bool:
        """Tell whether the call is on record, once all that was to be written before is. Raises `StoreFault`."""
        return await self._ledger.made(call.id) is not None

    async def stands(self, call: Call) -> bool:
        """Tell whether this very step is on record by now, made or under way. Raises `StoreFault`."""
        if call.step_key is None:
            return False
        recorded = await self._ledger.recorded(call.identity.agent, call.tool.name, call.step_key)
        if recorded is None or recorded.status is StepStatus.FAILED:
            return False
        return recorded.arguments_digest == call.arguments_digest

    def finish(self, call: Call, outcome: Outcome) -> Awaitable[None]:
        """Write the outcome of a claimed call. What one that took another over came to is the outcome of that one.

        Raises:
            StoreFault: at once, or when awaited; then the call stays in doubt.
        """
        if call.takes_over is not None:
            return self._end_doubt(call, outcome)
        now = self._clock.now_ms()
        carried = () if self._carrying is None else self._carrying.carried(call, outcome)
        body: Mapping[str, Any] | Written | None = self._ordinary.end(call, outcome, now, carried)
        if body is None:
            body = _marked(end_body(call, outcome, now, self._redact, self._parts), carried)
        taint = self._news(call, carried) if carried else ()
        status = _status(outcome)
        # What failed for certain used nothing up; where an effect is in doubt, the pipeline never says failed.
        released = status is StepStatus.FAILED
        returns = _relied_by(call.facts) if released else ()
        result = outcome.result if isinstance(outcome, Succeeded) else None
        bill = _bill(call)
        charges = settled(bill, status, result, now - call.received_ms) if bill.charges else ()
        undone = call.request.undoes.call_id if call.request.undoes is not None else ""
        ending = _ending(call.id, now, status, body, released, returns, undone, charges, taint)
        written = self._ledger.finish(ending)
        return self._then_marked(call, written) if taint else written

    async def end_later(self, call: Call, outcome: Outcome) -> None:
        """Write what came of a call once the store can be written again: what is known need not become a doubt.

        As its ending where it was claimed; of one that was not, whole.
        """
        while True:
            await self._clock.sleep(_AGAIN_S)
            try:
                is_claimed = call.takes_over is not None or await self.knows(call)
                return await (self.finish if is_claimed else self.record)(call, outcome)
            except UnwritableError:
                return None
            except StoreFault:
                continue

    async def _end_doubt(self, call: Call, outcome: Outcome) -> None:
        before: Recorded = call.takes_over
        status, now = _status(outcome), self._clock.now_ms()
        if status is not StepStatus.UNKNOWN:
            failed = status is StepStatus.FAILED
            body = end_body(call, outcome, now, self._redact, self._parts)
            body["settled"] = {"by": "repetition", "note": f"made again with its key by #{call.id}"}
            ending = Ending(
                before.call_id,
                now,
                status,
                body,
                release=failed,
                returns=used_in(before.claim_body) if failed else (),
                charges=settled_later(before.claim_body, succeeded=not failed),
                compensates=before.claim_body.get("undoes", ""),
            )
            with suppress(
                UnwritableError
            ):  # the doubt was ended meanwhile: what this call came to is on record as well
                await self._ledger.settle(ending)
        await self.record(call, outcome)

    def record(self, call: Call, outcome: Outcome) -> Awaitable[None]:
        """Write a call that made no claim: a read, a refusal, a repeat. Raises `StoreFault`, at once or awaited."""
        bundle = getattr(call, "bundle", None)
        if bundle is not None and not self._bundles.has(bundle):
            return self._record_first(call, outcome, bundle)
        whole = self._whole(call, outcome)
        written = self._ledger.record(whole, durable=self._durable_reads)
        return self._then_marked(call, written) if whole.taint else written

    async def _record_first(self, call: Call, outcome: Outcome, bundle: Kept) -> None:
        await self._bundles.keep(bundle)
        await self.record(call, outcome)

    async def _then_marked(self, call: Call, written: Awaitable[None]) -> None:
        await written
        if self._carrying is not None:
            self._carrying.marked(call)

    async def record_later(self, call: Call, outcome: Outcome) -> None:
        """Have it written once the store can be written again. Raises `StoreFault` when too much waits already."""
        if call.has("bundle") and not self._bundles.has(call.bundle):
            await self._bundles.keep_later(call.bundle)
        await self._ledger.record_later(self._whole(call, outcome))

    def _whole(self, call: Call, outcome: Outcome) -> Record:
        now = self._clock.now_ms()
        identity, facts, tool = (
            getattr(call, "identity", None),
            getattr(call, "facts", None),
            getattr(call, "tool", None),
        )
        carried = () if self._carrying is None else self._carrying.carried(call, outcome)
        body: Mapping[str, Any] | Written | None = self._ordinary.record(call, outcome, now, carried)
        if body is None:
            body = _marked(record_body(call, outcome, now, self._redact, self._parts), carried)
        return _record(
            call.id,
            now,
            "" if facts is None else facts.run.id,
            ANONYMOUS_AGENT if identity is None else identity.agent,
            "" if identity is None else identity.on_behalf_of or "",
            self._redact(self.named(call.request))[:_LONGEST_NAME] if tool is None else tool.name,
            body,
            taint=self._news(call, carried) if carried else (),
        )

    def _news(self, call: Call, carried: tuple[str, ...]) -> tuple[str, ...]:
        """Return what of the labels that an answer carries the ledger has to mark."""
        return carried if self._carrying is not None and self._carrying.are_news(call, carried) else ()

    async def recover(
        self, spare: Callable[[Recorded], bool] = lambda _: False, is_read: Callable[[str], bool] = lambda _: False
    ) -> list[Recorded]:
        """End what a stopped gateway left unfinished: reads as failed, all else as unknown; return the latter.

        `spare` says which calls still live, elsewhere.
        """
        left = [recorded for recorded in await self._ledger.unfinished() if not spare(recorded)]
        for recorded in left:
            await self._ledger.finish(_broken_off(recorded, self._clock.now_ms(), is_read=is_read(recorded.tool)))
        return [recorded for recorded in left if not is_read(recorded.tool)]


def _marked(body: dict[str, Any], carried: tuple[str, ...]) -> dict[str, Any]:
    """Note in a body what a call's answer carries."""
    return {**body, "taint": list(carried)} if carried else body


def _broken_off(recorded: Recorded, now_ms: int, *, is_read: bool) -> Ending:
    code, told = (
        ("unavailable", "it had no effect") if is_read else ("outcome_unknown", "it may or may not have happened")
    )
    body = {
        "outcome": "failed" if is_read else "unknown",
        "error": {
            "code": code,
            "message": f"The gateway stopped while this call was under way; {told}.",
            "detail": "found unfinished when the gateway started",
        },
        "timing": {"received_ms": recorded.started_at_ms, "ended_ms": now_ms},
    }
    if not is_read:
        return Ending(recorded.call_id, now_ms, StepStatus.UNKNOWN, body)
    used, charges = used_in(recorded.claim_body), settled_later(recorded.claim_body, succeeded=False)
    return Ending(recorded.call_id, now_ms, StepStatus.FAILED, body, release=True, returns=used, charges=charges)


def _bill(call: Call) -> Bill:
    bill: Bill = getattr(call, "charged", NO_BILL)
    return bill


def _relied_on(given: Approval | None) -> ApprovalUse | None:
    return None if given is None or not given.by else ApprovalUse(given.id, given.version)


def _relied_by(facts: Facts) -> tuple[str, ...]:
    relied = (_relied_on(facts.approval), _relied_on(facts.grant))
    return tuple(use.id for use in relied if use is not None)


def _status(outcome: Outcome) -> StepStatus:
    """Tell what counts as history: a tool that answered with its own error, or with a question, did not succeed."""
    if type(outcome) is Succeeded:
        result = outcome.result
        unfinished = result.get("isError") is True or result.get("resultType") == "input_required"
        return _FAILED if unfinished else _SUCCEEDED
    return StepStatus.UNKNOWN if isinstance(outcome, Unknown) else StepStatus.FAILED
