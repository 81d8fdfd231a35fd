"""What holds while the machine fails the gateway: a full disk, no descriptors, clocks that jump, clients that go."""

import asyncio
import resource
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.inside import Inside, call, code, inside
from tests.live.running import Running, payments_gateway, refusal

DAY_MS = 24 * 3_600_000


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with payments_gateway(tmp_path) as gateway:
        yield gateway


def payment(number: int) -> dict[str, Any]:
    return {"payment_id": f"p_{number}", "payee": "ACME", "amount": 250.0}


def paid(home: Path) -> list[str]:
    """What the payments server's own file says."""
    with closing(sqlite3.connect(home / "data" / "payments.db")) as db:
        return [row[0] for row in db.execute("SELECT payment_id FROM payments ORDER BY id")]


def limit(running: Running, kind: int, most: int) -> tuple[int, int]:
    """Lower a limit of the gateway's own process, not of its servers; return what it was."""
    assert running.process is not None
    before = resource.prlimit(running.process.pid, kind)
    resource.prlimit(running.process.pid, kind, (most, before[1]))
    return before


def test_while_the_disk_is_full_nothing_is_paid_and_nothing_acknowledged_is_lost(running: Running) -> None:
    token = running.token("payer")
    for number in range(3):
        running.call(token, "fraud_check", payment(number))
    assert running.call(token, "payments_pay", payment(0))["isError"] is False
    ledger = running.home / "data" / "gateway.db"
    size = max(ledger.stat().st_size, Path(f"{ledger}-wal").stat().st_size)
    before = limit(running, resource.RLIMIT_FSIZE, size)
    refused = [running.call(token, "payments_pay", payment(number)) for number in (1, 2)]
    assert {refusal(each)["code"] for each in refused} == {"store_unavailable"}
    assert paid(running.home) == ["p_0"]

    assert running.process is not None
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)
    again = running.call(token, "payments_pay", payment(1))
    assert again["isError"] is False
    assert paid(running.home) == ["p_0", "p_1"]
    running.stop()
    running.start()
    assert running.call(token, "payments_history", {})["isError"] is False
    running.command("verify")


def test_without_descriptors_calls_of_those_who_are_in_go_on_and_others_get_in_later(running: Running) -> None:
    token = running.token("payer")
    assert running.process is not None
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    used = len(list(Path(f"/proc/{running.process.pid}/fd").iterdir()))
    before = limit(running, resource.RLIMIT_NOFILE, used + 8)
    crowd = [socket.create_connection((host, int(port)), 5) for _ in range(40)]
    give_up = time.monotonic() + 10
    while len(list(Path(f"/proc/{running.process.pid}/fd").iterdir())) < used + 8:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    for each in crowd:
        each.close()
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, before)
    running.call(token, "fraud_check", payment(1))
    assert running.call(token, "payments_pay", payment(1))["isError"] is False
    assert paid(running.home) == ["p_1"]


async def test_a_check_from_the_future_or_from_long_ago_pays_nothing(tmp_path: Path) -> None:
    async with inside(tmp_path) as gate, gate.client("modern") as client:
        await call(client, "fraud_check", payment(1))
        for jump in (-DAY_MS, 2 * DAY_MS):
            gate.clock.ms += jump
            assert code(await call(client, "payments_pay", payment(1))) == "denied"
        await call(client, "fraud_check", payment(2))
        gate.clock.ms -= 1
        assert code(await call(client, "payments_pay", payment(2))) == "denied"
        gate.clock.ms += 1
        assert code(await call(client, "payments_pay", payment(2))) == "ok"
        await gate.gateway.store.verify()


async def test_clients_that_vanish_at_any_moment_leave_nothing_under_way_and_a_chain_that_holds(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as gate:
        request = _request(gate)
        for cut in range(1, len(request), max(1, len(request) // 40)):
            await _send_and_go(gate, request[:cut])
        for _ in range(20):  # the whole request, and nobody waits for the answer
            await _send_and_go(gate, request)
        async with gate.client("modern") as client:
            assert code(await call(client, "payments_history", {})) == "ok"
        async with asyncio.timeout(10):
            while gate.gateway.owned:
                await asyncio.sleep(0.01)
        await gate.gateway.store.verify()


def _request(gate: Inside) -> bytes:
    meta = (
        '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
        '"io.modelcontextprotocol/clientCapabilities":{}}'
    )
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"payments_history","arguments":{},'
        + meta
        + "}}"
    )
    head = [
        "POST /mcp HTTP/1.1",
        f"Host: {gate.url.split('/')[2]}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: payments_history",
        f"Authorization: Bearer {gate.tokens['payer']}",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


async def _send_and_go(gate: Inside, data: bytes) -> None:
    host, port = gate.url.split("/")[2].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    writer.transport.abort()
