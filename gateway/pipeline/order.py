"""The order of the stages, and why each stands where it stands. The only place that says so."""

from collections.abc import Sequence
from typing import Final

from gateway.pipeline.stages import Stage
from gateway.pipeline.stages.admit import Admit
from gateway.pipeline.stages.check import Check
from gateway.pipeline.stages.claim import Claim
from gateway.pipeline.stages.decide import Decide
from gateway.pipeline.stages.execute import Execute
from gateway.pipeline.stages.gather import Gather
from gateway.pipeline.stages.identify import Identify
from gateway.pipeline.stages.redact import Redact
from gateway.pipeline.stages.resolve import Resolve
from gateway.pipeline.stages.validate import Validate

__all__ = ["AFTER_CLAIM", "ANSWERED", "DECIDING", "ORDER", "WrongOrder", "in_order"]

ORDER: Final[tuple[type[Stage], ...]] = (
    Identify,  # nothing is done, or even looked up, for a caller nobody knows
    Admit,  # a draining or paused gateway spends nothing on a call
    Resolve,  # arguments mean something only for a pinned tool
    Validate,  # policies and the ledger see only arguments that keep their schema
    Gather,  # facts belong to valid arguments: preconditions bind to them
    Decide,  # the last stage without effect: 1-6 can be repeated, simulated and replayed
    Claim,  # the point of no return
    Execute,
    Check,  # a broken answer is never passed on as success
    Redact,  # last, so that nothing after it can leak
)

DECIDING: Final = ORDER.index(Gather)
"""From here a call is walked again when the facts changed under its decision."""

AFTER_CLAIM: Final = ORDER.index(Claim) + 1
"""From here a claimed call runs in a task that the gateway owns."""


ANSWERED: Final = ORDER.index(Check)
"""From here an answer goes its way, also one that came long after the call."""


class WrongOrder(RuntimeError):
    """A stage is missing or misplaced: the gateway refuses to start."""


def in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages as they are.

    Raises:
        WrongOrder: they are not exactly ORDER.
    """
    given = tuple(type(stage) for stage in stages)
    if given != ORDER:
        raise WrongOrder(
            f"the pipeline must be {[s.__name__ for s in ORDER]}, it was built as {[s.__name__ for s in given]}"
        )
    return tuple(stages)
