"""Requests with what the API is shown at the moment."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from connectors.rest.auth import header_problem
from connectors.rest.exchange import Answer, Exchange, Request
from gateway.connector import ITSELF, Behalf, ConnectorFault, Credential, Measure, Refusal

__all__ = ["Showing"]

_INVALID: Final = 'error="invalid_token"'


class Showing:
    """Sends requests; what is shown with one is the credential's word, each time. A refusal renews it once."""

    def __init__(self, exchange: Exchange, credential: Credential | None) -> None:
        self._exchange = exchange
        self._credential = credential

    def concerning(self, behalf: Behalf) -> Behalf:
        """As `Credential.concerning`."""
        return ITSELF if self._credential is None else self._credential.concerning(behalf)

    async def own(self) -> Mapping[str, str]:
        """Return what is shown on nobody's behalf: nothing, where only a user has something to show.

        Raises:
            ConnectorFault: there ought to be something, and there is not.
        """
        if self._credential is None:
            return {}
        try:
            return await self._credential.headers(self._credential.concerning(ITSELF))
        except ConnectorFault as fault:
            if fault.code == "forbidden":
                return {}
            raise

    async def send(self, request: Request, behalf: Behalf, timeout_s: float, measure: Measure | None = None) -> Answer:
        """Return the answer; a request that was refused for its credential alone was tried again with a renewed one.

        `measure` is told of all that comes in.

        Raises:
            ConnectorFault: there is nothing to show, or no usable answer came; `sent` is False if nothing left.
        """
        if self._credential is None:
            return await self._exchange.send(request, timeout_s, measure)
        clock = asyncio.get_running_loop().time
        ends, whose = clock() + timeout_s, self._credential.concerning(behalf)
        for again in (False, True):
            shown = await self._credential.headers(whose)
            answer = await self._exchange.send(_with(request, shown), max(ends - clock(), 0.001), measure)
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status != 401 and not (answer.status == 403 and _INVALID in challenge):
                return answer  # another 403 is about the request: the answer itself says most
            await self._credential.refused(whose, shown, Refusal(answer.status, challenge, again=again))
        return answer


def _with(request: Request, shown: Mapping[str, str]) -> Request:
    for name, value in shown.items():
        if header_problem(name, value):
            text = f"What is to be shown in {name} has characters that a header cannot carry."
            raise ConnectorFault(text, code="credential_expired", sent=False)
    return replace(request, headers=(*shown.items(), *request.headers))
