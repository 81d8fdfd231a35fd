"""What an answer becomes: a result, a page of one, or the fault it is."""

import base64
from typing import Any

import pytest

from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.building import asked, fault_of, http_section, text
from tests.connectors.rest.conftest import Start

FIND = "GET /v1/find"
KEY = "sk-live-0123456789"


@pytest.mark.parametrize(
    ("status", "code", "retryable", "wait"),
    [
        ("400 Bad Request", "rejected", False, None),
        ("401 Unauthorized", "credential_expired", False, None),
        ("403 Forbidden", "forbidden", False, None),
        ("404 Not Found", "rejected", False, None),
        ("409 Conflict", "rejected", False, None),
        ("418 Teapot", "rejected", False, None),
        ("422 Unprocessable", "rejected", False, None),
        ("408 Request Timeout", "unavailable", True, 7.0),
        ("429 Too Many", "unavailable", True, 7.0),
        ("500 Broken", "unavailable", True, 7.0),
        ("503 Later", "unavailable", True, 7.0),
        ("599 Odd", "unavailable", True, 7.0),
        ("700 What", "contract_broken", False, None),
    ],
)
async def test_a_status_becomes_the_fault_it_means(
    api: Api, start: Start, *, status: str, code: str, retryable: bool, wait: float | None
) -> None:
    api.on(FIND, answer({"why": "because"}, status, Retry_After="7"))
    fault = await fault_of(await start(http_section(api)), asked("find"))
    assert (fault.code, fault.retryable, fault.retry_after_s, fault.sent) == (code, retryable, wait, True)
    assert fault.refused is (status[:3] in {"429", "503"})
    assert "because" in fault.detail
    assert fault.message.startswith("crm: ")


@pytest.mark.parametrize(("status", "refused"), [("429 Too Many", True), ("503 Later", False)])
async def test_an_unavailable_service_that_names_no_time_may_have_done_something(
    api: Api, start: Start, status: str, refused: bool
) -> None:
    api.on(FIND, answer(status=status))
    assert (await fault_of(await start(http_section(api)), asked("find"))).refused is refused


async def test_a_retry_after_can_be_a_date(api: Api, start: Start) -> None:
    api.on(FIND, answer(status="503 Later", Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"))
    assert (await fault_of(await start(http_section(api)), asked("find"))).retry_after_s == 86_400.0


async def test_the_operator_can_say_what_a_status_means(api: Api, start: Start) -> None:
    api.on(FIND, answer(status="404 Not Yet"))
    section = http_section(api, answers={"failures": {"404": "unavailable"}})
    assert (await fault_of(await start(section), asked("find"))).code == "unavailable"


async def test_what_a_failure_says_is_bounded_plain_and_without_secrets(api: Api, start: Start) -> None:
    said = f"\x1b[31mno:\r\n key {KEY} is bad \u202e".encode() + b" " * 9000 + b"z" * 9000
    api.on(FIND, answer(said, "422 No", "text/plain"))
    section = http_section(api, auth={"type": "bearer", "token": KEY})
    fault = await fault_of(await start(section), asked("find"))
    assert "[31mno: key *** is bad" in fault.message
    assert KEY not in fault.message + fault.detail
    assert fault.message.isprintable()
    assert len(fault.message) < 500


@pytest.mark.parametrize("reveal", [KEY, "dXNlcjpzay1saXZlLTAxMjM0NTY3ODk="])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_a_credential_that_a_service_echoes_never_comes_back(
    api: Api, start: Start, kind: str, reveal: str
) -> None:
    api.on(FIND, answer({"you": [f"sent {reveal}"], reveal: 1}, kind=kind, Link=f"</n?k={reveal}>; rel=next"))
    section = http_section(api, auth={"type": "basic", "username": "user", "password": KEY})
    result = str(await (await start(section)).call(asked("find")))
    assert reveal not in result
    assert reveal not in base64.b64decode((result.partition("'blob': '")[2] or "''").partition("'")[0]).decode()


@pytest.mark.parametrize(
    ("kind", "charset", "body", "content"),
    [
        ("text/plain", "", b"hello", {"type": "text", "text": "hello"}),
        ("text/html", "; charset=ISO-8859-1", b"\xe9", {"type": "text", "text": "\u00e9"}),
        ("text/csv", "; charset=klingon", b"a,b\xff", {"type": "text", "text": "a,b\ufffd"}),
    ],
)
async def test_text_stays_text(
    api: Api, start: Start, *, kind: str, charset: str, body: bytes, content: dict[str, Any]
) -> None:
    api.on(FIND, answer(body, kind=kind + charset))
    assert await (await start(http_section(api))).call(asked("find")) == {"content": [content]}


@pytest.mark.parametrize(
    ("kind", "named"), [("application/pdf", "application/pdf"), (None, "application/octet-stream")]
)
async def test_anything_else_is_a_resource_in_base64(api: Api, start: Start, kind: str | None, named: str) -> None:
    api.on(FIND, answer(b"\x00\xffPDF", kind=kind))
    result = await (await start(http_section(api))).call(asked("find"))
    (block,) = result["content"]
    assert block["resource"] == {
        "uri": f"{api.url}/v1/find",
        "mimeType": named,
        "blob": base64.b64encode(b"\x00\xffPDF").decode(),
    }


async def test_json_that_is_no_object_is_told_as_text(api: Api, start: Start) -> None:
    api.on(FIND, answer(b"[1, 12345678901234567890]", kind="application/vnd.api+json; charset=utf-8"))
    assert await (await start(http_section(api))).call(asked("find")) == {
        "content": [{"type": "text", "text": "[1,12345678901234567890]"}]
    }


async def test_an_empty_answer_says_what_there_is_to_say(api: Api, start: Start) -> None:
    api.on(FIND, answer(status="204 No Content", kind=None))
    api.on("POST /v1/make", answer(status="201 Created", Location="/v1/things/7"))
    upstream = await start(http_section(api))
    assert text(await upstream.call(asked("find"))) == "HTTP 204, nothing more said."
    assert text(await upstream.call(asked("make"))) == "HTTP 201, nothing more said. Location: /v1/things/7"


@pytest.mark.parametrize(
    ("body", "headers", "more"),
    [
        ({"meta": {"next": "c2"}}, {}, "c2"),
        ({"more": True}, {}, "true"),
        ({"more": {"page": 2}}, {}, '{"page":2}'),
        ([], {"Link": '</a?page=1>; rel="prev", </a?page=3>; rel="next last"'}, "/a?page=3"),
        ([], {"Link": "</a?page=3>;title=x;rel=next"}, "/a?page=3"),
        ({"meta": {"next": None}, "more": False}, {}, None),
        ({"meta": {"next": ""}, "more": []}, {}, None),
        ({"meta": 7}, {"Link": '</a>; rel="prev"'}, None),
        ([1], {}, None),
    ],
)
async def test_a_page_of_several_is_marked_incomplete_and_no_other_is_fetched(
    api: Api, start: Start, body: Any, headers: dict[str, str], more: str | None
) -> None:
    api.on(FIND, answer(body, **headers))
    upstream = await start(http_section(api, answers={"next": ["meta.next", "more"]}))
    marked = (await upstream.call(asked("find"))).get("_meta")
    expected = {"io.toolgate/incomplete": {"reason": "there is more", "next": more}}
    assert marked == (expected if more is not None else None)
    assert len(api.seen) == 1


async def test_a_part_of_a_document_is_marked_incomplete(api: Api, start: Start) -> None:
    api.on(FIND, answer({}, "206 Partial Content", Content_Range="items 0-9/50"))
    result = await (await start(http_section(api))).call(asked("find"))
    assert result["_meta"]["io.toolgate/incomplete"]["next"] == "items 0-9/50"


async def test_of_repeated_headers_the_first_counts_and_links_add_up(api: Api, start: Start) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n"
    api.on(FIND, lambda seen: head + b"Link: </a>; rel=prev\r\nLink: </b>; rel=next\r\n\r\n{}")
    result = await (await start(http_section(api))).call(asked("find"))
    assert result["structuredContent"] == {}
    assert result["_meta"]["io.toolgate/incomplete"]["next"] == "/b"
