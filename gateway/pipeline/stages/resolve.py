"""Stage 3: which pinned version of which tool."""

from gateway.model.call import Call
from gateway.pipeline.rules import RulesInForce
from gateway.policy import visible

__all__ = ["Resolve"]


class Resolve:
    """Sets `call.tool`; tools that are unknown at the endpoint, and quarantined ones, are refused."""

    def __init__(self, rules: RulesInForce) -> None:
        self._rules = rules

    async def __call__(self, call: Call) -> None:
        request = call.request
        if request.operation is not None:
            call.tool = request.operation
            return
        rules = self._rules.current
        look = "List the tools again." if request.via is None else "Find the right name with tools_search."
        call.tool = rules.catalog_at(request.endpoint).resolve(
            request.name, look, lambda tool: visible(rules.bundle, call.identity, tool)
        )
