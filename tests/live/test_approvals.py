"""The starter policy `destructive-needs-approval`, end to end: unchanged MCP clients, real people, real crashes."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from gateway.approval.values import ApprovalRefused
from gateway.identity.tokens import Tokens
from gateway.model.clock import RandomIds
from tests.live.inside import Inside, call, code, inside
from tests.live.running import PAYMENTS, ROOT, Running, command_inside, environment, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOORS = ["modern", "legacy", "stdio-modern", "stdio-legacy"]
PEOPLE = """
people:
  bob@acme.example: { roles: [tool-owners] }
  finance@acme.example: { roles: [tool-owners] }
  eve@acme.example: { roles: [readers] }
approvals: { wait_s: 1.5, escalate_to: tool-owners }
"""
CONFIG = PAYMENTS[: PAYMENTS.index("workflows:")] + "workflows: {}\n" + 'policies: ["policies"]\n' + PEOPLE
_numbers = count(1)


def with_pack(home: Path) -> None:
    """Use the pack, and not the example's own policies."""
    (home / "policies").mkdir(parents=True, exist_ok=True)
    for left in (home / "policies").iterdir():
        left.unlink()
    pack = ROOT / "policies" / "destructive-needs-approval.cedar"
    (home / "policies" / pack.name).write_text(pack.read_text(encoding="utf-8"), encoding="utf-8")


def payment(**changes: Any) -> dict[str, Any]:
    return {"payment_id": f"a_{next(_numbers)}", "payee": "ACME", "amount": 250.0, "reference": "", **changes}


def paid(path: Path, made: dict[str, Any]) -> int:
    with closing(sqlite3.connect(path)) as file:
        query = "SELECT count(*) FROM payments WHERE payment_id = ?"
        return int(file.execute(query, (made["payment_id"],)).fetchone()[0])


def toolgate(home: Path, *arguments: str) -> Any:
    """Run a command for people; return what it prints."""
    return json.loads(command_inside(home, environment(), "approvals", *arguments, "--json").stdout)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    home: Path = tmp_path_factory.mktemp("approvals")
    async with inside(home, CONFIG) as running:
        with_pack(home)
        assert await running.gateway.reload(running.gateway.config) == ""
        yield running


@pytest.mark.parametrize("door", DOORS)
async def test_a_payment_waits_for_a_person_on_the_command_line_and_is_made_once(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        made = payment()
        parked = await call(client, "payments_pay", made)
        assert code(parked) == "needs_approval"
        approval = (parked.meta or {})["io.toolgate/refusal"]["approval"]
        assert "tool-owners" in parked.content[0].text  # type: ignore[union-attr]  # it is text
        said = await call(client, "approvals_wait", {"approval": approval, "seconds": 0})
        assert (said.structured_content or {})["state"] == "pending"
        told = await asyncio.to_thread(toolgate, gate.home, "show", approval)
        assert told["arguments"] == made
        await asyncio.to_thread(toolgate, gate.home, "approve", approval, "--as", "bob@acme.example")
        said = await call(client, "approvals_wait", {"approval": approval})
        assert (said.structured_content or {})["state"] == "approved"
        assert code(await call(client, "payments_pay", {**made, "amount": 250.01})) == "needs_approval"
        assert paid(gate.database("payments"), made) == 0
        done = await call(client, "payments_pay", made)
        assert code(done) == "ok"
        again = await call(client, "payments_pay", made)
        assert again.structured_content == done.structured_content
        assert paid(gate.database("payments"), made) == 1


@asynccontextmanager
async def person(gate: Inside, name: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Use the approvals API with a person's token."""
    issued = await Tokens(gate.gateway.store, gate.clock, RandomIds()).rotate(f"person:{name}", overlap_ms=0)
    base = gate.url.removesuffix("/mcp")
    headers = {"authorization": f"Bearer {issued.token}"}
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=20) as client:
        while (await client.get("/-/approvals")).status_code == 401:
            await asyncio.sleep(0.02)  # tokens are read ten times a second at most
        yield client


async def waiting(people: httpx2.AsyncClient) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await people.get("/-/approvals")).json()["approvals"]
    return listed


async def test_who_decides_while_the_call_still_waits_spares_it_a_repetition(gate: Inside) -> None:
    async with gate.client("modern") as client, person(gate, "bob@acme.example") as bob:
        made = payment()
        calling = asyncio.create_task(call(client, "payments_pay", made))
        async with asyncio.timeout(10):
            while not (found := [each["id"] for each in await waiting(bob) if each["arguments"] == made]):
                await asyncio.sleep(0)
        [approval] = found
        assert (await bob.post(f"/-/approvals/{approval}/approve", json={})).status_code == 200
        assert code(await calling) == "ok"
        assert paid(gate.database("payments"), made) == 1


async def test_an_agent_escalates_a_question_and_gets_the_answer_of_a_person_who_may_give_it(gate: Inside) -> None:
    asked = {"question": "Refund 80 EUR?", "context": "The parcel is lost.", "proposal": "Refund it."}
    async with gate.client("modern") as client:
        waiting = await call(client, "approvals_escalate", asked)
        assert code(waiting) == "needs_approval"
        escalation = waiting.meta["io.toolgate/refusal"]["approval"]  # type: ignore[index]
        desk = gate.gateway.approving.desk
        found = await desk.find(escalation)
        assert (found.who, found.asked["arguments"]) == (("tool-owners",), asked)
        with pytest.raises(ApprovalRefused):
            await desk.approve("eve@acme.example", escalation)
        await desk.approve("finance@acme.example", escalation, "Up to 50 EUR.")  # the agent's own owner may
        answer = await call(client, "approvals_escalate", asked)
        assert answer.structured_content == {
            "escalation": escalation,
            "by": "finance@acme.example",
            "answer": "Up to 50 EUR.",
        }
        refused = await call(client, "approvals_escalate", {"question": "Refund 8000 EUR?"})
        other = refused.meta["io.toolgate/refusal"]["approval"]  # type: ignore[index]
        await desk.deny("bob@acme.example", other, "Ask legal first.")
        told = await call(client, "approvals_escalate", {"question": "Refund 8000 EUR?"})
        assert code(told) == "approval_denied"
        assert "Ask legal first." in str(told.content)


@pytest.mark.parametrize("who", ["eve@acme.example", "finance@acme.example"])  # one without the role, one who owns it
async def test_a_person_whom_no_policy_lets_and_whom_the_call_is_for_decide_nothing(gate: Inside, who: str) -> None:
    async with gate.client("modern") as client, person(gate, who) as stranger:
        approval = (((await call(client, "payments_pay", payment())).meta or {})["io.toolgate/refusal"])["approval"]
        refused = await stranger.post(f"/-/approvals/{approval}/approve", json={})
        assert (refused.status_code, refused.json()["error"]) == (403, "may_not_approve")


async def test_an_agents_token_is_no_persons_and_a_persons_no_agents(gate: Inside) -> None:
    base = gate.url.removesuffix("/mcp")
    headers = {"authorization": f"Bearer {gate.tokens['payer']}"}
    async with httpx2.AsyncClient(base_url=base) as http, person(gate, "bob@acme.example") as bob:
        assert (await http.get("/-/approvals", headers=headers)).status_code == 401
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        assert (await bob.post("/mcp", json=message)).status_code == 401


async def test_twenty_repetitions_at_once_after_an_approval_make_one_payment(gate: Inside) -> None:
    async with (
        gate.client("modern") as one,
        gate.client("legacy") as other,
        person(gate, "bob@acme.example") as bob,
    ):
        made = payment()
        approval = (((await call(one, "payments_pay", made)).meta or {})["io.toolgate/refusal"])["approval"]
        await bob.post(f"/-/approvals/{approval}/approve", json={})
        codes = await asyncio.gather(*(call(client, "payments_pay", made) for client in (one, other) * 10))
        assert {code(each) for each in codes} == {"ok"}
        assert paid(gate.database("payments"), made) == 1


async def test_a_row_that_was_changed_approves_nothing(gate: Inside) -> None:
    async with gate.client("modern") as client:
        made = payment()
        approval = (((await call(client, "payments_pay", made)).meta or {})["io.toolgate/refusal"])["approval"]
        with closing(sqlite3.connect(gate.database("gateway"))) as file:
            before = file.execute("SELECT state FROM approvals WHERE id = ?", (approval,)).fetchone()[0]
            file.execute("UPDATE approvals SET state = 'approved' WHERE id = ?", (approval,))
            file.commit()
            assert code(await call(client, "payments_pay", made)) == "ledger_tampered"
            assert paid(gate.database("payments"), made) == 0
            file.execute("UPDATE approvals SET state = ? WHERE id = ?", (before, approval))
            file.commit()
        assert code(await call(client, "payments_pay", made)) == "needs_approval"


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Running]:
    home = tmp_path
    (home / "gateway.yaml").write_text(CONFIG, encoding="utf-8")
    with_pack(home)
    running = Running(home, environment(DATA=str(home / "data"))).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def until(running: Running, token: str, made: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Repeat a call until it is answered with this code; the servers may still be starting."""
    give_up = time.monotonic() + 20
    while True:
        answer = running.call(token, "payments_pay", made)
        found = refusal(answer)["code"] if answer.get("isError") else "ok"
        if found == wanted:
            return answer
        assert time.monotonic() < give_up, answer
        time.sleep(0.05)


async def test_asked_before_one_crash_and_approved_before_another_it_is_done_once_after_both(crashing: Running) -> None:
    token = crashing.token("payer")
    made = payment()
    approval = refusal(until(crashing, token, made, "needs_approval"))["approval"]
    crashing.kill()
    crashing.start()
    assert refusal(until(crashing, token, made, "needs_approval"))["approval"] == approval
    issued = json.loads(crashing.command("token", "new", "person:bob@acme.example", "--json").stdout)["token"]
    headers = {"authorization": f"Bearer {issued}"}
    deed = f"{crashing.url}/-/approvals/{approval}/approve"
    while (approved := httpx2.post(deed, json={}, headers=headers, timeout=20)).status_code == 401:
        await asyncio.sleep(0.02)  # tokens are read ten times a second at most
    assert approved.json().get("state") == "approved", approved.text
    crashing.kill()
    crashing.start()
    receipt = until(crashing, token, made, "ok")["structuredContent"]
    crashing.kill()
    crashing.start()
    assert until(crashing, token, made, "ok")["structuredContent"] == receipt
    assert paid(crashing.home / "data" / "payments.db", made) == 1
    found = httpx2.get(f"{crashing.url}/-/approvals/{approval}", headers=headers, timeout=20).json()
    assert (found["state"], found["used"]) == ("used", 1)
    crashing.stop()
    crashing.command("verify")
