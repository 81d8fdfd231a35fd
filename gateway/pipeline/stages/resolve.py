"""Stage 3: which pinned version of which tool."""

from gateway.model.call import Call
from gateway.pipeline.rules import RulesInForce

__all__ = ["Resolve"]


class Resolve:
    """Sets `call.tool`; unknown and quarantined tools are refused."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules

    async def __call__(self, call: Call) -> None:
        call.tool = self._rules.current.catalog.resolve(call.request.name)
