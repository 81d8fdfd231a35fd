"""One stage a file. A stage returns None to go on, an Outcome to stop, or raises a GatewayError.

It never calls the next stage, never writes to the store (except claim), never reads configuration, never logs
arguments. The runner does timing, recording, fault mapping and cancellation.
"""

from typing import Protocol

from gateway.model.call import Call
from gateway.model.outcome import Outcome

__all__ = ["DecideAgain", "Stage"]


class Stage(Protocol):
    """One step of the pipeline."""

    async def __call__(self, call: Call) -> Outcome | None:
        """Do this stage's part of the call."""
        ...


class DecideAgain(Exception):
    """The facts changed under the decision: gather and decide once more."""
