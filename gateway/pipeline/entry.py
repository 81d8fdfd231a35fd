"""Where the requests of agents enter the pipeline, and answers leave it."""

from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from gateway.model.call import Call
from gateway.model.errors import GatewayError
from gateway.model.identity import Identity
from gateway.model.outcome import Succeeded
from gateway.model.request import CallRequest
from gateway.pipeline.finding import meant
from gateway.pipeline.kept import Kept
from gateway.pipeline.looping import Looping
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.runner import Ended

__all__ = ["Carries", "Entry"]


class Carries(Protocol):
    """Carries out calls: the runner, or what stands in its place."""

    async def run(self, request: CallRequest) -> Ended:
        """As `Runner.run`."""
        ...

    async def refuse(self, request: CallRequest, error: GatewayError, identity: Identity | None = None) -> None:
        """As `Runner.refuse`."""
        ...


class Entry:
    """Has a call carried out: one that comes through `tools.call` as the call it stands for.

    An answer too large for its tool's limit is cut here, and put into the version its agent is held at, after it is on
    record: the ledger keeps what it would keep of any other. So is an agent warned here that goes round in circles.
    """

    def __init__(self, runner: Carries, rules: RulesInForce, kept: Kept, looping: Looping) -> None:
        self._runner = runner
        self._rules = rules
        self._kept = kept
        self._looping = looping

    async def run(self, request: CallRequest) -> Ended:
        """As `Runner.run`."""
        return self.end(await self.begin(request))

    def begin(self, request: CallRequest) -> Coroutine[Any, Any, Ended]:
        """Return what carries a call out; of what comes of it, `end` makes what is told.

        For whoever makes every call: `run` is a coroutine more.
        """
        return self._runner.run(meant(request, self._rules))

    def end(self, ended: Ended) -> Ended:
        """Return a call and how it ended, as its client is told."""
        outcome = self._looping.saw(ended.call, ended.outcome)
        if isinstance(outcome, Succeeded):
            result = self._kept.fitted(ended.call, _in_its_version(ended.call, outcome.result))
            outcome = outcome if result is outcome.result else replace(outcome, result=result)
        return ended if outcome is ended.outcome else Ended(ended.call, outcome)

    async def refuse(self, request: CallRequest, error: GatewayError, identity: Identity | None = None) -> None:
        """As `Runner.refuse`."""
        await self._runner.refuse(request, error, identity)


def _in_its_version(call: Call, result: Mapping[str, Any]) -> Mapping[str, Any]:
    contract = call.tool.contract
    if contract is None:
        return result
    try:
        return contract.answer(result)
    except ValueError:  # `check` saw that the answer can be adapted: this is a note in its place
        return result
