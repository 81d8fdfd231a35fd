"""The precondition matrix of the payments example: every line, through every door."""

import asyncio
import json
import sqlite3
from itertools import count
from typing import Any

import pytest
from click.testing import Result
from mcp.client import Client
from typer.testing import CliRunner

from gateway.cli import build
from gateway.ledger.trace import one_line
from tests.live.inside import Inside, call, code

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOORS = ["modern", "legacy", "stdio-modern", "stdio-legacy"]
MINUTES = 60_000
_numbers = count(1)


def payment(**changes: Any) -> dict[str, Any]:
    return {"payment_id": f"p_{next(_numbers)}", "payee": "ACME", "amount": 250.0, **changes}


async def check(client: Client, paid: dict[str, Any], **changes: Any) -> None:
    await call(client, "fraud_check", {**paid, **changes})


async def pay(client: Client, paid: dict[str, Any], **meta: str) -> str:
    return code(await call(client, "payments_pay", paid, **meta))


def payments_made(gate: Inside, paid: dict[str, Any]) -> int:
    with sqlite3.connect(gate.database("payments")) as file:
        query = "SELECT count(*) FROM payments WHERE payment_id = ?"
        return int(file.execute(query, (paid["payment_id"],)).fetchone()[0])


@pytest.mark.parametrize("door", DOORS)
async def test_a_payment_is_made_exactly_when_its_own_check_passed(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        unchecked = payment()
        assert await pay(client, unchecked) == "denied"
        failed = payment(payee="Mallory Ltd")
        await check(client, failed)
        assert await pay(client, failed) == "denied"
        broken = payment()
        await check(client, broken, payee="")
        assert await pay(client, broken) == "denied"
        for change in ({"payment_id": "p_other"}, {"amount": 250.01}, {"payee": "Acme"}):
            other = payment()
            await check(client, other, **change)
            assert await pay(client, other) == "denied", change
        right = payment()
        await check(client, right)
        assert await pay(client, right) == "ok"
        assert await pay(client, {**right, "reference": "again"}) == "denied"
        assert [payments_made(gate, each) for each in (unchecked, failed, broken, right)] == [0, 0, 0, 1]


@pytest.mark.parametrize("door", DOORS)
async def test_a_check_is_good_for_exactly_fifteen_minutes(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        fresh, stale, early = payment(), payment(), payment()
        for each in (fresh, stale, early):
            await check(client, each)
        gate.clock.ms += 15 * MINUTES
        assert await pay(client, fresh) == "ok"
        gate.clock.ms += 1
        assert await pay(client, stale) == "denied"
        gate.clock.ms -= 15 * MINUTES + 2
        assert await pay(client, early) == "denied"
        gate.clock.ms += 15 * MINUTES + 2


@pytest.mark.parametrize("door", DOORS)
async def test_a_check_of_another_run_or_another_agent_does_not_count(gate: Inside, door: str) -> None:
    async with gate.client(door) as client, gate.client(door, "payer2") as stranger:
        elsewhere, foreign = payment(), payment()
        await call(client, "fraud_check", elsewhere, run="one")
        assert await pay(client, elsewhere, run="two") == "denied"
        assert await pay(client, elsewhere, run="one") == "ok"
        await check(stranger, foreign)
        assert await pay(client, foreign) == "denied"
        assert await pay(stranger, foreign) == "ok"


@pytest.mark.parametrize("door", DOORS)
async def test_the_same_amount_written_otherwise_is_the_same_amount(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        written = payment(amount=250)
        await check(client, written, amount=250.00)
        assert await pay(client, written) == "ok"


@pytest.mark.parametrize("door", DOORS)
async def test_a_later_check_that_failed_takes_the_earlier_one_away(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        doubted = payment()
        await check(client, doubted)
        await check(client, doubted, payee="Mallory Ltd")
        assert await pay(client, doubted) == "denied"


@pytest.mark.parametrize("door", DOORS)
async def test_a_repeated_payment_is_answered_from_the_record_even_after_its_check_grew_stale(
    gate: Inside, door: str
) -> None:
    async with gate.client(door) as client:
        once = payment()
        await check(client, once)
        first = await call(client, "payments_pay", once)
        gate.clock.ms += 60 * MINUTES
        again = await call(client, "payments_pay", once)
        assert again.structured_content == first.structured_content
        assert "io.toolgate/replayed-from" in (again.meta or {})
        conflicting = await call(client, "payments_pay", {**once, "amount": 1.0})
        assert code(conflicting) in {"denied", "idempotency_conflict"}
        assert payments_made(gate, once) == 1


async def test_of_two_payments_at_once_on_one_check_exactly_one_is_made(gate: Inside) -> None:
    async with gate.client("modern") as one, gate.client("legacy") as other:
        for _ in range(200):
            contested = payment()
            await check(one, contested)
            codes = await asyncio.gather(
                pay(one, {**contested, "reference": "a"}), pay(other, {**contested, "reference": "b"})
            )
            assert sorted(codes) == ["denied", "ok"]
            assert payments_made(gate, contested) == 1


async def test_a_refusal_carries_the_exact_missing_call_and_it_works(gate: Inside) -> None:
    async with gate.client("modern") as client:
        wanted = payment()
        refused = await call(client, "payments_pay", wanted)
        remedy = (refused.meta or {})["io.toolgate/refusal"]["remedies"][0]
        assert remedy == {"tool": "fraud_check", "arguments": wanted}
        await call(client, remedy["tool"], remedy["arguments"])
        assert await pay(client, wanted) == "ok"


@pytest.mark.parametrize("door", DOORS)
async def test_a_record_that_was_tampered_with_satisfies_nothing(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        forged = payment(payee="Mallory Ltd")
        await check(client, forged)
        with sqlite3.connect(gate.database("gateway")) as file:
            changed = file.execute(
                "UPDATE events SET body = replace(body, '\"failed\"', '\"passed\"') WHERE body LIKE ?",
                (f"%{forged['payment_id']}%",),
            )
            assert changed.rowcount > 0
        assert await pay(client, forged) in {"ledger_tampered", "denied"}
        assert payments_made(gate, forged) == 0


@pytest.mark.parametrize("door", DOORS)
async def test_a_dry_run_says_what_would_be_decided_and_uses_nothing_up(gate: Inside, door: str) -> None:
    async with gate.client(door) as client:
        once = payment()
        assert code(await call(client, "payments_pay", once, dry_run=True)) == "denied"
        await check(client, once)
        for _ in range(2):
            assert code(await call(client, "payments_pay", once, dry_run=True)) == "dry_run"
        assert payments_made(gate, once) == 0
        assert await pay(client, once) == "ok"


async def test_the_operator_is_told_what_would_be_decided_and_why(gate: Inside) -> None:
    once = payment()
    values = [f"{name}={value}" for name, value in once.items()]
    config = str(gate.home / "gateway.yaml")

    async def explained(*arguments: str) -> Result:
        command = ["explain", "payer", "payments.pay", *arguments, "--config", config]
        return await asyncio.to_thread(CliRunner().invoke, build(), command)

    denied = await explained(*values)
    assert denied.exit_code == 3
    assert denied.output.startswith("NEEDS PRECONDITION  workflow.pay-invoice.payments.pay")
    assert "does not hold: context.prior has" in denied.output
    assert f"would be allowed after: fraud.check {json.dumps(once)}" in denied.output
    async with gate.client("modern") as client:
        await check(client, once)
    allowed = await explained("--json", "--arguments", json.dumps(once))
    told = json.loads(allowed.output)
    assert (allowed.exit_code, told["allowed"]) == (0, True)
    line = await one_line(gate.gateway.store, told["call"])
    assert line is not None
    assert (line.agent, line.tool, line.code) == ("payer", "payments.pay", "dry_run")
    assert payments_made(gate, once) == 0
    unfit = await explained("amount=7")
    assert (unfit.exit_code, "invalid_arguments" in unfit.output) == (1, True)
