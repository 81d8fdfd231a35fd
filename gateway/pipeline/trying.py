"""What would be decided of a call, asked by the gateway's own operator in an agent's name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model.identity import Credential, Identity
from gateway.model.outcome import Failed
from gateway.model.request import Caller, CallRequest, DryRun
from gateway.pipeline.runner import Runner
from gateway.policy import explain

__all__ = ["Tried", "Trying"]


@dataclass(frozen=True, slots=True)
class Tried:
    """A call that nobody makes. `by` is who asks; empty texts stand for nothing."""

    agent: str
    tool: str
    arguments: Mapping[str, Any] = field(repr=False)
    by: str
    run: str = ""
    on_behalf_of: str = ""


class Trying:
    """Has calls decided as they would be decided now, and explains it. Nothing is called, and it is on record."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def explain(self, tried: Tried) -> Mapping[str, Any]:
        """Return what the policies say and why, as JSON, with `call`: what it is on record as.

        Raises:
            GatewayError: it was refused before the policies were asked, as the call would be.
        """
        identity = Identity(
            tried.agent, method="operator", credential_id=tried.by, on_behalf_of=tried.on_behalf_of or None
        )
        request = CallRequest(
            name=tried.tool,
            arguments=tried.arguments,
            caller=Caller(Credential("none", ""), transport="operator", loopback=True),
            run=tried.run or None,
            dry_run=DryRun(identity),
        )
        ended = await self._runner.run(request)
        if not ended.call.has("given"):
            assert isinstance(ended.outcome, Failed)
            raise ended.outcome.error
        explained = explain(ended.call.bundle, ended.call.given)
        return {"call": ended.call.id, **explained.described()}
