"""Which tools do what nothing takes back, without anybody being asked: what `toolgate policy check` refuses."""

from gateway.model.identity import Identity
from gateway.model.problem import Problem
from gateway.model.tool import Effect, Tool
from gateway.policy.bundle import Bundle
from gateway.policy.outlook import Outlook, outlook_of
from gateway.policy.projection import matches_scope

__all__ = ["unguarded"]


def unguarded(bundle: Bundle) -> tuple[Problem, ...]:
    """Return a problem for every irreversible tool that some agent may call, has no `undo`, and asks no person ever.

    A tool of which the operator says `accept_irreversible` is none. What a policy asks only for some calls counts.
    """
    found = [tool for tool in bundle.tools.values() if tool.effect is Effect.IRREVERSIBLE and not _is_tame(tool)]
    return tuple(_problem(tool) for tool in found if _is_open(bundle, tool))


def _is_tame(tool: Tool) -> bool:
    return bool(tool.undo) or tool.accept_irreversible or bool(tool.quarantined)


def _is_open(bundle: Bundle, tool: Tool) -> bool:
    asking = [policy for policy in bundle.policies if policy.terms.approvals and not policy.terms.shadow]
    for agent in bundle.agents:
        request = bundle.request(Identity(agent, method="", credential_id=""), tool)
        asks = any(matches_scope(policy.template, request.world()) for policy in asking)
        if not asks and outlook_of(bundle.policies, request) is not Outlook.NEVER:
            return True
    return False


def _problem(tool: Tool) -> Problem:
    message = f"{tool.name} is irreversible, has no compensation, and no policy ever asks a person about it"
    fix = f'tools: "{tool.name}": name its `undo`, or ask for approvals, or write `accept_irreversible: true`.'
    return Problem("gateway.yaml", 0, 0, "irreversible_unguarded", message, fix)
