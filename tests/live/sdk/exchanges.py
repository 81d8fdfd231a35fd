"""Requests as bytes, sent to a server of the SDK and to the gateway alike."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.live.running import ENVELOPE, LEGACY, MODERN

__all__ = ["ACCEPT", "CASES", "Case", "Place", "Said", "dressed", "exchanged", "made", "send"]

ACCEPT = "application/json, text/event-stream"
MOST_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 64 * 1024
"""The largest body that the gateway's short way takes."""

SESSION = "{session}"
"""Stands for the id of the session that was opened."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request. A header of None is left out; in a legacy one the session's headers are there unless replaced."""

    name: str
    era: str
    body: bytes = b""
    verb: str = "POST"
    headers: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to send to: a URL, what identifies the client there, and the session it has."""

    url: str
    authorization: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What matters of an answer: status, kind, headers, and each message as id and result or error code."""

    status: int
    kind: str
    headers: frozenset[str]
    messages: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.status} {self.kind} {sorted(self.headers)} {' '.join(self.messages)}"


def _message(method: str, params: Any = None, request_id: Any = 1, **more: Any) -> bytes:
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, **more}
    if params is not None:
        body["params"] = params
    if request_id != "":
        body["id"] = request_id
    return json.dumps(body).encode()


CALL = {"name": "test_simple_text", "arguments": {}}
BAD_ID = object()


def _bodies() -> Iterator[tuple[str, str, Any, Any]]:
    """Yield well-formed requests: name, method, params, id; both eras send them in their own dress."""
    yield "a call", "tools/call", CALL, 1
    yield "a call with a text for its id", "tools/call", CALL, "abc"
    yield "a call with zero for its id", "tools/call", CALL, 0
    yield "a call that fails", "tools/call", {"name": "test_error_handling", "arguments": {}}, 1
    yield "a call of a tool that is not there", "tools/call", {"name": "nothing", "arguments": {}}, 1
    yield "a call without a name", "tools/call", {"arguments": {}}, 1
    yield "a call with a number for its name", "tools/call", {"name": 7}, 1
    yield "a call with a list of arguments", "tools/call", {"name": "test_simple_text", "arguments": [1]}, 1
    yield "a call without arguments", "tools/call", {"name": "test_simple_text"}, 1
    yield "a call with progress", "tools/call", {"name": "test_tool_with_progress", "_meta": {"progressToken": "t"}}, 1
    yield "tools", "tools/list", {}, 1
    yield "tools after a cursor that is none", "tools/list", {"cursor": "nowhere"}, 1
    yield "tools after a cursor that is a number", "tools/list", {"cursor": 7}, 1
    yield "resources", "resources/list", {}, 1
    yield "templates", "resources/templates/list", {}, 1
    yield "prompts", "prompts/list", {}, 1
    yield "a resource", "resources/read", {"uri": "test://static-text"}, 1
    yield "a resource that is not there", "resources/read", {"uri": "test://nowhere"}, 1
    yield "a resource without a URI", "resources/read", {}, 1
    yield "a prompt", "prompts/get", {"name": "test_simple_prompt"}, 1
    yield "a prompt that is not there", "prompts/get", {"name": "nothing"}, 1
    yield "a prompt without a name", "prompts/get", {}, 1
    yield "a completion", "completion/complete", {
        "ref": {"type": "ref/prompt", "name": "test_prompt_with_arguments"}, "argument": {"name": "arg1", "value": "p"}
    }, 1  # fmt: skip
    yield "a completion of nothing", "completion/complete", {}, 1
    yield "an unknown method", "no/such", {}, 1
    yield "an unknown notification", "notifications/no/such", {}, ""
    yield "a cancellation of nothing", "notifications/cancelled", {"requestId": 99, "reason": "why"}, ""
    yield "a ping", "ping", {}, 1


def dressed(era: str, method: str, params: Any, request_id: Any) -> tuple[bytes, dict[str, str | None]]:
    if era == "legacy":
        return _message(method, params, request_id), {}
    params = {**params, "_meta": {**ENVELOPE, **params.get("_meta", {})}}
    headers: dict[str, str | None] = {"mcp-method": method}
    name = params.get("uri") if method == "resources/read" else params.get("name")
    if method in {"tools/call", "prompts/get", "resources/read"} and isinstance(name, str):
        headers["mcp-name"] = name
    return _message(method, params, request_id), headers


def _well_formed() -> Iterator[Case]:
    for era in ("legacy", "modern"):
        for name, method, params, request_id in _bodies():
            body, headers = dressed(era, method, params, request_id)
            yield Case(name, era, body, headers=headers)


def _malformed() -> Iterator[Case]:
    call = {"modern": dressed("modern", "tools/call", CALL, 1)[0], "legacy": _message("tools/call", CALL)}
    named = {"modern": {"mcp-method": "tools/call", "mcp-name": "test_simple_text"}, "legacy": {}}
    for era in ("legacy", "modern"):
        for name, body in (
            ("no body", b""),
            ("no JSON", b"{nope"),
            ("bytes that are no UTF-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'),
            ("a text", b'"hello"'),
            ("a batch", b"[" + call[era] + b"]"),
            ("an empty batch", b"[]"),
            ("another version of JSON-RPC", _message("tools/call", CALL, jsonrpc="1.0")),
            ("no version of JSON-RPC", b'{"id":1,"method":"tools/list"}'),
            ("no method", b'{"jsonrpc":"2.0","id":1}'),
            ("a method that is a number", b'{"jsonrpc":"2.0","id":1,"method":7}'),
            ("params that are a list", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[1]}'),
            ("an id that is null", b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}'),
            ("an id that is a fraction", b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}'),
            ("an id that is true", b'{"jsonrpc":"2.0","id":true,"method":"tools/list"}'),
            ("an id that is a list", b'{"jsonrpc":"2.0","id":[1],"method":"tools/list"}'),
            ("an answer to nothing", b'{"jsonrpc":"2.0","id":77,"result":{}}'),
            ("an error to nothing", b'{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"m"}}'),
            ("5 MiB", b" " * (5 * 1024 * 1024) + call[era]),
            ("a byte more than is taken", call[era].rjust(MOST_BYTES + 1)),
            ("as much as is taken", call[era].rjust(MOST_BYTES)),
            ("more than is taken in one piece", call[era].rjust(PIECE_BYTES + 1)),
        ):
            yield Case(name, era, body, headers=named[era])
        for name, headers in (
            ("a text for content", {"content-type": "text/plain"}),
            ("no content type", {"content-type": None}),
            ("JSON in a character set", {"content-type": "application/json; charset=utf-8"}),
            ("streams are not taken", {"accept": "application/json"}),
            ("only streams are taken", {"accept": "text/event-stream"}),
            ("nothing of ours is taken", {"accept": "text/html"}),
            ("anything is taken", {"accept": "*/*"}),
            ("no word of what is taken", {"accept": None}),
            ("an unknown version in the header", {"mcp-protocol-version": "1999-01-01"}),
            ("a version that is none in the header", {"mcp-protocol-version": "new"}),
            ("another Origin", {"origin": "http://evil.example"}),
            ("another Host", {"host": "evil.example"}),
        ):
            yield Case(name, era, call[era], headers=named[era] | headers)


def _legacy_only() -> Iterator[Case]:
    call = _message("tools/call", CALL)

    def opening(**changes: Any) -> bytes:
        info = {"clientInfo": {"name": "t", "version": "1"}, "capabilities": {}, "protocolVersion": LEGACY}
        return _message("initialize", {name: said for name, said in (info | changes).items() if said is not None})

    fresh: dict[str, str | None] = {"mcp-session-id": None, "mcp-protocol-version": None}
    yield Case("a handshake", "legacy", opening(), headers=fresh)
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "1999-01-01", MODERN):
        yield Case(f"a handshake of {version}", "legacy", opening(protocolVersion=version), headers=fresh)
    yield Case("a handshake without a version", "legacy", opening(protocolVersion=None), headers=fresh)
    yield Case("a handshake without a client", "legacy", opening(clientInfo=None), headers=fresh)
    yield Case("a handshake in a session", "legacy", opening())
    yield Case("no session", "legacy", call, headers={"mcp-session-id": None})
    yield Case("a session that is none", "legacy", call, headers={"mcp-session-id": "0" * 32})
    yield Case("no version in the header", "legacy", call, headers={"mcp-protocol-version": None})
    yield Case("an older version in the header", "legacy", call, headers={"mcp-protocol-version": "2025-03-26"})
    yield Case("log level", "legacy", _message("logging/setLevel", {"level": "info"}))
    yield Case("log level that is none", "legacy", _message("logging/setLevel", {"level": "loud"}))
    yield Case("a subscription", "legacy", _message("resources/subscribe", {"uri": "test://watched-resource"}))
    yield Case("a subscription to nothing", "legacy", _message("resources/subscribe", {}))
    yield Case("its end", "legacy", _message("resources/unsubscribe", {"uri": "test://watched-resource"}))
    yield Case("that it is ready", "legacy", _message("notifications/initialized", None, ""))
    yield Case("GET that takes no streams", "legacy", verb="GET", headers={"accept": "application/json"})
    yield Case("GET without a session", "legacy", verb="GET", headers={"mcp-session-id": None})
    yield Case("GET of no session", "legacy", verb="GET", headers={"mcp-session-id": "0" * 32})
    yield Case("DELETE without a session", "legacy", verb="DELETE", headers={"mcp-session-id": None})
    yield Case("DELETE of no session", "legacy", verb="DELETE", headers={"mcp-session-id": "0" * 32})
    yield Case("PUT", "legacy", call, verb="PUT")
    yield Case("DELETE", "legacy", verb="DELETE")
    yield Case("a call after DELETE", "legacy", call)


def _modern_only() -> Iterator[Case]:
    body, headers = dressed("modern", "tools/call", CALL, 1)

    def enveloped(**changes: Any) -> bytes:
        meta = {**ENVELOPE, **{f"io.modelcontextprotocol/{name}": said for name, said in changes.items()}}
        return _message("tools/call", CALL | {"_meta": {n: said for n, said in meta.items() if said is not None}})

    yield Case("discovery", "modern", *_dressed_discovery())
    for name, changes in (
        ("no version in the body", {"protocolVersion": None}),
        ("an unknown version in the body", {"protocolVersion": "1999-01-01"}),
        ("another version in the body", {"protocolVersion": LEGACY}),
        ("no capabilities", {"clientCapabilities": None}),
        ("capabilities that are a list", {"clientCapabilities": []}),
        ("a client that is a text", {"clientInfo": "me"}),
    ):
        yield Case(name, "modern", enveloped(**changes), headers=headers)
    yield Case("no envelope", "modern", _message("tools/call", CALL), headers=headers)
    for name, more in (
        ("another method in the header", {"mcp-method": "tools/list"}),
        ("no method in the header", {"mcp-method": None}),
        ("another name in the header", {"mcp-name": "other"}),
        ("no name in the header", {"mcp-name": None}),
        ("a name in base64 in the header", {"mcp-name": "=?base64?dGVzdF9zaW1wbGVfdGV4dA==?="}),
        ("a legacy version in the header", {"mcp-protocol-version": LEGACY}),
        ("a session", {"mcp-session-id": "0" * 32}),
    ):
        yield Case(name, "modern", body, headers=headers | more)
    method = {"mcp-method": "tools/list"}
    both = dressed("modern", "tools/list", {}, 1)[0]
    yield Case("a name in the header of a list", "modern", both, headers=method | {"mcp-name": "x"})
    yield Case("GET", "modern", verb="GET")
    yield Case("DELETE", "modern", verb="DELETE")
    yield Case("PUT", "modern", body, verb="PUT", headers=headers)
    yield Case("a handshake", "modern", *_dressed_as("initialize", {"protocolVersion": MODERN}))
    yield Case("log level", "modern", *_dressed_as("logging/setLevel", {"level": "info"}))
    yield Case("a subscription of the other era", "modern", *_dressed_as("resources/subscribe", {"uri": "test://a"}))
    yield Case("a subscription to nothing", "modern", *_dressed_as("subscriptions/listen", {}))


def _dressed_discovery() -> tuple[bytes, str, dict[str, str | None]]:
    return _dressed_as("server/discover", {})


def _dressed_as(method: str, params: Mapping[str, Any]) -> tuple[bytes, str, dict[str, str | None]]:
    body, headers = dressed("modern", method, params, 1)
    return body, "POST", headers


CASES: Sequence[Case] = (*_well_formed(), *_malformed(), *_modern_only(), *_legacy_only())


async def send(http: httpx2.AsyncClient, place: Place, case: Case) -> Said:
    """Send a request; return what matters of the answer."""
    return said(await exchanged(http, place, case))


async def exchanged(http: httpx2.AsyncClient, place: Place, case: Case, **more: str) -> httpx2.Response:
    """Send a request, with `more` headers; return the answer as it is."""
    return await http.send(made(http, place, case, **more))


def made(http: httpx2.AsyncClient, place: Place, case: Case, **more: str) -> httpx2.Request:
    """Return a request as it is sent, with `more` headers."""
    headers: dict[str, str | None] = {"accept": ACCEPT, "content-type": "application/json"}
    if place.authorization:
        headers["authorization"] = place.authorization
    if case.era == "modern":
        headers["mcp-protocol-version"] = MODERN
    else:
        headers |= {"mcp-protocol-version": LEGACY, "mcp-session-id": place.session}
    headers |= dict(case.headers)
    request = http.build_request(case.verb, place.url, content=case.body, headers=more)
    for name in ("accept", "content-type"):
        request.headers.pop(name, None)
    for name, value in headers.items():
        if value is not None:
            request.headers[name] = value
    return request


def said(reply: httpx2.Response) -> Said:
    """Read an answer."""
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if kind == "text/event-stream":
        texts = [line[5:] for line in reply.text.splitlines() if line.startswith("data:") and line[5:].strip()]
    else:
        texts = [reply.text] if kind == "application/json" and reply.text else []
    kept = frozenset(name for name in ("mcp-session-id", "allow", "www-authenticate") if name in reply.headers)
    return Said(reply.status_code, kind, kept, tuple(_short(json.loads(text)) for text in texts))


def _short(message: Mapping[str, Any]) -> str:
    if "method" in message:
        return str(message["method"])
    error = message.get("error")
    what = f"error {error['code']}" if error else f"result({','.join(sorted(message['result']))})"
    return f"{message.get('id')!r}:{what}"
