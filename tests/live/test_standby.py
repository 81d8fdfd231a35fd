"""A gateway dies under load and the one that waited takes its place: same address, same runs, nothing twice."""

import asyncio
import json
import random
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.live.raw import Answer, Peer
from tests.live.running import Running, environment, payments_alone

CALLS = 40
RULE = "effect: irreversible, idempotency_key: [payment_id]"
ADVICE = "toolgate up --standby"


def free_port() -> int:
    """Return a port that no client's connection is given while nobody listens on it."""
    for port in random.sample(range(20_000, 30_000), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def note(home: Path) -> dict[str, object]:
    return dict(json.loads((home / ".toolgate" / "run.json").read_text(encoding="utf-8")))


async def pay(known: Peer, number: int) -> Answer:
    """Pay until it is answered: a client whose gateway went away asks again."""
    arguments = {"payment_id": f"p_{number}", "payee": "ACME", "amount": 40.0}
    while True:
        try:
            return await known.call("payments_pay", arguments, meta={"io.toolgate/run": "job"})
        except (OSError, EOFError, AssertionError):
            await asyncio.sleep(0.05)


async def pay_all(running: Running, token: str) -> list[Answer]:
    """Pay, end the gateway while half of the calls are under way, and make the other half: those another answers."""
    known = Peer(f"{running.url}/mcp", token)
    async with asyncio.timeout(90):
        calls = [asyncio.ensure_future(pay(known, number)) for number in range(CALLS // 2)]
        await next(asyncio.as_completed(calls))
        running.kill()
        calls += [asyncio.ensure_future(pay(known, number)) for number in range(CALLS // 2, CALLS)]
        return list(await asyncio.gather(*calls))


def test_the_gateway_that_waited_goes_on_where_the_other_died(tmp_path: Path) -> None:
    text = payments_alone(tmp_path, RULE).replace("127.0.0.1:0", f"127.0.0.1:{free_port()}")
    (tmp_path / "gateway.yaml").write_text(f"{text}agents:\n  payer: {{ allow: [payments.pay] }}\n", encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    token = running.token("payer")
    refused = running.command("up", check=False)
    assert (refused.returncode, ADVICE in refused.stderr) == (1, True)
    waiting = [sys.executable, "-m", "gateway", "up", "--standby"]
    with (
        (tmp_path / "standby.log").open("w+b") as log,
        subprocess.Popen(waiting, cwd=tmp_path, env=running.env, stdout=log, stderr=log) as second,
        ExitStack() as ending,
    ):
        ending.callback(second.kill)  # also where something is not as it should be
        while b"waiting to serve" not in (tmp_path / "standby.log").read_bytes():
            assert second.poll() is None
            time.sleep(0.02)
        answers = asyncio.run(pay_all(running, token))
        assert note(tmp_path)["pid"] == second.pid
        assert note(tmp_path)["url"] == running.url
        with sqlite3.connect(tmp_path / "data" / "payments.db") as db:
            made = [row[0] for row in db.execute("SELECT payment_id FROM payments")]
        db.close()
        assert len(made) == len(set(made)) <= CALLS
        paid = sum(answer.code == "ok" for answer in answers)
        doubted = sum(answer.code == "outcome_unknown" for answer in answers)
        assert paid + doubted == CALLS
        assert paid <= len(made)
        runs = json.loads(running.command("runs", "list", "--json").stdout)
        assert len(runs if isinstance(runs, list) else runs["runs"]) == 1
        second.terminate()
        assert second.wait(30) == 0
    assert "the chain holds" in running.command("verify").stdout
