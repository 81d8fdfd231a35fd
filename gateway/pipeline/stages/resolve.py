"""Stage 3: which pinned version of which tool."""

from gateway.model.call import Call
from gateway.model.errors import RequestFault
from gateway.model.tool import Tool
from gateway.pause.pauses import Pauses
from gateway.pipeline.rules import RulesInForce
from gateway.pipeline.tasks import Tasks
from gateway.policy import visible

__all__ = ["Resolve"]


class Resolve:
    """Sets `call.tool` and `call.as_task`.

    Tools that are unknown at the endpoint, quarantined or stopped by an operator are refused, and so is what is asked
    of a task that one of them carries out, or that belongs to a run that is stopped.
    """

    def __init__(self, rules: RulesInForce, pauses: Pauses, tasks: Tasks) -> None:
        self._rules = rules
        self._pauses = pauses
        self._tasks = tasks

    def __call__(self, call: Call) -> None:
        request, rules = call.request, self._rules.current
        tool = request.operation
        if tool is None:
            tool = rules.catalog_at(request.endpoint).find(request.name)
            if tool is None or tool.quarantined or rules.contracts:
                tool = self._named(call)
        call.tool = tool
        self._pauses.check_tool(tool)
        about = request.task
        if about is not None:
            if about.tool.quarantined:
                raise RequestFault(f"{about.tool.wire_name}: {about.tool.held_back}", code="tool_quarantined")
            self._pauses.check_tool(about.tool)
            self._pauses.check_run(about.facts.run)
        call.as_task = self._tasks.form_for(call) if about is None else ""

    def _named(self, call: Call) -> Tool:
        """Return the tool that a call names, in the version its agent is held at. Raises `RequestFault`."""
        request, rules = call.request, self._rules.current
        look = "List the tools again." if request.via is None else "Find the right name with tools_search."
        tool = rules.catalog_at(request.endpoint).resolve(
            request.name, look, lambda tool: visible(rules.bundle, call.identity, tool)
        )
        if request.undoes is not None or request.draft is not None:  # from the record, which has the present version
            return tool
        tool = rules.spoken_with(call.identity.agent, tool)
        if tool.contract is not None and tool.contract.broken:
            raise RequestFault(
                f"You are held at version {tool.contract.version} of {tool.name}, and it cannot be called in that: "
                f"{tool.contract.broken}. An operator must look: toolgate schema versions {tool.name}",
                code="tool_quarantined",
            )
        return tool
