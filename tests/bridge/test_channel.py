"""Connections: kept while they live, few when idle, closed for good at the end."""

import socket
import struct
import sys
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


def test_a_request_arrives_in_one_piece() -> None:
    """The gateway has a short way for those: in two pieces, head and body, it has to parse."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel = Channel(f"http://127.0.0.1:{listener.getsockname()[1]}")
        sent = channel.send("POST", "/mcp", {"Accept": "*/*"}, CALL % b"echo")
        peer, _ = listener.accept()
        with peer:
            head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            with sent as exchange:
                assert exchange.body() == b"ok"
            channel.close()
    assert head.startswith(b"POST /mcp HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == CALL % b"echo"


def test_a_connection_at_rest_keeps_nothing_of_its_last_request(gateway: FakeGateway) -> None:
    channel, body = Channel(gateway.url), CALL % b"echo"
    held = sys.getrefcount(body)
    with channel.send("POST", "/mcp", {}, body) as exchange:
        exchange.body()
    del exchange
    assert sys.getrefcount(body) == held
    channel.close()


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
