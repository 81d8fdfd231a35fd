"""A tool that a legacy server makes only tasks of answers a client that knows none, which waits for it."""

import asyncio
from typing import Any

import pytest

from gateway.connector import Upstream
from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.connectors.mcp.test_talk import SAMPLING, sampler, talker

LATER = {"takes_input_required": True}


async def working(start: Start) -> Upstream:
    """A server whose tools are known."""
    upstream = await start(talker())
    await upstream.tools()
    return upstream


@pytest.mark.parametrize(("how", "meta"), [("done", None), ("x", {"x": 1}), ("now", None)])
async def test_its_result_is_that_of_the_call_and_names_no_task(start: Start, how: str, meta: Any) -> None:
    upstream = await working(start)
    result = await upstream.call(asked("job", {"how": how}, back=Client(**LATER)))
    assert (text(result), result.get("_meta")) == ("done", meta)


async def test_a_client_of_the_same_era_is_told_what_its_server_says(start: Start) -> None:
    upstream = await working(start)
    assert (await fault_of(upstream.call(asked("job", back=Client())))).rpc["code"] == -32600  # type: ignore[index]
    begun = await upstream.call(asked("job", back=Client(), more={"task": {}}))
    assert begun == {"task": {"taskId": "t1", "status": "working"}}


async def test_its_questions_go_to_the_client_while_it_is_waited_for(start: Start) -> None:
    upstream = await working(start)
    client = sampler({"x": None}, **LATER)
    answer = text(await upstream.call(asked("job", {"how": "ask"}, back=client)))
    assert (answer["result"], len(client.asked), client.capabilities) == ({"x": None}, 1, SAMPLING)


@pytest.mark.parametrize(
    ("how", "code"),
    [("none", "contract_broken"), ("odd", "contract_broken"), ("fail", "rejected"), ("forget", "unavailable")],
)
async def test_what_it_ends_with_instead_is_a_fault(start: Start, how: str, code: str) -> None:
    upstream = await working(start)
    fault = await fault_of(upstream.call(asked("job", {"how": how}, back=Client(**LATER))))
    assert fault.code == code


async def test_it_is_called_off_where_nobody_waits_for_it_any_longer(start: Start) -> None:
    upstream = await working(start)
    late = await fault_of(upstream.call(asked("job", {"how": "hang"}, back=Client(**LATER), timeout_s=0.3)))
    assert late.code == "timeout"
    waiting = asyncio.ensure_future(upstream.call(asked("job", {"how": "hang"}, back=Client(**LATER))))
    while text(await upstream.call(asked("about")))["results"] < 2:
        pass
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert text(await upstream.call(asked("about")))["cancelled"].count("t1") == 2
