"""A client asks for a dry run in `_meta`; the machine's operator asks in an agent's name."""

from typing import Any

import pytest

from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, Gate
from tests.transport.front import OPERATOR, Front, bearer

DRY_RUN = "io.toolgate/dry-run"
ASKED = {"agent": "payer", "tool": "payments.pay", "arguments": PAYMENT, "by": "os:op"}


def params(wanted: Any = True, name: str = "payments_pay") -> dict[str, Any]:
    return {"name": name, "arguments": dict(PAYMENT), "_meta": {DRY_RUN: wanted}}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_dry_run_is_answered_in_either_era_and_nothing_is_called(era: str) -> None:
    front = Front()
    more = {"mcp_session_id": await front.initialize()} if era == "legacy" else {}
    response = await getattr(front, era)("tools/call", params(), **more)
    result = response.json()["result"]
    told = result["structuredContent"]
    assert (result["isError"], told["code"], told["done"]) == (True, "dry_run", "nothing")
    assert (told["ruling"], told["policies"], told["retryable"]) == ("allow", ["all"], False)
    assert "The policies allow this call." in result["content"][0]["text"]
    assert front.gate.servers["payments"].asked == []
    real = await getattr(front, era)("tools/call", params(False), **more)
    assert "isError" not in real.json()["result"]
    assert len(front.gate.servers["payments"].asked) == 1


@pytest.mark.parametrize("wanted", ["true", 1, None, {}])
async def test_who_says_it_otherwise_than_it_can_be_said_has_nothing_done(wanted: Any) -> None:
    front = Front()
    response = await front.modern("tools/call", params(wanted))
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)
    assert "true or false" in response.json()["error"]["message"]
    assert front.gate.servers["payments"].asked == []


async def test_what_would_be_refused_is_refused_in_the_same_words() -> None:
    front = Front(Gate(PERMIT_ALL, PRECONDITION))
    dry, real = [(await front.modern("tools/call", params(wanted))).json()["result"] for wanted in (True, False)]
    for each in (dry, real):
        del each["_meta"], each["structuredContent"]["call"]
    assert dry == real


async def test_the_operator_asks_over_a_path_of_its_own() -> None:
    front = Front(Gate(PERMIT_ALL, PRECONDITION))

    async def asked(token: str = OPERATOR, **said: Any) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"}
        response = await front.send("POST", "/-/explain", json={**ASKED, **said}, headers=headers)
        return response.status_code, response.json()

    status, told = await asked()
    assert (status, told["outcome"]) == (200, "needs_precondition")
    assert (await asked(run="payday"))[0] == 200
    assert (await asked("wrong"))[0] == 401
    assert (await asked(bearer().removeprefix("Bearer ")))[0] == 401
    for wrong in ({"agent": ""}, {"tool": 7}, {"arguments": []}, {"by": None}, {"more": "x"}):
        assert (await asked(**wrong))[0] == 409
    status, told = await asked(tool="nowhere.pay")
    assert (status, told["error"]) == (409, "unknown_tool")
    status, told = await asked(agent="nobody")
    assert (status, told["error"]) == (503, "identity_revoked")
    assert front.gate.servers["payments"].asked == []
