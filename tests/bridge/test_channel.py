"""Connections: kept while they live, few when idle, closed for good at the end."""

import socket
import struct
import threading

import pytest

from gateway.bridge.channel import Channel, Lost
from tests.bridge.fake_gateway import FakeGateway

CALL = b'{"id": 1, "method": "tools/call", "params": {"name": "%s"}}'


def ask(channel: Channel, name: str) -> int:
    with channel.send("POST", "/mcp", {}, CALL % name.encode()) as exchange:
        exchange.body()
    return exchange.status


def test_a_connection_that_the_gateway_closed_meanwhile_is_not_used_again(gateway: FakeGateway) -> None:
    channel = Channel(gateway.url)
    assert ask(channel, "last") == 200
    gateway.wait_until(lambda g: g.closed == 1)
    assert ask(channel, "echo") == 200
    channel.close()
    gateway.wait_until(lambda g: g.closed == 2)


def test_a_burst_leaves_only_a_few_connections_open(gateway: FakeGateway) -> None:
    channel = Channel(gateway.url)
    burst = [channel.send("POST", "/mcp", {}, CALL % b"echo").begin() for _ in range(12)]
    for exchange in burst:
        exchange.body()
        exchange.end()
    gateway.wait_until(lambda g: g.closed == 4)
    channel.close()
    gateway.wait_until(lambda g: g.closed == 12)


def test_a_request_that_breaks_off_while_it_is_sent_may_have_arrived() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            peer, _ = listener.accept()
            peer.recv(1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Lost):
            Channel(f"http://127.0.0.1:{listener.getsockname()[1]}").send("POST", "/mcp", {}, b"x" * 32_000_000)
        thread.join()
