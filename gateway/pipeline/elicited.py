"""Whom a server, or the gateway itself, sent to a web page: only that client hears when it is done there.

`notifications/elicitation/complete` (2025-11-25) belongs to no request, and may come long after the one that asked.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.credentials.pages import Asker, NoPage, Pages
from gateway.model.call import Call
from gateway.model.errors import ConnectorFault
from gateway.pipeline.sending import behalf_of

__all__ = ["COMPLETE", "ELICIT", "URL_REQUIRED", "Elicited", "pages_in"]

ELICIT: Final = "elicitation/create"
COMPLETE: Final = "notifications/elicitation/complete"
URL_REQUIRED: Final = -32042
"""JSON-RPC code of a server that refuses until the user has been at some pages; they are in its data."""

_MOST: Final = 10_000
_MOST_AT_ONCE: Final = 16
_LONGEST: Final = 256


_WITH_PAGES_SINCE: Final = "2025-11-25"


class Elicited:
    """Remembers the client session behind each page, the latest ten thousand. `deliver` takes secrets out.

    `pages` are the gateway's own.
    """

    def __init__(self, deliver: Callable[[Any], Any], pages: Pages) -> None:
        self._deliver = deliver
        self._pages = pages
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

    def shown(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what clients may see of something a server said."""
        shown: Mapping[str, Any] = self._deliver(said)
        return shown

    async def sent(self, call: Call, fault: ConnectorFault) -> ConnectorFault:
        """Return the fault of a call that wants its user's consent with the page for it, where the client can go there.

        Raises `StoreFault`.
        """
        caller, identity = call.request.caller, call.identity
        if not _goes_to_pages(call):
            return fault
        local = identity.method == "local" and caller.loopback
        try:
            asker = Asker(identity.agent, caller.session, local)
            page = await self._pages.offer(call.tool.server, behalf_of(call), asker)
        except NoPage as none:
            return fault.reworded(f"{fault.message} ({none})", fault.detail)
        sent = fault.reworded(fault.message, fault.detail)
        sent.page = page
        return sent


def _goes_to_pages(call: Call) -> bool:
    """Tell whether the client of a call can be sent to a page with the answer: it said so, and the era has it."""
    back, caller = call.request.back, call.request.caller
    elicitation = back.capabilities.get("elicitation")
    if not isinstance(elicitation, Mapping) or "url" not in elicitation:
        return False
    return back.takes_input_required or (caller.session is not None and caller.era >= _WITH_PAGES_SINCE)


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
