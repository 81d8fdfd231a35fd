"""A real gateway at its limit: 50 calls at once, killed among them, spend no more than there is."""

import asyncio
import json
import signal
import sqlite3
from pathlib import Path

from tests.live.raw import Answer, Peer
from tests.live.running import Running, environment, payments_alone

LIMIT = 1000


def config(home: Path) -> str:
    rule = "effect: irreversible, idempotency_key: [payment_id], cost: { usd: amount }"
    agent = f"payer: {{ allow: [payments.pay], budget: {{ usd: {LIMIT} }} }}"
    return f"{payments_alone(home, rule)}agents:\n  {agent}\n"


def spent(home: Path) -> float:
    with sqlite3.connect(home / "data" / "payments.db") as db:
        (total,) = db.execute("SELECT coalesce(sum(amount), 0) FROM payments").fetchone()
    db.close()
    return float(total)


async def pay(running: Running, token: str, first: int, kill_after: int = 0) -> list[Answer]:
    """Make 50 payments at once; with `kill_after` end the gateway once so many are answered."""
    known = Peer(f"{running.url}/mcp", token)
    asked = [{"payment_id": f"p_{n}", "payee": "ACME", "amount": 40.0} for n in range(first, first + 50)]
    calls = [asyncio.ensure_future(known.call("payments_pay", arguments)) for arguments in asked]
    if kill_after:
        for number, call in enumerate(asyncio.as_completed(calls), 1):
            await call
            if number == kill_after:
                break
        assert running.process is not None
        running.process.send_signal(signal.SIGKILL)
        running.process.wait(30)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [answer for answer in ended if isinstance(answer, Answer)]


def test_a_gateway_killed_at_its_limit_spends_no_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(config(tmp_path), encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    token = running.token("payer")
    asyncio.run(pay(running, token, 0, kill_after=5))
    running.start()  # which holds every counter against the chain
    answers = asyncio.run(pay(running, token, 50))
    refused = [answer for answer in answers if answer.code == "budget_exceeded"]
    assert refused
    assert "budget of agent payer is 1000 usd" in refused[0].text
    made = spent(tmp_path)
    [stands] = json.loads(running.command("budget", "--json").stdout)["budgets"]
    used = float(stands["spent"]) + float(stands["reserved"])
    assert made <= used <= LIMIT
    assert used == LIMIT - float(stands["left"])
    assert LIMIT - used < 40  # what there was, was spent, or is in doubt
    assert running.stop() == 0
    assert "the chain holds" in running.command("verify").stdout
