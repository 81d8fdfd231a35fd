"""Arguments land where they belong, written so that only one reading is left."""

from collections.abc import Mapping
from typing import Any

import pytest

from connectors.egress import Target
from connectors.rest.auth import Credentials
from connectors.rest.operation import Body, Form, Operation, Part, Place, Style
from connectors.rest.placing import Placing
from gateway.connector import Effect, Rejected, ToolTraits
from tests.connectors.rest.building import asked

HERE = Target.read("https://api.example.com/v1/")


def placed(
    parts: tuple[Part, ...], arguments: Mapping[str, Any], path: str = "/a", body: Body | None = None, **more: Any
) -> Any:
    operation = Operation("it", "POST", path, {}, ToolTraits(Effect.WRITE), parts, body)
    placing = Placing(HERE, more.get("credentials", Credentials(None, {})), more.get("header"))
    return placing.request(operation, asked("it", arguments, idempotency_key=more.get("key")))


def q(style: Style = Style.FORM, *, explode: bool = True) -> tuple[Part, ...]:
    return (Part("x", "x", Place.QUERY, style, explode),)


@pytest.mark.parametrize(
    ("part", "value", "query"),
    [
        (q(), "a b&c=d#e/f?é", "x=a%20b%26c%3Dd%23e%2Ff%3F%C3%A9"),
        (q(), "\r\nHost: evil", "x=%0D%0AHost%3A%20evil"),
        (q(), True, "x=true"),
        (q(), False, "x=false"),
        (q(), 12345678901234567890, "x=12345678901234567890"),
        (q(), 0.1, "x=0.1"),
        (q(), "", "x="),
        (q(), None, ""),
        (q(), ["a", "b,c"], "x=a&x=b%2Cc"),
        (q(explode=False), ["a", "b,c"], "x=a,b%2Cc"),
        (q(), [], ""),
        (q(explode=False), {"k": "v", "l": 2}, "x=k,v,l,2"),
        (q(), {"k": "v", "l": 2}, "k=v&l=2"),
        (q(Style.SPACE, explode=False), ["a", "b"], "x=a%20b"),
        (q(Style.PIPE, explode=False), ["a", "b"], "x=a%7Cb"),
        (q(Style.DEEP), {"k": "v", "l": [1, 2], "m": {"n&": True}}, "x[k]=v&x[l]=1&x[l]=2&x[m][n%26]=true"),
        (q(Style.JSON), {"k": ["v"]}, "x=%7B%22k%22%3A%5B%22v%22%5D%7D"),
    ],
)
def test_a_query_is_written_in_the_declared_style(part: tuple[Part, ...], value: Any, query: str) -> None:
    assert placed(part, {"x": value}).target.query == query


def in_path(**more: Any) -> tuple[Part, ...]:
    return (Part("x", "x", Place.PATH, Style.SIMPLE, **{"explode": False, **more}),)


@pytest.mark.parametrize(
    ("value", "explode", "path"),
    [
        ("a b", False, "/v1/a/a%20b"),
        ("a/b", False, "/v1/a/a%2Fb"),
        ("x?y#z", False, "/v1/a/x%3Fy%23z"),
        ("...", False, "/v1/a/..."),
        (7, False, "/v1/a/7"),
        ([1, 2], False, "/v1/a/1,2"),
        ({"k": "v"}, False, "/v1/a/k,v"),
        ({"k": "v"}, True, "/v1/a/k%3Dv"),
    ],
)
def test_a_path_holds_its_argument_in_one_segment(value: Any, explode: bool, path: str) -> None:
    assert placed(in_path(explode=explode), {"x": value}, "/a/{x}").target.path == path


@pytest.mark.parametrize("value", ["", "..", ".", "../admin", "..\\admin", "a/../b", "%2e%2e", "a\nb", "\0", None, []])
def test_an_argument_never_leads_a_path_elsewhere(value: Any) -> None:
    with pytest.raises(Rejected) as caught:
        placed(in_path(), {"x": value}, "/a/{x}")
    assert caught.value.sent is False


def test_a_path_can_hold_json() -> None:
    part = Part("x", "x", Place.PATH, Style.JSON)
    assert placed((part,), {"x": {"k": [1]}}, "/a/{x}").target.path == "/v1/a/%7B%22k%22%3A%5B1%5D%7D"


def test_arguments_beside_each_other_cannot_make_a_step_up_either() -> None:
    parts = (Part("x", "x", Place.PATH, Style.SIMPLE), Part("y", "y", Place.PATH, Style.SIMPLE))
    with pytest.raises(Rejected):
        placed(parts, {"x": ".", "y": "."}, "/a/{x}{y}/b")


@pytest.mark.parametrize(
    ("value", "sent"), [("a, b", "a, b"), ([1, True], "1,true"), ({"k": "v"}, "k,v"), ("", ""), (None, None)]
)
def test_a_header_is_plain_text(value: Any, sent: str | None) -> None:
    part = Part("x", "X-It", Place.HEADER, Style.SIMPLE, explode=False)
    assert dict(placed((part,), {"x": value}).headers).get("X-It") == sent


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "\u00e9", " a", "a\0", {"k": {}}, [[1]], [None]])
def test_a_header_cannot_carry_a_second_one(value: Any) -> None:
    with pytest.raises(Rejected):
        placed((Part("x", "X-It", Place.HEADER, Style.SIMPLE),), {"x": value})


def test_cookies_of_arguments_and_credentials_share_a_header() -> None:
    credentials = Credentials(None, {})
    credentials.cookies["key"] = "k"
    part = Part("x", "x", Place.COOKIE)
    assert dict(placed((part,), {"x": "a; b"}, credentials=credentials).headers)["Cookie"] == "key=k; x=a%3B%20b"
    assert "Cookie" not in dict(placed((part,), {}).headers)


@pytest.mark.parametrize(
    ("body", "arguments", "sent", "kind"),
    [
        (Body("b"), {"b": {"a": [1.5, None]}}, b'{"a":[1.5,null]}', "application/json"),
        (Body("b"), {"b": None}, b"null", "application/json"),
        (Body("b"), {}, None, None),
        (Body("b", media="application/merge-patch+json"), {"b": 1}, b"1", "application/merge-patch+json"),
        (Body(fields={"id": "b", "note": "n"}), {"b": 1}, b'{"id":1}', "application/json"),
        (
            Body("b", media=Form.URLENCODED.value, form=Form.URLENCODED),
            {"b": {"a": "x&y", "l": [1, 2], "o": {"p": True}}},
            b"a=x%26y&l=1&l=2&o[p]=true",
            Form.URLENCODED.value,
        ),
        (None, {}, None, None),
    ],
)
def test_a_body_is_written_in_its_form(
    body: Body | None, arguments: dict[str, Any], sent: bytes | None, kind: str | None
) -> None:
    request = placed((), arguments, body=body)
    assert (request.body, dict(request.headers).get("Content-Type")) == (sent, kind)


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ({"z": 1}, None),
        ({"z": None}, None),
        ({"b": [1]}, Body("b", form=Form.URLENCODED)),
        ({"b": {"x": None}}, Body("b", form=Form.URLENCODED)),
    ],
)
def test_what_has_no_place_is_refused(arguments: dict[str, Any], body: Body | None) -> None:
    with pytest.raises(Rejected):
        placed((), arguments, body=body)


def test_a_url_that_no_server_takes_is_not_sent() -> None:
    with pytest.raises(Rejected, match="too long"):
        placed(q(), {"x": "a" * 20_000})


@pytest.mark.parametrize(
    ("header", "key", "sent"), [("Idem", "k1", "k1"), ("Idem", None, "call_test"), (None, "k", None)]
)
def test_the_idempotency_key_goes_where_the_api_takes_it(header: str | None, key: str | None, sent: str | None) -> None:
    assert dict(placed((), {}, header=header, key=key).headers).get("Idem") == sent
