"""Host, Origin, content types and repeated headers, compared whole."""

import pytest

from gateway.transport.guard import Guard
from gateway.transport.head import Head
from gateway.transport.wire import HttpRefusal

LOCAL = Guard.build("127.0.0.1", 8750)
PUBLIC = Guard.build("0.0.0.0", 8750, "https://gate.acme.example/")


def status(guard: Guard, **headers: str) -> int:
    try:
        guard.check(Head([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]))
    except HttpRefusal as refusal:
        return refusal.status
    return 200


@pytest.mark.parametrize("host", ["127.0.0.1:8750", "localhost:8750", "[::1]:8750", "LOCALHOST:8750"])
def test_every_spelling_of_this_machine_is_served(host: str) -> None:
    assert status(LOCAL, host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8750",
        "127.0.0.1",
        "127.0.0.1:8751",
        "127.0.0.1:8750.evil.example",
        "127.0.0.1.evil.example:8750",
        "localhost:8750@evil.example",
        "0x7f.1:8750",
    ],
)
def test_a_foreign_or_look_alike_host_is_not_served(host: str) -> None:
    assert status(LOCAL, host=host) == 421


@pytest.mark.parametrize(
    "origin",
    ["null", "http://evil.example", "http://127.0.0.1:8750.evil.example", "https://127.0.0.1:8750", "file://", ""],
)
def test_a_foreign_origin_may_not_call(origin: str) -> None:
    assert status(LOCAL, host="127.0.0.1:8750", origin=origin) == 403


def test_the_gateways_own_origin_may_call() -> None:
    assert status(LOCAL, host="127.0.0.1:8750", origin="http://127.0.0.1:8750") == 200


def test_a_public_url_adds_its_host_with_and_without_the_default_port() -> None:
    assert status(PUBLIC, host="gate.acme.example", origin="https://gate.acme.example") == 200
    assert status(Guard.build("0.0.0.0", 1, "https://g.example:443"), host="g.example") == 200
    assert status(PUBLIC, host="acme.example") == 421


@pytest.mark.parametrize("name", [b"host", b"authorization", b"content-length", b"mcp-session-id", b"origin"])
def test_a_header_that_decides_something_may_come_once(name: bytes) -> None:
    with pytest.raises(HttpRefusal) as refused:
        LOCAL.check(Head([(name, b"a"), (name, b"b"), (b"host", b"127.0.0.1:8750")]))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-type": "application/json"}, 200),
        ({"content-type": "Application/JSON; charset=utf-8", "accept": "application/json, text/event-stream"}, 200),
        ({"content-type": "application/json", "accept": "application/*"}, 200),
        ({}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data"}, 415),
        ({"content-type": "application/jsonp"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "accept": "text/html"}, 406),
    ],
)
def test_a_post_must_say_that_it_is_json(headers: dict[str, str], expected: int) -> None:
    assert post_status(headers) == expected


def post_status(headers: dict[str, str]) -> int:
    try:
        Guard.check_post(headers)
    except HttpRefusal as refusal:
        return refusal.status
    return 200
