"""Stage 3: which pinned version of which tool."""

from gateway.model.call import Call
from gateway.pipeline.rules import RulesInForce

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
        catalog = self._rules.current.catalog_at(request.endpoint)
        if request.via is None:
            call.tool = catalog.resolve(request.name)
        else:
            call.tool = catalog.resolve(request.name, "Find the right name with tools_search.")
