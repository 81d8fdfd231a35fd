"""Upstreams built as the gateway builds them, against real servers."""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.connector import ConnectorFault, Surroundings, ToolCall, Upstream
from gateway.connector.registry import build_upstream, load_connectors

FIXTURES = Path(__file__).parents[2] / "fixtures"
FAULT_STDIO = str(FIXTURES / "fault_stdio.py")
PYTHON = [sys.executable, "-I", "-S"]

Start = Callable[..., Awaitable[Upstream]]


def stdio(era: str, *habits: str, **settings: Any) -> dict[str, Any]:
    """The section of a fault server over stdio."""
    command = {"command": PYTHON[0], "args": [*PYTHON[1:], FAULT_STDIO, era, *habits]}
    return {**command, "stop": {"grace_s": 0.3}, **settings}


def build(section: Mapping[str, Any], **lent: Any) -> Upstream:
    return build_upstream("fault", section, load_connectors(), Surroundings(**lent), environ={})


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(section)` returns an open upstream; all are closed at the end."""
    started: list[Upstream] = []

    async def begin(section: Mapping[str, Any], **lent: Any) -> Upstream:
        upstream = build(section, **lent)
        started.append(upstream)
        await upstream.open()
        return upstream

    yield begin
    for upstream in started:
        await upstream.close()


def asked(tool: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> ToolCall:
    """A call with a generous deadline, unless told otherwise."""
    return ToolCall(tool, arguments or {}, "call_test", **{"timeout_s": 20.0, **more})


def text(result: Any) -> Any:
    """What the first content block says, which is JSON."""
    return json.loads(result["content"][0]["text"])


async def fault_of(call: Awaitable[Any]) -> ConnectorFault:
    """The fault that `call` ends in."""
    with pytest.raises(ConnectorFault) as caught:
        await call
    return caught.value
