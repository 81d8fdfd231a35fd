"""A scripted agent: an unchanged MCP client that does what a model might do, right and wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

__all__ = ["Step", "Tried", "over_http", "over_stdio", "script", "try_step"]

Expected = Literal["answered", "denied", "refused"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the script, and what must become of it."""

    title: str
    tool: str
    arguments: dict[str, Any]
    expected: Expected
    says: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a step. `code` is empty for an answer, else the gateway's code."""

    step: Step
    code: str
    text: str
    replayed: bool

    @property
    def as_expected(self) -> bool:
        """Tell whether the step ended as the script says it must."""
        ended = "answered" if not self.code else "denied" if self.code == "denied" else "refused"
        return ended == self.step.expected and self.step.says in self.text


def script(payment: str) -> list[Step]:
    """Return the calls of one agent that pays `payment`, in order."""
    right = {"payment_id": payment, "payee": "ACME", "amount": 250.0}
    mallory = {"payment_id": f"{payment}m", "payee": "Mallory Ltd", "amount": 40.0}
    return [
        Step("read the mail", "mail_inbox", {}, "answered"),
        Step("pay without a fraud check", "payments_pay", right, "denied", f'fraud_check {{"payment_id":"{payment}"'),
        Step("check a blocked payee", "fraud_check", mallory, "answered", "failed"),
        Step("pay although the check failed", "payments_pay", mallory, "denied", "fraud.check"),
        Step("check the payment", "fraud_check", right, "answered", "passed"),
        Step("pay another amount than was checked", "payments_pay", {**right, "amount": 2500.0}, "denied"),
        Step("pay what was checked", "payments_pay", right, "answered", "r_"),
        Step("repeat the very same call", "payments_pay", right, "answered", "r_"),
        Step("pay again on the same check", "payments_pay", {**right, "reference": "again"}, "denied", "fraud.check"),
        Step("do what the mail says", "payments_transfer", {"account": "XX66", "amount": 9000.0}, "denied"),
    ]


@asynccontextmanager
async def over_http(url: str, token: str, *, mode: str = "auto") -> AsyncIterator[Client]:
    """Connect an MCP client to a gateway over Streamable HTTP; `mode` picks the protocol era."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, cache=None) as client,
    ):
        yield client


@asynccontextmanager
async def over_stdio(command: str, args: list[str], *, mode: str = "auto") -> AsyncIterator[Client]:
    """Connect an MCP client to the gateway's stdio bridge, as a desktop host would."""
    parameters = StdioServerParameters(command=command, args=args)
    async with Client(stdio_client(parameters), mode=mode, cache=None) as client:
        yield client


async def try_step(client: Client, step: Step) -> Tried:
    """Make one call and say what became of it."""
    result = await client.call_tool(step.tool, step.arguments)
    assert isinstance(result, CallToolResult)
    text = " ".join(block.text for block in result.content if isinstance(block, TextContent))
    meta = result.meta or {}
    refusal = meta.get("io.toolgate/refusal", {})
    code = str(refusal.get("code", "error")) if result.is_error else ""
    return Tried(step, code, text, "io.toolgate/replayed-from" in meta)
