"""A tool that a server makes only tasks of answers a client of the other era, which cannot follow one: it waits."""

import asyncio
from typing import Any

import pytest

from gateway.connector import NOBODY, Back, Upstream
from tests.connectors.mcp.client import Client
from tests.connectors.mcp.conftest import Start, asked, fault_of, text
from tests.connectors.mcp.test_talk import SAMPLING, sampler, talker

ERAS = ("legacy", "modern")
OTHER: dict[str, Any] = {"legacy": {"takes_input_required": True}, "modern": {"begins_tasks": True}}
"""What is true of a client of the other era than its server."""
BEFORE: dict[str, Any] = {"begins_tasks": False}
"""What is true of a client of an era that knew of no tasks, and of nobody: a call that the gateway makes by itself."""


async def working(start: Start, era: str) -> Upstream:
    """A server whose tools are known."""
    upstream = await start(talker(era))
    await upstream.tools()
    return upstream


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("how", "meta"), [("done", None), ("x", {"x": 1})])
async def test_its_result_is_that_of_the_call_and_names_no_task(start: Start, era: str, how: str, meta: Any) -> None:
    upstream = await working(start, era)
    result = await upstream.call(asked("job", {"how": how}, back=Client(**OTHER[era])))
    assert (text(result), result.get("_meta")) == ("done", meta)


@pytest.mark.parametrize("era", ERAS)
async def test_one_that_answers_at_once_after_all_is_answered(start: Start, era: str) -> None:
    upstream = await working(start, era)
    assert text(await upstream.call(asked("job", {"how": "now"}, back=Client(**OTHER[era])))) == "done"


async def test_a_client_of_the_same_era_is_told_what_its_server_says(start: Start) -> None:
    upstream, client = await working(start, "legacy"), Client(begins_tasks=True)
    assert (await fault_of(upstream.call(asked("job", back=client)))).rpc["code"] == -32600  # type: ignore[index]
    begun = await upstream.call(asked("job", back=client, more={"task": {}}))
    assert begun == {"task": {"taskId": "t1", "status": "working"}}


@pytest.mark.parametrize("back", [Client(**BEFORE), NOBODY], ids=["before", "nobody"])
async def test_a_client_that_has_never_heard_of_tasks_is_answered_with_the_result(start: Start, back: Back) -> None:
    upstream = await working(start, "legacy")
    assert text(await upstream.call(asked("job", back=back))) == "done"


@pytest.mark.parametrize("client", [OTHER["legacy"], BEFORE], ids=["modern", "before"])
async def test_how_far_it_got_is_told_while_it_is_waited_for(start: Start, client: dict[str, Any]) -> None:
    upstream, told = await working(start, "legacy"), Client(wants_progress=True, **client)
    await upstream.call(asked("job", {"how": "tell"}, back=told))
    assert [each["progress"] for each in told.of("progress")] == [1]


@pytest.mark.parametrize(("how", "of_the_same_era"), [("done", True), ("other", False), ("vague", False)])
async def test_what_lacks_something_else_or_can_be_declared_is_refused(
    start: Start, how: str, of_the_same_era: bool
) -> None:
    upstream = await working(start, "modern")
    client = Client(takes_input_required=of_the_same_era)
    fault = await fault_of(upstream.call(asked("job", {"how": how}, back=client)))
    assert fault.rpc is not None
    assert fault.rpc["code"] == -32021


@pytest.mark.parametrize("era", ERAS)
async def test_its_questions_go_to_the_client_while_it_is_waited_for(start: Start, era: str) -> None:
    upstream = await working(start, era)
    client = sampler({"x": None}, **OTHER[era])
    answer = text(await upstream.call(asked("job", {"how": "ask"}, back=client)))
    assert answer["result" if era == "legacy" else "q"] == {"x": None}
    assert (len(client.asked), client.capabilities) == (1, SAMPLING)


FAULTS = [
    ("legacy", "none", "contract_broken"), ("legacy", "odd", "contract_broken"), ("legacy", "fail", "rejected"),
    ("legacy", "forget", "unavailable"), ("modern", "none", "contract_broken"), ("modern", "odd", "contract_broken"),
    ("modern", "fail", "rejected"), ("modern", "break", "rejected"), ("modern", "forget", "unavailable"),
    ("modern", "stop", "unavailable"), ("modern", "ask", "rejected"),
]  # fmt: skip


@pytest.mark.parametrize(("era", "how", "code"), FAULTS)
async def test_what_it_ends_with_instead_is_a_fault(start: Start, era: str, how: str, code: str) -> None:
    upstream = await working(start, era)
    fault = await fault_of(upstream.call(asked("job", {"how": how}, back=Client(**OTHER[era]))))
    assert fault.code == code


@pytest.mark.parametrize("era", ERAS)
async def test_it_is_called_off_where_nobody_waits_for_it_any_longer(start: Start, era: str) -> None:
    upstream = await working(start, era)
    client = Client(**OTHER[era])
    late = await fault_of(upstream.call(asked("job", {"how": "hang"}, back=client, timeout_s=0.3)))
    assert late.code == "timeout"
    looked = text(await upstream.call(asked("about"))).get("results", 0)
    waiting = asyncio.ensure_future(upstream.call(asked("job", {"how": "hang"}, back=client)))
    while text(await upstream.call(asked("about"))).get("results", 0) == looked:
        pass
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert text(await upstream.call(asked("about")))["cancelled"].count("t1") == 2
