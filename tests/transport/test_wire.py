"""JSON-RPC over HTTP: one unambiguous request in, one answer out."""

from typing import Any

import pytest
from starlette.types import Message

from gateway.transport.head import Head
from gateway.transport.wire import (
    ClientGone,
    HttpRefusal,
    read_body,
    read_message,
    send_json,
    send_status,
)


class Body:
    """A request body that arrives in the given parts; `None` means that the client goes away."""

    def __init__(self, *parts: bytes | None) -> None:
        self._parts = list(parts)

    async def __call__(self) -> Message:
        part = self._parts.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}


@pytest.mark.parametrize("parts", [(b"",), (b"abc",), (b"a", b"", b"bc"), (b"a" * 10,)])
async def test_a_body_is_put_together_from_its_parts(parts: tuple[bytes, ...]) -> None:
    assert await read_body(Body(*parts), {}, 10) == b"".join(parts)


@pytest.mark.parametrize("parts", [(b"a" * 11,), (b"a" * 6, b"a" * 5), (b"a", b"a" * 10, b"a")])
async def test_a_body_over_the_limit_is_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(HttpRefusal) as refused:
        await read_body(Body(*parts), {}, 10)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("length", "read"), [("11", False), ("9" * 5000, False), ("10", True), ("x", True), ("", True)]
)
async def test_a_body_that_says_it_is_too_large_is_not_even_read(length: str, read: bool) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"ok"}

    async def never() -> Message:
        raise AssertionError("the body was read")

    if read:
        assert await read_body(receive, {"content-length": length}, 10) == b"ok"
    else:
        with pytest.raises(HttpRefusal):
            await read_body(never, {"content-length": length}, 10)


@pytest.mark.parametrize("parts", [(None,), (b"a", None), (b"a", b"b", None)])
async def test_a_client_that_goes_away_while_sending_is_gone(parts: tuple[bytes | None, ...]) -> None:
    with pytest.raises(ClientGone):
        await read_body(Body(*parts), {}, 10)


@pytest.mark.parametrize(
    ("raw", "method", "params", "request_id"),
    [
        (b'{"jsonrpc":"2.0","method":"ping","id":1}', "ping", {}, 1),
        (b'{"jsonrpc":"2.0","method":"ping","id":"a","params":null}', "ping", {}, "a"),
        (b'{"jsonrpc":"2.0","method":"n","params":{"a":[1]}}', "n", {"a": [1]}, None),
        (b'{"jsonrpc":"2.0","method":"n","id":0,"more":true}', "n", {}, 0),
    ],
)
def test_one_request_or_notification_is_read(raw: bytes, method: str, params: Any, request_id: Any) -> None:
    message = read_message(raw)
    assert (message.method, message.params, message.id) == (method, params, request_id)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","method":"a","method":"b","id":1}', -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","method":"a","id":1}]', -32600),
        (b"7", -32600),
        (b"null", -32600),
        (b'{"method":"a","id":1}', -32600),
        (b'{"jsonrpc":"1.0","method":"a","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":7,"id":1}', -32600),
        (b'{"jsonrpc":"2.0","method":"a","id":1,"params":[1]}', -32600),
        (b'{"jsonrpc":"2.0","method":"a","id":null}', -32600),
        (b'{"jsonrpc":"2.0","method":"a","id":true}', -32600),
        (b'{"jsonrpc":"2.0","method":"a","id":1.5}', -32600),
        (b'{"jsonrpc":"2.0","method":"a","id":{}}', -32600),
        (b'{"jsonrpc":"2.0","result":{},"id":1}', -32600),
    ],
)
def test_what_is_not_one_unambiguous_request_is_refused(raw: bytes, code: int) -> None:
    with pytest.raises(HttpRefusal) as refused:
        read_message(raw)
    assert (refused.value.status, refused.value.code) == (400, code)


def test_headers_are_read_by_name_and_the_last_of_a_name_stands() -> None:
    head = Head([(b"a", b"1"), (b"b", b"\xe9"), (b"a", b" 2\t")])
    assert head.headers == {"a": "2", "b": "é"}


async def test_an_answer_is_sent_whole_with_its_length() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_json(send, 200, {"a": "é"}, (("x-more", "1"),))
    await send_status(send, 405, (("allow", "POST"),))
    start, body, empty, end = sent
    assert (start["status"], body["body"]) == (200, b'{"a":"\xc3\xa9"}')
    assert dict(start["headers"])[b"content-length"] == b"10"
    assert dict(start["headers"])[b"x-more"] == b"1"
    assert (empty["status"], dict(empty["headers"]), end["body"]) == (
        405,
        {b"content-length": b"0", b"allow": b"POST"},
        b"",
    )
