"""A gateway whose users connect accounts on its pages, clients that are sent there, and a browser to go with."""

import html
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from connectors.mcp import McpConnector
from gateway.connector import Behalf
from gateway.credentials.accounts import Accounts
from gateway.credentials.consent import Consent, keep
from gateway.credentials.oauth import OAuth
from gateway.credentials.vault import Vault
from gateway.model.clock import SystemClock
from gateway.store.ports import EventFilter
from tests.credentials.authority import SECRET, Authority
from tests.live.inside import Inside, inside
from tests.live.raw import Peer

__all__ = ["Browser", "House", "browsing", "connect_shared", "house_in"]

CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///data/gateway.db" }}
mcpServers:
  mail: {{ url: "{url}/mcp", protocol: legacy, auth: {{ type: authorization_code, issuer: "{url}", scopes: [read] }} }}
  notes:
    connector: http
    base_url: "{url}"
    auth: {{ type: authorization_code, issuer: "{url}", resource: "{url}/mcp" }}
    egress: {{ allow_private: [127.0.0.1] }}
    tools:
      whose: {{ description: Tells., method: POST, path: /mcp, effect: read, input: {input} }}
loops: {{ warn: 3, block: 4 }}
tools:
  mail.t0: {{ effect: read }}
  mail.t1: {{ effect: irreversible }}
agents:
  helper: {{ auth: {{ jwt: {{ issuer: "{url}", audience: toolgate, subject: helper }} }}, allow: ["*"] }}
  desk: {{ auth: {{ local: true }}, allow: ["*"] }}
{bot}
identity:
  logins: [{{ issuer: "{url}", client_id: acme, client_secret: "{secret}" }}]
people:
  carol: {{}}
  dave: {{ aliases: [david] }}
"""


_MESSAGE = {"type": "object", "properties": {name: {} for name in ("jsonrpc", "id", "method", "params")}}
_BOT = '  bot: { allow: ["mail.*"] }'


@dataclass
class Browser:
    """A browser with its cookies: goes where pages send it, as the person who sits there."""

    http: httpx2.AsyncClient = field(default_factory=httpx2.AsyncClient)
    at: httpx2.Response = field(init=False)

    async def open(self, url: str) -> httpx2.Response:
        """Open a page, and follow what redirects by itself."""
        self.at = await self.http.get(url)
        return await self.follow()

    async def press(self, way: str, **fields: str) -> httpx2.Response:
        """Send the form of the page with one of its buttons."""
        assert f'value="{way}"' in self.at.text, self.at.text
        url = str(self.at.url)
        parts = urlsplit(url)
        origin = {"Origin": f"{parts.scheme}://{parts.netloc}"}
        self.at = await self.http.post(url, data={**fields, "way": way}, headers=origin)
        return await self.follow()

    async def follow(self) -> httpx2.Response:
        """Go wherever the page sends the browser by itself, as far as that goes."""
        for _ in range(8):
            onward = self.onward()
            if not onward:
                break
            self.at = await self.http.get(onward)
        return self.at

    def onward(self) -> str:
        """Return where the page sends the browser, or nothing."""
        if self.at.is_redirect:
            return str(self.at.url.join(self.at.headers["location"]))
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', self.at.text)
        return html.unescape(found[1]) if found else ""


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    async with httpx2.AsyncClient() as http:
        yield Browser(http)


@dataclass
class House:
    """The gateway, the authorization server that is its users' issuer as well, and what is on record."""

    gate: Inside
    oauth: Authority

    def bearer(self, user: str) -> str:
        """Return what an agent shows that acts for a user."""
        acting = {"sub": user, "act": {"sub": "helper"}} if user else {"sub": "helper"}
        return self.oauth.vouch(aud="toolgate", **acting)

    @asynccontextmanager
    async def client(self, user: str, mode: str = "auto", **asked: Any) -> AsyncIterator[Client]:
        """Connect an MCP client, of either era, whose agent acts for a user."""
        headers = {"Authorization": f"Bearer {self.bearer(user)}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(self.gate.url, http_client=http), mode=mode, cache=None, **asked) as client,  # type: ignore[arg-type]
        ):
            yield client

    async def ask(self, user: str, tool: str = "mail_t0", token: str = "", **more: Any) -> dict[str, Any]:
        """Call a tool by hand, as a client of 2026-07-28 that can be sent to pages; return its result."""
        meta = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
        peer = Peer(self.gate.url.removesuffix("/mcp"), token or self.bearer(user))
        answer = await peer.rpc("tools/call", {"name": tool, "arguments": {}, "_meta": meta, **more})
        return answer.result

    async def link(self, user: str, tool: str = "mail_t0") -> str:
        """Return where a user is sent who calls a tool."""
        [question] = (await self.ask(user, tool))["inputRequests"].values()
        assert (question["method"], question["params"]["mode"]) == ("elicitation/create", "url")
        return str(question["params"]["url"])

    async def told(self, user: str) -> list[dict[str, Any]]:
        """Return what is on record of a user's consent."""
        events = [event async for event in self.gate.gateway.store.events(EventFilter())]
        bodies = [json.loads(event.body) for event in events if event.on_behalf_of == user]
        return [body for body in bodies if body.get("by") == "consent page"]

    async def everything(self) -> str:
        """Return the whole ledger."""
        return "\n".join([event.body async for event in self.gate.gateway.store.events(EventFilter())])


async def connect_shared(oauth: Authority, home: Path) -> None:
    """Connect the account that lists the tools, as the operator does."""
    sought = McpConnector.sought(McpConnector.configure(oauth.section("authorization_code"), None), "mail")
    assert sought is not None
    vault, clock = Vault(home / ".toolgate", os.environ), SystemClock()
    oauth.control(user="shared")
    consent = await Consent.asked(OAuth(sought, Accounts(vault), clock), "http://127.0.0.1:9/callback", vault, clock)
    async with browsing() as browser:
        came = await browser.http.get(consent.url)
    given = dict(parse_qsl(urlsplit(came.headers["location"]).query))
    await keep(await consent.given(given), "mail", Behalf(), vault)


@asynccontextmanager
async def house_in(home: Path, oauth: Authority, bot: str = _BOT) -> AsyncIterator[House]:
    """Run a gateway on a folder, with an agent that has a token."""
    config = CONFIG.format(url=oauth.url, secret=SECRET, bot=bot, input=json.dumps(_MESSAGE))
    async with inside(home, config) as gate:
        yield House(gate, oauth)
