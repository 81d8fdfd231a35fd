"""One call on its way: until when, which definitions it was decided on, and the way back to its client."""

from collections.abc import Mapping
from typing import Any, Final

from connectors.mcp.deadline import Deadline
from connectors.mcp.request import TASKS_EXTENSION, params_of
from connectors.mcp.talk import Scale, Talk
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


class Errand:
    """Made once for each call, whatever it takes to perform it."""

    __slots__ = ("_more", "back", "call", "deadline", "ear", "talk", "told", "waits")

    def __init__(self, call: ToolCall, clock: Clock, told: Mapping[str, Mapping[str, Any]] | None) -> None:
        self.call = call
        self.back = call.back
        self.deadline = Deadline(clock, call.timeout_s)
        self.talk = None if call.back is NOBODY else Talk(call.back, self.deadline, call.measure)
        self.ear = self.talk or Scale(call.measure)
        self.told = told
        self._more = call.more
        self.waits = False
        """Whether it went out as a task, to be waited for."""

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
