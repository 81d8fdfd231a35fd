"""Another agent's run is joined only where a policy lets it: the action `join` on the run."""

from gateway.model.call import Call
from gateway.model.clock import Clock
from gateway.model.facts import Facts, RunRef
from gateway.pipeline.rules import RulesInForce
from gateway.policy import Question, may_join

__all__ = ["Joining"]


class Joining:
    """Asks the policies in force."""

    def __init__(self, rules: RulesInForce, clock: Clock, environment: str) -> None:
        self._rules = rules
        self._clock = clock
        self._environment = environment

    def may(self, call: Call, run: RunRef) -> bool:
        """Tell whether the caller may make this call in a run that is another's."""
        rules = self._rules.current
        environment = rules.environments.get(call.identity.agent, self._environment)
        facts = Facts(self._clock.now_ms(), run, environment=environment)
        return may_join(rules.bundle, Question(call.identity, call.tool, call.arguments, facts))
