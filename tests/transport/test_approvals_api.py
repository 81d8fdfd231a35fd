"""The approvals API: a person, by their own token, decides; nobody else so much as looks."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from gateway.identity.tokens import Tokens
from gateway.model.errors import StoreFault
from gateway.store.approvals import ApprovalFilter, ApprovalTrail
from gateway.store.memory import MemoryStore
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, Gate
from tests.pipeline.people import ASK, LEADS, PEOPLE, asked, is_done, shown
from tests.transport.front import Front, bearer

Ask = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture
def front() -> Front:
    return Front(Gate(PERMIT_ALL, ASK, LEADS, people=PEOPLE))


async def token(front: Front, name: str = "person:bob") -> str:
    return (await Tokens(front.gate.store, front.gate.clock, front.gate.ids).issue(name)).token


@pytest.fixture
async def bob(front: Front) -> Ask:
    headers = {"authorization": f"Bearer {await token(front)}"}

    async def send(path: str = "", body: Any = None, **options: Any) -> httpx2.Response:
        options = {"headers": headers, **({"json": body} if body is not None else {}), **options}
        return await front.send("GET" if body is None else "POST", f"/-/approvals{path}", **options)

    return send


async def test_a_person_sees_what_waits_and_decides_it(front: Front, bob: Ask) -> None:
    approval = await asked(front.gate)
    listed = await bob()
    assert [one["id"] for one in listed.json()["approvals"]] == [approval]
    assert listed.headers["cache-control"] == "no-store"
    whole = (await bob(f"/{approval}")).json()
    assert (whole["arguments"], whole["state"], whole["who"]) == (PAYMENT, "pending", ["leads"])
    approved = await bob(f"/{approval}/approve", {"reason": "looked at it"})
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")
    assert approved.json()["votes"][0] == {
        "by": "bob",
        "yes": True,
        "at_ms": front.gate.clock.now_ms(),
        "why": "looked at it",
        "channel": "token",
    }
    assert is_done((await front.gate.run("payments_pay")).outcome)
    assert (await bob()).json()["approvals"] == []
    assert (await bob("?all=true")).json()["approvals"][0]["state"] == "used"


async def test_a_list_that_is_not_all_says_how_it_goes_on(front: Front, bob: Ask) -> None:
    ids = [await asked(front.gate, {**PAYMENT, "amount": amount}) for amount in range(3)]
    first = (await bob("?limit=2")).json()
    assert ([each["id"] for each in first["approvals"]], first["next"]) == ([ids[2], ids[1]], ids[1])
    rest = (await bob(f"?limit=2&before={first['next']}")).json()
    assert ([each["id"] for each in rest["approvals"]], "next" in rest) == ([ids[0]], False)
    for wrong in ("0", "-1", "1001", "ten", "", "1" * 5000):
        assert (await bob(f"?limit={wrong}")).json()["error"] == "bad_request", wrong
    assert (await bob("?before=apr_none")).json()["error"] == "unknown_approval"


async def test_denying_withdrawing_and_editing_work_too(front: Front, bob: Ask) -> None:
    first = await asked(front.gate)
    await bob(f"/{first}/approve", {})
    assert (await bob(f"/{first}/withdraw", {})).json()["state"] == "pending"
    edited = (await bob(f"/{first}/edit", {"arguments": {**PAYMENT, "amount": 1}})).json()
    assert (edited["state"], edited["edited_from"]) == ("approved", first)
    second = await asked(front.gate, {**PAYMENT, "amount": 2})
    assert (await bob(f"/{second}/deny", {"reason": "no"})).json()["state"] == "denied"
    told = shown(front.gate, await front.gate.run("payments_pay", {**PAYMENT, "amount": 2}))
    assert told["code"] == "approval_denied"


async def test_standing_approvals_are_granted_and_revoked(front: Front, bob: Ask) -> None:
    wanted = {
        "agent": "payer",
        "tool": "payments.pay",
        "most": 1,
        "until_ms": 1_900_000_000_000,
        "where": ["amount < 9"],
    }
    granted = (await bob("/standing", wanted)).json()
    assert granted["where"] == [{"path": "amount", "op": "<", "value": 9}]
    assert [one["id"] for one in (await bob("?standing=true")).json()["approvals"]] == [granted["id"]]
    assert is_done((await front.gate.run("payments_pay", {**PAYMENT, "amount": 8})).outcome)
    other = (await bob("/standing", wanted)).json()
    assert (await bob(f"/{other['id']}/revoke", {"reason": "enough"})).json()["state"] == "revoked"


async def strangers(front: Front) -> dict[str, str]:
    tokens = Tokens(front.gate.store, front.gate.clock, front.gate.ids)
    gone = (await tokens.issue("person:carol")).token
    await tokens.revoke("person:carol")
    return {
        "nobody": "",
        "basic": "Basic Ym9iOmJvYg==",
        "an agent's local key": bearer(),
        "an agent's token": f"Bearer {(await tokens.issue('payer')).token}",
        "a made-up token": "Bearer tg_1_0000",
        "a huge one": f"Bearer tg_{'1' * 9000}_0",
        "not ASCII": "Bearer t\u00e9",
        "revoked": f"Bearer {gone}",
    }


@pytest.mark.parametrize(
    "who",
    [
        "nobody",
        "basic",
        "an agent's local key",
        "an agent's token",
        "a made-up token",
        "a huge one",
        "not ASCII",
        "revoked",
    ],
)
async def test_nobody_else_looks_or_decides(front: Front, who: str) -> None:
    approval = await asked(front.gate)
    headers = {"authorization": (await strangers(front))[who].encode("latin-1").decode("latin-1")}
    for method, path in (("GET", ""), ("GET", f"/{approval}"), ("POST", f"/{approval}/approve"), ("POST", "/standing")):
        sent: Any = {key: value.encode("utf-8") for key, value in headers.items()}
        response = await front.send(method, f"/-/approvals{path}", headers=sent)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert "payments" not in response.text
    assert await asked(front.gate) == approval


async def test_a_token_that_ran_out_or_whose_person_is_gone_opens_nothing(front: Front, bob: Ask) -> None:
    approval = await asked(front.gate)
    front.gate.rules.current = replace(front.gate.rules.current, people={})
    assert ((await bob()).status_code, (await bob(f"/{approval}")).status_code) == (403, 403)
    assert (await bob(f"/{approval}/approve", {})).json()["error"] == "unknown_person"
    clock: Any = front.gate.clock
    clock.passed += 91 * 24 * 3600
    await front.tokens.refresh()
    assert (await bob()).json()["error"] == "identity_expired"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/apr_none", None, (404, "unknown_approval")),
        ("/{}/approve", [], (400, "bad_request")),
        ("/{}/approve", {"reason": 7}, (400, "bad_request")),
        ("/{}/edit", {}, (400, "bad_request")),
        ("/{}/edit", {"arguments": PAYMENT}, (400, "unchanged")),
        ("/{}/sign", {}, (404, "unknown_approval")),
        ("/standing", {"most": "7"}, (400, "bad_request")),
        ("/standing", {"where": "x"}, (400, "bad_request")),
        ("/standing", {"agent": "payer", "tool": "payments.pay"}, (400, "no_limit")),
        ("/{}/deny", {"reason": "x" * 1_100_000}, (413, "too_large")),
    ],
)
async def test_what_is_wrong_is_said(front: Front, bob: Ask, path: str, body: Any, said: tuple[int, str]) -> None:
    response = await bob(path.format(await asked(front.gate)), body)
    assert (response.status_code, response.json()["error"]) == said


async def test_a_body_that_is_no_json_changes_nothing(front: Front, bob: Ask) -> None:
    approval = await asked(front.gate)
    response = await bob(f"/{approval}/deny", {}, json=None, content=b"reason=no")
    assert (response.status_code, response.json()["error"]) == (400, "bad_request")
    response = await bob(f"/{approval}/deny", {}, json=None, content=b'{"reason": "a", "reason": "b"}')
    assert response.status_code == 400
    assert (await bob(f"/{approval}")).json()["state"] == "pending"


async def test_what_was_decided_is_not_decided_again(front: Front, bob: Ask) -> None:
    approval = await asked(front.gate)
    await bob(f"/{approval}/approve", {})
    response = await bob(f"/{approval}/approve", {})
    assert (response.status_code, response.json()["error"]) == (409, "approval_over")


@pytest.mark.parametrize("name", ["host", "origin"])
async def test_the_api_is_guarded_as_every_other_path(front: Front, name: str) -> None:
    value = "evil.example" if name == "host" else "https://evil.example"
    response = await front.send(
        "GET", "/-/approvals", headers={"authorization": f"Bearer {await token(front, 'person:carol')}", name: value}
    )
    assert response.status_code in {403, 421}


class Unreadable(MemoryStore):
    """A store whose approvals cannot be read."""

    async def list_approvals(self, wanted: ApprovalFilter) -> list[ApprovalTrail]:
        raise StoreFault("The ledger cannot be read.")


async def test_a_ledger_that_cannot_answer_is_said_to_be_one() -> None:
    front = Front(Gate(PERMIT_ALL, ASK, LEADS, people=PEOPLE, store=Unreadable(FakeClock())))
    headers = {"authorization": f"Bearer {await token(front)}"}
    response = await front.send("GET", "/-/approvals", headers=headers)
    assert (response.status_code, response.json()["error"]) == (503, "store_unavailable")


async def test_a_person_says_who_is_to_answer(front: Front, bob: Ask) -> None:
    approval = await asked(front.gate)
    assert (await bob(f"/{approval}/assign", {"to": "carol"})).json()["assigned"] == "carol"
    assert (await bob(f"/{approval}/assign", {"to": "nobody"})).status_code == 403
