"""Stage 9: answers keep their contract."""

from typing import Any

import pytest

from gateway.model.errors import ConnectorFault
from gateway.pipeline.stages.check import Check
from tests.pipeline.gate import Gate, answer, request


async def checked(tool: str, result: Any) -> Any:
    gate = Gate()
    gate.servers[tool.split("_", maxsplit=1)[0]].calls.append(result)
    call, outcome = await gate.after(Check, request(tool))
    assert outcome is None
    assert call.checked is call.raw
    return call.checked


@pytest.mark.parametrize(
    "result",
    [
        answer(),
        {"content": []},
        {"structuredContent": {"a": 1}},
        {"structuredContent": [1]},
        answer(isError=True),
        answer({"a": 1}, _meta={"x": 1}, unknown="kept"),
    ],
)
async def test_an_mcp_result_of_a_tool_without_output_schema_passes_as_it_is(result: dict[str, Any]) -> None:
    assert await checked("payments_pay", result) is result


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"content": "text"},
        {"content": None},
        {"content": {"type": "text"}},
        {"content": [None]},
        {"content": [{"type": "text", "text": "x"}, "x"]},
        {"content": [{"text": "x"}]},
        {"content": [{"type": 1}]},
        answer(isError="yes"),
        answer(isError=None),
    ],
)
async def test_what_is_no_mcp_result_is_withheld(result: dict[str, Any]) -> None:
    with pytest.raises(ConnectorFault, match="withheld") as refused:
        await checked("payments_pay", result)
    assert refused.value.code == "contract_broken"


async def test_structured_content_that_keeps_its_schema_passes() -> None:
    result = answer({"result": "passed", "score": 3, "more": True})
    assert await checked("fraud_check", result) is result


async def test_an_error_of_the_tool_needs_no_structured_content() -> None:
    result = answer(isError=True)
    assert await checked("fraud_check", result) is result


@pytest.mark.parametrize(
    "result",
    [answer(), answer({}), answer({"result": 1}), answer({"result": "ok", "score": "3"}), answer(isError="true")],
)
async def test_structured_content_that_breaks_its_schema_is_withheld(result: dict[str, Any]) -> None:
    with pytest.raises(ConnectorFault) as refused:
        await checked("fraud_check", result)
    assert refused.value.code == "contract_broken"


@pytest.mark.parametrize("tool", ["payments_pay", "fraud_check"])
async def test_an_answer_that_asks_or_says_more_is_no_plain_one(tool: str) -> None:
    with pytest.raises(ConnectorFault, match="not relayed yet"):
        await checked(tool, answer({"result": "passed"}, resultType="partial"))
    incomplete = answer({"result": "passed", "score": 1}, _meta={"io.toolgate/incomplete": True})
    gate = Gate()
    gate.servers[tool.split("_", maxsplit=1)[0]].calls.append(incomplete)
    call, _ = await gate.after(Check, request(tool))
    assert call.labels == ("incomplete",)
