"""One call on its way: until when, which definitions it was decided on, and the way back to its client."""

from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.era import Era
from connectors.mcp.request import TASKS_EXTENSION, params_of
from connectors.mcp.talk import Talk
from connectors.mcp.wire import Pending
from gateway.connector import NOBODY, Back, Clock, ToolCall

__all__ = ["Errand"]

_OF_A_ROUND: Final = frozenset({"inputResponses", "requestState"})


class _Following(Back):
    """A client as a server is told of it that is followed by the gateway for the client's sake."""

    def __init__(self, back: Back) -> None:
        self.capabilities = back.capabilities
        self.log_level = back.log_level
        self.logs_by_default = back.logs_by_default
        extensions = {**back.declares.get("extensions", {}), TASKS_EXTENSION: {}}
        self.declares = {**back.declares, "extensions": extensions}
        self.ask = back.ask  # type: ignore[method-assign]  # the very same way


class Errand(Talk):
    """Made once for each call, whatever it takes to perform it. It is what its client hears by, if there is one.

    `pending` is its request where that was sent before anybody waited, by what was `agreed`, until it is waited for.
    """

    waits = False
    """Whether it went out as a task, to be waited for."""
    pending: Pending | None = None
    agreed: Era

    def __init__(self, call: ToolCall, clock: Clock, told: Mapping[str, Mapping[str, Any]] | None) -> None:
        # As Talk, but not by way of `super`: one is made for every call.
        self._back = self.back = back = call.back
        self._clock = clock
        self._ends = clock.monotonic() + call.timeout_s
        self._measure = call.measure
        self.still_open = {}
        self.wants_progress = back.wants_progress
        if back is NOBODY:
            self.listens = False
        self.call = call
        self.told = told
        self._more = call.more

    def go_as_task(self, *, modern: bool) -> None:
        """Go out from now on as a task that is waited for, in the form of the server's era."""
        self.waits = True
        if modern:
            self.back = _Following(self.call.back)
        else:
            self._more = {**self._more, "task": {}}

    def params(self) -> Mapping[str, Any]:
        """Return the request's params without `_meta`, as they go out next."""
        return params_of(self.call, self._more)

    def repeat_with(self, answers: Mapping[str, Any]) -> None:
        """Go out the next time with these answers and this state, and with none of an earlier round."""
        others = {name: value for name, value in self.call.more.items() if name not in _OF_A_ROUND}
        self._more = {**others, **answers}
