"""Stage 2: whether the gateway takes calls from this agent now."""

from gateway.model.call import Call
from gateway.resilience.admission import Admission

__all__ = ["Admit"]


class Admit:
    """Refuses with LimitFault while the gateway drains, an operator has stopped the agent, or calls too often."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __call__(self, call: Call) -> None:
        self._admission.check(call.identity)
