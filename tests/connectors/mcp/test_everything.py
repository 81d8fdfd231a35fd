"""Everything a server and a client can say to each other during a call: both eras, both transports, a real server."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gateway.connector import AskRefused, Back, ToolCall, Upstream
from tests.connectors.mcp.client import ALL, ANSWERS, Client
from tests.connectors.mcp.conftest import Start, asked, fault_of

SERVER = ["-m", "tests.conformance.everything"]
ERAS = ["modern", "legacy"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, *SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(params=["http", "stdio"])
def section(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    if request.param == "http":
        return {"url": request.getfixturevalue("url")}
    return {"command": sys.executable, "args": [*SERVER, "--stdio"], "cwd": str(request.config.rootpath)}


def said(result: Mapping[str, Any]) -> str:
    return str(result["content"][0]["text"])


def to(method: str, back: Back, **params: Any) -> ToolCall:
    return ToolCall(method, params, "call_test", 20.0, method=method, back=back)


@pytest.mark.parametrize("era", ERAS)
async def test_all_features_pass(start: Start, section: Mapping[str, Any], era: str) -> None:
    upstream = await start({**section, "protocol": era}, lends=lambda server: ALL)
    await asyncio.gather(
        _lists(upstream),
        _reads(upstream),
        _progress(upstream),
        _logs(upstream, era),
        _asks(upstream),
        _refuses(upstream),
        _asks_nobody(upstream),
    )


async def _lists(upstream: Upstream) -> None:
    assert {"prompts", "resources", "tools", "logging", "completions"} <= set(upstream.offer().capabilities)
    assert upstream.offer().instructions == "Everything the conformance scenarios call."
    assert "test_sampling" in {tool["name"] for tool in await upstream.tools()}
    assert "test_simple_prompt" in {prompt["name"] for prompt in await upstream.listed("prompts/list")}
    assert "test://static-text" in {each["uri"] for each in await upstream.listed("resources/list")}
    [template] = await upstream.listed("resources/templates/list")
    assert template["uriTemplate"] == "test://template/{id}/data"


async def _reads(upstream: Upstream) -> None:
    nobody = Client()
    read = await upstream.call(to("resources/read", nobody, uri="test://template/7/data"))
    assert '"id": "7"' in read["contents"][0]["text"]
    prompt = await upstream.call(to("prompts/get", nobody, name="test_simple_prompt"))
    assert prompt["messages"]
    reference = {"type": "ref/prompt", "name": "test_prompt_with_arguments"}
    completion = to("completion/complete", nobody, ref=reference, argument={"name": "arg1", "value": "par"})
    assert (await upstream.call(completion))["completion"]["values"] == ["paris", "park", "party"]
    missing = await fault_of(upstream.call(to("resources/read", nobody, uri="test://none")))
    assert missing.rpc is not None
    assert missing.rpc["data"] == {"uri": "test://none"}


async def _progress(upstream: Upstream) -> None:
    clients = [Client(wants_progress=n % 2 == 0) for n in range(4)]
    await asyncio.gather(
        *(upstream.call(asked("test_tool_with_progress", back=each, meta={"progressToken": "own"})) for each in clients)
    )
    for client in clients:
        steps = [0, 50, 100] if client.wants_progress else []
        assert [params["progress"] for params in client.of("progress")] == steps
        assert not any(params["progressToken"] == "own" for params in client.of("progress"))


async def _logs(upstream: Upstream, era: str) -> None:
    loud, other, quiet = Client(log_level="info"), Client(lane="other", log_level="debug"), Client(lane="quiet")
    tool = "test_logging_tool"
    await asyncio.gather(*(upstream.call(asked(tool, back=client)) for client in (loud, other, quiet)))
    for client in (loud, other):
        assert [params["data"] for params in client.of("message")] == [
            "Tool execution started",
            "Tool processing data",
            "Tool execution completed",
        ]
    if era == "modern":
        assert quiet.heard == []


async def _asks(upstream: Upstream) -> None:
    client = Client(capabilities=ALL, answers=ANSWERS)
    sampled = await upstream.call(asked("test_sampling", {"prompt": "Hi"}, back=client))
    assert said(sampled) == "LLM response: Bonjour"
    named = await upstream.call(asked("test_input_required_result_elicitation", back=client))
    assert said(named) == "Hello, Ada!"
    rooted = await upstream.call(asked("test_input_required_result_list_roots", back=client))
    assert said(rooted) == "The client's roots: file:///tmp"
    kept = await upstream.call(asked("test_input_required_result_request_state", back=client))
    assert said(kept) == "state-ok: confirmed"
    several = await upstream.call(asked("test_input_required_result_multiple_inputs", back=client))
    assert said(several) == "Bonjour Ada"
    twice = await upstream.call(asked("test_input_required_result_multi_round", back=client))
    assert said(twice) == "Ada likes None"
    asked_for = [params for method, params in client.asked if method == "sampling/createMessage"]
    assert asked_for[0]["messages"][0]["content"]["text"] == "Hi"


async def _refuses(upstream: Upstream) -> None:
    refusal = AskRefused(-1, "User rejected sampling request")
    client = Client(lane="refusing", capabilities={"sampling": {}}, answers={"sampling/createMessage": refusal})
    fault = await fault_of(upstream.call(asked("test_sampling", {"prompt": "Hi"}, back=client)))
    assert "User rejected sampling request" in fault.message
    declared = await upstream.call(asked("test_missing_capability", back=client))
    assert said(declared) == "The client can sample"


async def _asks_nobody(upstream: Upstream) -> None:
    fault = await fault_of(upstream.call(asked("test_sampling", {"prompt": "Hi"}, timeout_s=5.0)))
    assert fault.code == "rejected"
    assert "offers no such method" in fault.message or "sampling" in fault.message
