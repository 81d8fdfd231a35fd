"""One stage a file. A stage returns None to go on, an Outcome to stop, or raises a GatewayError.

One that has to wait returns a coroutine of that. Nearly nothing has to, and is done at once: a coroutine that never
waits costs four times a function.

It never calls the next stage, never writes to the store (except claim), never reads configuration, never logs
arguments. The runner does timing, recording, fault mapping and cancellation.
"""

from collections.abc import Coroutine
from typing import Any, Protocol

from gateway.model.call import Call
from gateway.model.outcome import Outcome

__all__ = ["DecideAgain", "Stage", "Step"]

Step = Coroutine[Any, Any, Outcome | None] | Outcome | None
"""What a stage returns."""


class Stage(Protocol):
    """One step of the pipeline."""

    def __call__(self, call: Call) -> Step:
        """Do this stage's part of the call."""
        ...


class DecideAgain(Exception):
    """The facts changed under the decision: gather and decide once more."""
