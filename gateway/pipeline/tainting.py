"""What agents have read follows them: into the facts of their calls, and out of the answers to them."""

from gateway.model.answers import LAST_ANSWER
from gateway.model.call import Call
from gateway.model.facts import RunRef
from gateway.model.identity import Identity
from gateway.model.outcome import Denied, Outcome, Succeeded, Waiting
from gateway.pipeline.rules import RulesInForce
from gateway.taint.taints import Follower, Taints

__all__ = ["Tainting"]


class Tainting:
    """Follows labels where a policy heeds them; else it costs a look at a flag."""

    def __init__(self, rules: RulesInForce, taints: Taints) -> None:
        self._rules = rules
        self._taints = taints

    def known(self, identity: Identity, run: RunRef) -> tuple[str, ...] | None:
        """Return the labels that bear on a call where that takes no waiting; None means: await `seen`."""
        labels = self._rules.current.labels
        if not labels.heeded:
            return ()
        return self._taints.known((run.id, identity.agent, identity.on_behalf_of or ""), labels.window_ms)

    async def seen(self, identity: Identity, run: RunRef) -> tuple[str, ...]:
        """Return the labels that bear on a call. Raises `StoreFault`, `LedgerTampered`."""
        return await self._taints.seen(_follower(identity, run), self._rules.current.labels.window_ms)

    def carried(self, call: Call, outcome: Outcome) -> tuple[str, ...]:
        """Return the labels of what a call is answered; none where its server had no part in the answer."""
        labels = self._rules.current.labels
        if not labels.heeded or not _was_answered(call, outcome):
            return ()
        own = labels.of(call.tool, call.origin if call.source is None else _origin(call))
        return tuple(dict.fromkeys((*own, *call.carries))) if call.carries else own

    def are_news(self, call: Call, carried: tuple[str, ...]) -> bool:
        """Tell whether labels have to be marked in the ledger together with the call."""
        window_ms = self._rules.current.labels.window_ms
        return self._taints.are_news(_follower(call.identity, call.facts.run), carried, window_ms)

    def marked(self, call: Call) -> None:
        """Note that a call's labels are in the ledger now."""
        self._taints.changed(_follower(call.identity, call.facts.run))


def _follower(identity: Identity, run: RunRef) -> Follower:
    return run.id, identity.agent, identity.on_behalf_of or ""


def _origin(call: Call) -> str:
    """Return the tool that had given the answer, where it is not the one that was called."""
    if call.source is not None and call.source.fallback not in {"", LAST_ANSWER}:
        return call.source.fallback
    return call.origin


def _was_answered(call: Call, outcome: Outcome) -> bool:
    """Tell whether anything of a server may be in the answer: its error texts too, and what was on record."""
    if getattr(call, "facts", None) is None:
        return False
    if type(outcome) is Succeeded:
        return True
    if isinstance(outcome, Denied | Waiting):
        return False
    return bool(call.has("attempts") and call.attempts) or call.has("raw")
