"""The gateway dies, anywhere under load: nothing acknowledged is missing, nothing is done twice, it starts again."""

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.live.inside import inside
from tests.live.raw import Answer, Peer, probe_section, probes, received
from tests.live.running import Running, environment, payments_alone

ROUNDS = int(os.environ.get("TOOLGATE_CRASH_ROUNDS", "12"))
WORKERS = 8
Key = tuple[str, str]


def payments_config(home: Path) -> str:
    rule = "effect: irreversible, idempotency_key: [payment_id, reference]"
    return f'{payments_alone(home, rule)}agents:\n  payer: {{ allow: ["payments.pay", "payments.history"] }}\n'


def left_over(home: Path) -> list[int]:
    """Return the processes that were started with something in `home` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(home).encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # it is gone, or not ours
            continue
    return found


def wait_until_alone(home: Path) -> None:
    give_up = time.monotonic() + 15
    while left := left_over(home):
        assert time.monotonic() < give_up, f"still running: {left}"
        time.sleep(0.01)


@dataclass
class Book:
    """What the agents were told, and what they only asked for. A trace id names each request."""

    receipts: dict[Key, str] = field(default_factory=dict)
    asked: set[Key] = field(default_factory=set)
    doubted: set[Key] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)

    def learn(self, key: Key, answer: Answer) -> None:
        if answer.code == "outcome_unknown":
            self.doubted.add(key)
            return
        assert answer.code == "ok", answer
        receipt = answer.result["structuredContent"]["receipt"]
        assert self.receipts.setdefault(key, receipt) == receipt  # the same call, the same answer, for ever
        assert key not in self.doubted  # what was in doubt is not repeated by itself


def ledger(home: Path) -> tuple[set[str], set[Key], set[Key]]:
    """Read a copy of the ledger as the crash left it: trace ids on record, payments made, payments in doubt."""
    copy = home / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in (home / "data").glob("gateway.db*"):
        shutil.copy(file, copy / file.name)
    with sqlite3.connect(copy / "gateway.db") as db:
        rows = db.execute("SELECT kind, call_id, tool, body FROM events ORDER BY seq").fetchall()
    db.close()
    traces: set[str] = set()
    claimed: dict[str, Key] = {}
    paid: set[Key] = set()
    for kind, call_id, tool, text in rows:
        body = json.loads(text)
        traces |= {body["trace"]} if body.get("trace") else set()
        if kind == "call.claimed" and tool == "payments.pay":
            claimed[call_id] = (body["arguments"]["payment_id"], body["arguments"]["reference"])
        if kind == "call.finished" and call_id in claimed:
            key = claimed.pop(call_id)
            paid |= {key} if body["outcome"] == "succeeded" else set()
    return traces, paid, set(claimed.values())


def payments_made(home: Path) -> dict[Key, int]:
    with sqlite3.connect(home / "data" / "payments.db") as db:
        rows = db.execute("SELECT payment_id, memo, count(*) FROM payments GROUP BY payment_id, memo").fetchall()
    db.close()
    return {(payment, reference): number for payment, reference, number in rows}


async def ask(known: Peer, book: Book, tool: str, arguments: dict[str, Any]) -> Answer:
    trace = os.urandom(16).hex()
    answer = await known.call(tool, arguments, {"traceparent": f"00-{trace}-{'1' * 16}-01"})
    book.acknowledged.add(trace)
    return answer


async def pay(known: Peer, book: Book, key: Key) -> None:
    book.asked.add(key)
    answer = await ask(
        known, book, "payments_pay", {"payment_id": key[0], "payee": "ACME", "amount": 1.5, "reference": key[1]}
    )
    book.learn(key, answer)


async def work(known: Peer, book: Book, chance: random.Random, numbers: "count[int]") -> None:
    """Pay, repeat, look and be refused, until the gateway is gone."""
    while True:
        match chance.randrange(8):
            case 0:
                assert (await ask(known, book, "payments_history", {})).code == "ok"
            case 1:
                assert (await ask(known, book, "payments_transfer", {"account": "X", "amount": 1.0})).code == "denied"
            case 2 if book.asked:
                await pay(known, book, chance.choice(sorted(book.asked)))
            case _:
                await pay(known, book, (f"p_{next(numbers)}", chance.choice(["", "again"])))


async def load(running: Running, token: str, book: Book, chance: random.Random, numbers: "count[int]") -> None:
    """Put the gateway under load, and kill it in the middle."""
    known = Peer(f"{running.url}/mcp", token)
    workers = [asyncio.create_task(work(known, book, chance, numbers)) for _ in range(WORKERS)]
    enough = len(book.acknowledged) + chance.randrange(1, 150)
    async with asyncio.timeout(30):
        while len(book.acknowledged) < enough and not any(worker.done() for worker in workers):
            await asyncio.sleep(0.0005)
    await asyncio.sleep(chance.uniform(0, 0.02))  # anywhere within a call, not always just after one
    assert running.process is not None
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(30)
    for ended in await asyncio.gather(*workers, return_exceptions=True):
        assert isinstance(ended, OSError | EOFError), ended


async def settle(running: Running, token: str, book: Book, doubtful: set[Key]) -> None:
    """What was in doubt is said to be in doubt; what was answered is answered the same again."""
    known = Peer(f"{running.url}/mcp", token)
    for key in sorted(doubtful):
        await pay(known, book, key)
        assert key in book.doubted
    for key in sorted(book.receipts)[-5:]:
        await pay(known, book, key)


def kill_while_starting(running: Running, chance: random.Random) -> None:
    with (running.home / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up"], cwd=running.home, env=running.env, stdout=log, stderr=log
        )
    time.sleep(chance.uniform(0.1, 1.5))
    process.kill()
    process.wait(30)


def test_a_gateway_killed_under_load_forgets_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261117)
    book, numbers = Book(), count(1)
    (tmp_path / "gateway.yaml").write_text(payments_config(tmp_path), encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    token = running.token("payer")
    in_doubt = 0
    for number in range(ROUNDS):
        asyncio.run(load(running, token, book, chance, numbers))
        wait_until_alone(tmp_path)
        traces, paid, doubtful = ledger(tmp_path)
        assert book.acknowledged <= traces, f"round {number}: acknowledged, and not in the ledger"
        assert book.receipts.keys() <= paid
        made = payments_made(tmp_path)
        assert max(made.values(), default=0) <= 1, f"round {number}: an effect happened twice"
        assert made.keys() >= paid
        assert made.keys() <= paid | doubtful | book.doubted  # no payment without its intent on record
        if chance.random() < 0.25:
            kill_while_starting(running, chance)
            wait_until_alone(tmp_path)
        running.start()  # which verifies the whole chain first
        asyncio.run(settle(running, token, book, doubtful))
        in_doubt += len(doubtful)
    assert running.stop() == 0
    wait_until_alone(tmp_path)
    assert "the chain holds" in running.command("verify").stdout
    made = payments_made(tmp_path)
    assert set(made.values()) == {1}
    assert book.receipts.keys() <= made.keys() <= book.asked
    assert in_doubt >= ROUNDS // 4  # else the kills were too gentle to show anything
    print(f"{ROUNDS} rounds, {len(book.acknowledged)} acknowledged, {len(made)} paid, {in_doubt} in doubt")


def test_a_gateway_told_to_stop_lets_calls_end_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(probes(probe_section(tmp_path / "probe")), encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    known = Peer(f"{running.url}/mcp", running.token("payer"))

    async def stop_in_calls() -> list[Answer]:
        tools = ["probe_wait", "probe_wait_read"] * 3
        calls = [asyncio.ensure_future(known.call(tool, {"n": n})) for n, tool in enumerate(tools)]
        async with asyncio.timeout(10):
            while len(received(tmp_path / "probe")) < len(calls):
                await asyncio.sleep(0.005)
        assert running.process is not None
        running.process.terminate()
        async with asyncio.timeout(10):  # it takes no new connection once it stops
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", known.port)
                except OSError:
                    break
                writer.close()
                await asyncio.sleep(0.005)
        assert not any(each.done() for each in calls)
        (tmp_path / "probe" / "go").touch()
        return await asyncio.gather(*calls)

    answers = asyncio.run(stop_in_calls())
    assert [answer.code for answer in answers] == ["ok"] * 6
    assert running.process is not None
    assert running.process.wait(30) == 0
    assert left_over(tmp_path) == []
    with sqlite3.connect(tmp_path / "data" / "gateway.db") as db:
        ends = db.execute("SELECT body FROM events WHERE tool LIKE 'probe.wait%' AND kind != 'call.claimed'").fetchall()
    db.close()
    assert [json.loads(body)["outcome"] for (body,) in ends] == ["succeeded"] * 6


def test_a_call_that_outlasts_the_gateway_is_in_doubt_and_its_client_is_told(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(probes(probe_section(tmp_path / "probe")), encoding="utf-8")
    running = Running(tmp_path, environment()).start()
    token = running.token("payer")
    with ThreadPoolExecutor(1) as client:
        waits = {"name": "probe_wait", "arguments": {"n": 1}}
        asked = client.submit(running.rpc, "tools/call", waits, token=token)
        give_up = time.monotonic() + 10
        while not received(tmp_path / "probe"):
            assert time.monotonic() < give_up
            time.sleep(0.005)
        assert running.stop() == 0
        assert '"code":"outcome_unknown"' in asked.result().text
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_effect_whose_client_went_away_is_carried_out_once_and_kept_for_it(tmp_path: Path, era: str) -> None:
    async with inside(tmp_path, probes(probe_section(tmp_path / "probe"))) as gate:
        known = await Peer(gate.url, gate.tokens["payer"], era).connect()
        leaving = asyncio.ensure_future(known.call("probe_wait", {"by": era}))
        async with asyncio.timeout(10):
            while not received(tmp_path / "probe"):
                await asyncio.sleep(0.005)
        leaving.cancel()  # closes the connection
        await asyncio.gather(leaving, return_exceptions=True)
        repeating = asyncio.ensure_future(known.call("probe_wait", {"by": era}))  # while it still runs
        (tmp_path / "probe" / "go").touch()
        for answer in (await repeating, await known.call("probe_wait", {"by": "other"})):
            assert answer.code == "ok"
        assert (await repeating).result["_meta"]["io.toolgate/replayed-from"].startswith("call_")
        assert len([line for line in received(tmp_path / "probe") if f'"{era}"' in line]) == 1
        again = await known.call("probe_wait", {"by": era})  # answered and delivered: a new call is a new call
        assert "io.toolgate/replayed-from" not in again.result.get("_meta", {})
        assert await gate.gateway.store.verify() > 0
