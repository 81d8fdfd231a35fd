"""Whom a server sent to a web page: only that client hears when it is done there.

`notifications/elicitation/complete` (2025-11-25) belongs to no request, and may come long after the one that asked.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

__all__ = ["COMPLETE", "ELICIT", "URL_REQUIRED", "Elicited", "pages_in"]

ELICIT: Final = "elicitation/create"
COMPLETE: Final = "notifications/elicitation/complete"
URL_REQUIRED: Final = -32042
"""JSON-RPC code of a server that refuses until the user has been at some pages; they are in its data."""

_MOST: Final = 10_000
_MOST_AT_ONCE: Final = 16
_LONGEST: Final = 256


class Elicited:
    """Remembers the client session behind each page, the latest ten thousand. `deliver` takes secrets out."""

    def __init__(self, deliver: Callable[[Any], Any]) -> None:
        self._deliver = deliver
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()

    def asked(self, server: str, params: Mapping[str, Any], session: str | None) -> None:
        """Note that a client is asked to go to a page, if that is what it is asked."""
        elicitation = params.get("elicitationId")
        if session and isinstance(elicitation, str) and len(elicitation) <= _LONGEST:
            self._sessions[server, elicitation] = session
            self._sessions.move_to_end((server, elicitation))
            if len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)

    def completed(self, server: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """Return the session that is to hear of a page being done with, and what it hears; an empty one for nobody."""
        elicitation = params.get("elicitationId")
        session = self._sessions.pop((server, elicitation), "") if isinstance(elicitation, str) else ""
        return session, self._deliver(params) if session else params


def pages_in(rpc: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the pages that an error of this kind names; none where they are too many, or out of shape."""
    data = rpc.get("data")
    pages = data.get("elicitations") if isinstance(data, Mapping) else None
    if (
        not isinstance(pages, list)
        or len(pages) > _MOST_AT_ONCE
        or not all(isinstance(each, Mapping) for each in pages)
    ):
        return ()
    return pages
