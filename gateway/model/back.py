"""The way back to a client while its request is under way: notifications, and questions a server has for it."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["NOBODY", "AskRefused", "Back", "Hear"]

Hear = Callable[[Mapping[str, Any]], None]
"""Takes the params of a progress notification that a client sent while it was asked something; never waits."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class AskRefused(Exception):
    """A server's question was not answered; `code`, `message` and `data` are the JSON-RPC error it is told."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Back:
    """The way back to one client for one request. This one leads nowhere: what is said is lost, questions are refused.

    `capabilities` is what the client can be asked for, in MCP's form (`{"elicitation": {}, …}`), `declares` what else
    it says it knows that servers may go by (`{"extensions": {…}, "experimental": {…}}`). `lane` names the one
    client session of one principal: only requests of one lane may share a server's session that holds state of the
    client. `log_level` is the least severe log message it wants, or empty where it named none: with
    `logs_by_default` it then hears what a server chooses to log. With `takes_input_required` the client repeats a
    request that is answered with `input_required` (2026-07-28); without, it is asked while the request is under way.
    One that `begins_tasks` (2025-11-25) asks for a task itself where it
    wants one. `cancelled` says that the client withdrew its request; `was_asked` that
    a server asked the client something: what came of it is an answer for this client alone.
    """

    capabilities: Mapping[str, Any] = _NOTHING
    declares: Mapping[str, Any] = _NOTHING
    lane: str = ""
    log_level: str = ""
    logs_by_default: bool = False
    wants_progress: bool = False
    takes_input_required: bool = False
    begins_tasks: bool = False
    cancelled: bool = False
    was_asked: bool = False
    under_way: "asyncio.Task[Any] | None" = None
    """The task that carries the request out past its claim, which a withdrawal cancels."""
    acts: bool = False
    """Whether that task carries out an effect, which the end of its client's session leaves to go on."""

    def stood_still(self) -> float:
        """Return for how many seconds the client has been asked something, and the call's time stood still."""
        return 0.0

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Pass a notification on. Never waits: one that the client is too slow for is dropped.

        A `notifications/progress` may carry any token: the client's own is put in its place.
        """

    def between(self) -> "Back":
        """Return the way to the client between its requests, which leads nowhere where it has no session."""
        return NOBODY

    def lists_roots(self, server: str) -> None:
        """Take note that a server has the client list its roots: it is to hear when they change."""

    async def ask(self, method: str, params: Mapping[str, Any], hear: Hear | None = None) -> Mapping[str, Any]:
        """Put a server's request to the client and return the client's result, unchanged.

        `hear` takes how far the client got meanwhile, where it can say so, under whatever token.

        Raises:
            AskRefused: nobody can be asked, no policy allows it, or the client answered with an error.
        """
        raise AskRefused(-32601, "This client offers no such method", {"method": method})


NOBODY: Final = Back()
