"""A connector in Python: what the gateway makes of its methods, and of whatever they raise."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import httpx2
import pytest
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from gateway.connector import (
    LOOKUP,
    Connector,
    ConnectorConfig,
    ConnectorFault,
    CredentialExpired,
    Effect,
    NotDone,
    Rejected,
    Surroundings,
    TimedOut,
    ToolCall,
    ToolTraits,
    Unavailable,
    Upstream,
    tool,
)
from tests.fixtures.payments_connector import Payments, PaymentsApi


class Point(BaseModel):
    x: int
    title: str = ""


class Tree(BaseModel):
    branches: list["Tree"] = []


class Row(TypedDict):
    n: int


@dataclass
class Pair:
    left: int
    right: str


class Shapes(Connector[ConnectorConfig]):
    """Every kind of parameter and result."""

    name = "shapes"

    @tool(effect=Effect.READ)
    async def point(self, call: ToolCall, at: Point, copy: Annotated[int, Field(ge=1)] = 2) -> Point:
        """Move a point.

        By one.
        """
        return Point(x=at.x + copy)

    @tool(effect=Effect.READ)
    async def tree(self, call: ToolCall) -> Tree:
        return Tree(branches=[Tree()])

    @tool(effect=Effect.READ)
    async def rows(self, call: ToolCall, *, _n: int = 1) -> list[Row]:
        return [{"n": _n}]

    @tool(effect=Effect.READ)
    async def trees(self, call: ToolCall) -> list[Tree]:
        return [Tree()]

    @tool(effect=Effect.READ)
    async def pair(self, call: ToolCall) -> Pair:
        return Pair(1, "a")

    @tool(effect=Effect.READ, name="say-it")
    async def say(self, call: ToolCall, text: str) -> str:
        return text

    @tool(effect=Effect.WRITE)
    async def nothing(self, call: ToolCall) -> None:
        return None

    @tool(effect=Effect.WRITE)
    async def anything(self, call: ToolCall) -> Any:
        return {"a": [1]}

    @tool(effect=Effect.READ)
    async def liar(self, call: ToolCall) -> int:
        return "not a number"  # type: ignore[return-value]

    async def not_a_tool(self) -> None: ...


class Trouble(Connector[ConnectorConfig]):
    """Raises what it is told to."""

    name = "trouble"
    error: BaseException = RuntimeError()

    @tool(effect=Effect.WRITE)
    async def do(self, call: ToolCall) -> None:
        raise self.error

    async def close(self) -> None:
        raise self.error


def opened(kind: type[Connector[Any]]) -> Upstream:
    return kind.upstream(kind.configure({}, {}), Surroundings())


def asked(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments, "call_7", 5.0)


@pytest.fixture
async def shapes() -> Any:
    upstream = opened(Shapes)
    await upstream.open()
    yield upstream
    await upstream.close()


async def test_the_documented_connector_pays_with_its_key_and_waits_when_told() -> None:
    async with PaymentsApi() as api:
        config = Payments.configure({"base_url": api.url, "api_key": "${env:PAYMENTS_KEY}"}, {"PAYMENTS_KEY": "s3cret"})
        upstream = Payments.upstream(config, Surroundings())
        await upstream.open()
        result = await upstream.call(ToolCall("pay", {"payment_id": "p1", "amount": 5}, "call_1", 5.0, "key-1"))
        assert result["structuredContent"] == {"receipt": "r-p1"}
        assert result["content"] == [{"type": "text", "text": '{"receipt":"r-p1"}'}]
        api.answers = ["503 Service Unavailable\r\nRetry-After: 7"]
        with pytest.raises(ConnectorFault) as caught:
            await upstream.call(ToolCall("pay", {"payment_id": "p2", "amount": 5}, "call_2", 5.0))
        assert (caught.value.code, caught.value.retry_after_s, caught.value.sent) == ("unavailable", 7.0, True)
        await upstream.close()
        assert api.seen == [("key-1", {"id": "p1", "amount": 5}), ("call_2", {"id": "p2", "amount": 5})]
        assert "s3cret" not in repr(config) + repr(upstream) + repr(caught.value)


async def test_the_documented_connectors_definition_is_made_from_its_code() -> None:
    upstream = Payments.upstream(Payments.configure({"base_url": "http://x", "api_key": "k"}, {}), Surroundings())
    assert await upstream.tools() == [
        {
            "name": "pay",
            "description": "Pay one payment. Amount in cents.",
            "inputSchema": {
                "type": "object",
                "properties": {"payment_id": {"type": "string"}, "amount": {"type": "integer"}},
                "required": ["payment_id", "amount"],
                "additionalProperties": False,
            },
            "outputSchema": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True},
        }
    ]
    assert upstream.traits("pay") == ToolTraits(Effect.IRREVERSIBLE, idempotent=True, undo="refund")
    assert upstream.traits("refund") is None
    upstream.on_notice(lambda *_: None)


@pytest.mark.parametrize(
    ("name", "arguments", "structured", "text"),
    [
        ("point", {"at": {"x": 1}}, {"x": 3, "title": ""}, '{"x":3,"title":""}'),
        ("point", {"at": {"x": 1}, "copy": 5}, {"x": 6, "title": ""}, '{"x":6,"title":""}'),
        ("tree", {}, {"branches": [{"branches": []}]}, '{"branches":[{"branches":[]}]}'),
        ("rows", {"_n": 4}, {"result": [{"n": 4}]}, '[{"n":4}]'),
        ("trees", {}, {"result": [{"branches": []}]}, '[{"branches":[]}]'),
        ("pair", {}, {"left": 1, "right": "a"}, '{"left":1,"right":"a"}'),
        ("say-it", {"text": "hello"}, {"result": "hello"}, "hello"),
    ],
)
async def test_a_return_value_becomes_a_result(
    shapes: Upstream, name: str, arguments: dict[str, Any], structured: Any, text: str
) -> None:
    result = await shapes.call(asked(name, **arguments))
    assert result == {"content": [{"type": "text", "text": text}], "structuredContent": structured}


async def test_a_tool_without_a_typed_result_promises_none(shapes: Upstream) -> None:
    definitions = {each["name"]: each for each in await shapes.tools()}
    assert "outputSchema" not in definitions["nothing"]
    assert "outputSchema" not in definitions["anything"]
    assert await shapes.call(asked("nothing")) == {"content": []}
    assert await shapes.call(asked("anything")) == {"content": [{"type": "text", "text": '{"a":[1]}'}]}


async def test_schemas_keep_constraints_and_properties_called_title(shapes: Upstream) -> None:
    definitions = {each["name"]: each for each in await shapes.tools()}
    point = definitions["point"]
    assert point["description"] == "Move a point.\n\nBy one."
    assert point["inputSchema"]["properties"]["copy"] == {"type": "integer", "minimum": 1, "default": 2}
    assert point["outputSchema"]["properties"]["title"] == {"type": "string", "default": ""}
    assert definitions["tree"]["outputSchema"]["type"] == "object"
    assert definitions["trees"]["outputSchema"]["$defs"]["Tree"]["type"] == "object"
    assert list(definitions) == [
        *("point", "tree", "rows", "trees", "pair", "say-it", "nothing", "anything", "liar"),
    ]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (asked("nope"), "no tool"),
        (asked("point"), "at: Field required"),
        (asked("point", at={"x": 1}, extra=1), "extra: Extra inputs"),
        (asked("point", at={"x": 1}, copy=0), "greater than or equal to 1"),
    ],
)
async def test_a_call_that_cannot_be_made_is_refused(shapes: Upstream, call: ToolCall, why: str) -> None:
    with pytest.raises(ConnectorFault, match=why) as caught:
        await shapes.call(call)
    assert caught.value.code == "rejected"


async def test_a_result_that_breaks_its_own_type_is_not_passed_on(shapes: Upstream) -> None:
    with pytest.raises(ConnectorFault) as caught:
        await shapes.call(asked("liar"))
    assert caught.value.code == "contract_broken"


async def fault_of(error: Exception) -> ConnectorFault:
    """What the gateway makes of it when a tool raises `error`."""
    upstream = opened(Trouble)
    upstream._connector.error = error  # type: ignore[attr-defined]
    await upstream.open()
    with pytest.raises(ConnectorFault) as caught:
        await upstream.call(asked("do"))
    await upstream.close()
    return caught.value


def answered(status: int, **headers: str) -> Exception:
    """What `raise_for_status` raises of an answer."""
    request = httpx2.Request("GET", "http://far.example/key=hunter2")
    reply = httpx2.Response(status, headers=headers, content=b"key=hunter2", request=request)
    with pytest.raises(httpx2.HTTPStatusError) as caught:
        reply.raise_for_status()
    return caught.value


@pytest.mark.parametrize(
    ("error", "refused", "wait_s"),
    [
        (answered(429), True, None),
        (answered(503, **{"Retry-After": "7"}), True, 7.0),
        (answered(503), False, None),
        (answered(500), False, None),
    ],
)
async def test_an_answer_says_whether_anything_was_done_and_how_long_to_wait(
    error: Exception, refused: bool, wait_s: float | None
) -> None:
    fault = await fault_of(error)
    assert (fault.refused, fault.retry_after_s) == (refused, wait_s)


@pytest.mark.parametrize(
    ("error", "code", "sent"),
    [
        (Unavailable(sent=False), "unavailable", False),
        (TimedOut(), "timeout", True),
        (Rejected("no"), "rejected", True),
        (CredentialExpired(), "credential_expired", True),
        (httpx2.ConnectError("key=hunter2"), "unavailable", True),
        (httpx2.ReadTimeout("key=hunter2"), "timeout", True),
        (TimeoutError("key=hunter2"), "timeout", True),
        (ConnectionResetError("key=hunter2"), "unavailable", True),
        (KeyError("key=hunter2"), "contract_broken", True),
        (answered(302), "rejected", True),
        (answered(400), "rejected", True),
        (answered(401), "credential_expired", True),
        (answered(403), "forbidden", True),
        (answered(408), "unavailable", True),
        (answered(429), "unavailable", True),
        (answered(500), "unavailable", True),
        (answered(503), "unavailable", True),
    ],
)
async def test_whatever_a_tool_raises_is_a_fault_without_its_text(error: Exception, code: str, sent: bool) -> None:
    fault = await fault_of(error)
    assert (fault.code, fault.sent) == (code, sent)
    assert "hunter2" not in fault.message + fault.detail


async def test_cancelling_goes_through_a_tool() -> None:
    upstream = opened(Trouble)
    upstream._connector.error = asyncio.CancelledError()  # type: ignore[attr-defined]
    await upstream.open()
    with pytest.raises(asyncio.CancelledError):
        await upstream.call(asked("do"))
    upstream._connector.error = OSError()  # type: ignore[attr-defined]
    await upstream.close()


async def test_a_connector_that_is_not_open_sends_nothing() -> None:
    upstream = opened(Shapes)
    await upstream.close()
    with pytest.raises(ConnectorFault) as caught:
        await upstream.call(asked("nothing"))
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)


class Fragile(Connector[ConnectorConfig]):
    """Fails to open, then opens."""

    name = "fragile"
    life: list[str]

    async def open(self) -> None:
        self.life = [*getattr(self, "life", []), "open"]
        if len(self.life) == 1:
            raise OSError("no")

    async def close(self) -> None:
        self.life.append("close")


async def test_close_runs_after_a_failed_open_and_open_may_follow() -> None:
    upstream = opened(Fragile)
    with pytest.raises(ConnectorFault):
        await upstream.open()
    await upstream.close()
    await upstream.open()
    await upstream.close()
    await upstream.close()
    assert upstream._connector.life == ["open", "close", "open", "close"]  # type: ignore[attr-defined]
    assert upstream._connector.http.is_closed  # type: ignore[attr-defined]


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="api_kye"):
        Payments.configure({"base_url": "x", "api_key": "k", "api_kye": "k"}, {})


async def asynchronous(self: Any, call: ToolCall, n: int) -> int:
    return n


def synchronous(self: Any, call: ToolCall) -> None: ...
async def without_call(self: Any) -> None: ...
async def without_type(self: Any, call: ToolCall, n) -> None: ...  # type: ignore[no-untyped-def]
async def with_rest(self: Any, call: ToolCall, *rest: int) -> None: ...
async def with_unknown_type(self: Any, call: ToolCall, n: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def with_odd_type(self: Any, call: ToolCall, n: Callable[[], Awaitable[None]]) -> object: ...


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: tool()(asynchronous), "effect=Effect.READ"),
        (lambda: tool(effect=Effect.READ)(synchronous), "async def"),  # type: ignore[type-var]
        (lambda: declared(without_call), "call: ToolCall"),
        (lambda: declared(without_type), "give 'n' a type"),
        (lambda: declared(with_rest), r"not \*rest"),
        (lambda: declared(with_unknown_type), "Nowhere"),
        (lambda: declared(with_odd_type), "with_odd_type"),
        (lambda: declared(asynchronous, same_again), "two tools are called 'asynchronous'"),
    ],
)
def test_a_tool_that_cannot_be_declared_fails_when_its_class_is_made(declare: Callable[[], Any], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        declare()


@tool(effect=Effect.READ, name="asynchronous")
async def same_again(self: Any, call: ToolCall) -> None: ...


def declared(*methods: Any) -> type:
    marked = {method.__name__: tool(effect=Effect.READ)(method) for method in methods if method is not same_again}
    if same_again in methods:
        marked["same_again"] = same_again
    return type("Odd", (Connector,), {"name": "odd", **marked})


class Found(Connector[ConnectorConfig]):
    """A tool that can be looked up, and one that cannot."""

    name = "found"
    known: tuple[str, ...] = ()

    @tool(effect=Effect.IRREVERSIBLE, lookup="find")
    async def pay(self, call: ToolCall, amount: int) -> Row:
        assert call.idempotency_key is not None
        self.known += (call.idempotency_key,)
        return {"n": amount}

    async def find(self, call: ToolCall, amount: int) -> Row:
        if call.idempotency_key not in self.known:
            raise NotDone
        return {"n": amount}

    @tool(effect=Effect.IRREVERSIBLE)
    async def lose(self, call: ToolCall) -> None:
        return None


async def test_a_tool_with_a_lookup_is_given_one_key_for_the_call_and_the_question() -> None:
    upstream = Found.upstream(ConnectorConfig(), Surroundings())
    await upstream.open()
    asked = ToolCall("pay", {"amount": 3}, "call_1", 5, method=LOOKUP)
    with pytest.raises(NotDone):
        await upstream.call(asked)
    paid = await upstream.call(replace(asked, method="tools/call"))
    assert await upstream.call(asked) == paid
    with pytest.raises(NotDone):
        await upstream.call(replace(asked, call_id="call_2"))
    with pytest.raises(Rejected, match="cannot be looked up"):
        await upstream.call(ToolCall("lose", {}, "call_1", 5, method=LOOKUP))
    traits = [upstream.traits(name) for name in ("pay", "lose")]
    assert [each.lookup for each in traits if each is not None] == [True, False]
    await upstream.close()


def test_a_lookup_that_is_no_method_fails_when_its_class_is_made() -> None:
    with pytest.raises(TypeError, match="lookup of 'pay'"):

        class Lost(Connector[ConnectorConfig]):
            name = "lost"

            @tool(effect=Effect.WRITE, lookup="find")
            async def pay(self, call: ToolCall) -> None:
                return None


def test_tools_are_inherited_and_may_be_overridden() -> None:
    class More(Shapes):
        name = "more"

        @tool(effect=Effect.IRREVERSIBLE)
        async def nothing(self, call: ToolCall) -> None: ...

    assert More.declared["nothing"].traits.effect is Effect.IRREVERSIBLE
    assert set(More.declared) == set(Shapes.declared)
    assert More.config_type is ConnectorConfig
