"""Asking a token endpoint: who the gateway is there, and what its refusals mean."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from gateway.credentials.discovery import Issuer
from gateway.credentials.fault import GrantRefused, unsent, unusable
from gateway.credentials.fetch import Fetch, Page
from gateway.credentials.token import Token, token_in
from gateway.model.clock import Clock
from gateway.store.private_file import PrivateFileError, read_private

__all__ = ["Client", "TokenEndpoint", "read_jwt"]

_OF_THE_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client"})
_PASSES: Final = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_ERROR: Final = re.compile(r"[a-z_]{1,40}")
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Client:
    """Who the gateway is at an authorization server; without secret and assertion, a public client."""

    id: str
    secret: str = field(default="", repr=False)
    assertion_file: Path | None = None

    def proof(self, issuer: Issuer) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the headers and the form fields that prove it. Raises `GrantRefused`."""
        if self.assertion_file is not None:
            assertion = read_jwt(self.assertion_file)
            return {}, {"client_id": self.id, "client_assertion_type": _ASSERTION, "client_assertion": assertion}
        if not self.secret:
            return {}, {"client_id": self.id}
        if issuer.posts_secrets:
            return {}, {"client_id": self.id, "client_secret": self.secret}
        pair = f"{quote(self.id, safe='')}:{quote(self.secret, safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}, {}


def read_jwt(path: Path) -> str:
    """Return the JWT in a private file. Raises `GrantRefused`."""
    try:
        content = read_private(path)
    except PrivateFileError as error:
        raise GrantRefused(str(error), client=True) from None
    text = (content or b"").decode("ascii", "replace").strip()
    if len(text.split(".")) != 3 or not all("!" <= char <= "~" for char in text):
        raise GrantRefused(f"{path} holds no JWT", client=True)
    return text


class TokenEndpoint:
    """The token endpoint of one authorization server, as one client."""

    def __init__(self, issuer: Issuer, client: Client, fetch: Fetch, clock: Clock) -> None:
        self.issuer: Final = issuer
        self.client: Final = client
        self._fetch = fetch
        self._clock = clock

    async def ask(self, form: Mapping[str, str]) -> Token:
        """Return the token for a grant; empty fields are left out.

        Raises:
            GrantRefused: the server refuses this grant, or this client.
            ConnectorFault: it does not answer, or not as it should.
        """
        asked_ms = self._clock.now_ms()
        return token_in(await self.answer(form), asked_ms)

    async def answer(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Return all that the server gives for a grant. Raises as `ask`."""
        headers, proof = self.client.proof(self.issuer)
        fields = {name: value for name, value in {**form, **proof}.items() if value}
        page = await self._fetch.post_form(self.issuer.token_url, fields, headers)
        if 200 <= page.status < 300:
            return page.document
        raise self._refusal(page)

    def _refusal(self, page: Page) -> Exception:
        where, status = self.issuer.issuer, page.status
        said = page.document.get("error")
        error = said if isinstance(said, str) and _ERROR.fullmatch(said) else ""
        if status in {400, 401, 403} and error and error not in _PASSES:
            return GrantRefused(f"{where} says {error}", client=error in _OF_THE_CLIENT)
        if status == 401:
            return GrantRefused(f"{where} refuses the client (HTTP 401)", client=True)
        if status == 429 or status >= 500 or error in _PASSES:
            text = "The authorization server gives no credential now."
            return unsent(text, detail=f"{where}: HTTP {status} {error}", retry_after_s=page.wait_s(self._clock))
        return unusable("The authorization server's answer cannot be used.", detail=f"{where}: HTTP {status}")
