"""The contract check finds what it says it finds."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from gateway.connector import Connector, ConnectorConfig, ConnectorFault, Effect, Secret, Surroundings, ToolCall, tool
from gateway.connector.testing import ContractBroken, check_connector, check_failures
from tests.fixtures.payments_connector import Payments, PaymentsApi
from tests.fixtures.scripted import ScriptedUpstream

SCHEMA = {"type": "object"}
SAMPLE = ToolCall("a", {}, "call_1", 5.0, "key")


class KeyConfig(ConnectorConfig):
    key: Secret
    more: tuple[Secret, ...] = ()
    named: Mapping[str, Secret] = {}


class Good(ScriptedUpstream):
    """Keeps every promise."""

    definition: ClassVar[Mapping[str, Any]] = {"name": "a", "inputSchema": SCHEMA}

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        return [self.definition]

    async def call(self, call: ToolCall) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        if call.tool != "a":
            raise ConnectorFault("No such tool.", code="rejected")
        return await self.answer()

    async def answer(self) -> Mapping[str, Any]:
        return {"content": [], "structuredContent": {}}


def connector(upstream: type[Any]) -> type[Connector[Any]]:
    class Made(Connector[KeyConfig]):
        name = "made"

        @classmethod
        def upstream(cls, config: KeyConfig, surroundings: Surroundings) -> Any:
            return upstream()

    return Made


async def check(upstream: type[Any], **more: Any) -> None:
    await check_connector(connector(upstream), {"key": "hunter2", "named": {"a": "hunter3"}}, sample=SAMPLE, **more)


async def test_a_connector_that_keeps_the_contract_passes() -> None:
    await check(Good)


async def test_the_documented_connector_passes() -> None:
    async with PaymentsApi() as api:
        sample = ToolCall("pay", {"payment_id": "p", "amount": 1}, "call_1", 5.0)
        await check_connector(Payments, {"base_url": api.url, "api_key": "hunter2"}, sample=sample)
        config = Payments.configure({"base_url": api.url, "api_key": "hunter2"}, {})
        await check_connector(Payments, config)


class Duplicate(Good):
    async def tools(self) -> Any:
        return [self.definition, self.definition]


class NoSchema(Good):
    definition: ClassVar[Mapping[str, Any]] = {"name": "a"}


class ListSchema(Good):
    definition: ClassVar[Mapping[str, Any]] = {"name": "a", "inputSchema": {"type": "array"}}


class BadSchema(Good):
    definition: ClassVar[Mapping[str, Any]] = {"name": "a", "inputSchema": {"type": "object", "properties": 7}}


class Remote(Good):
    definition: ClassVar[Mapping[str, Any]] = {
        "name": "a",
        "inputSchema": SCHEMA,
        "outputSchema": {**SCHEMA, "$ref": "http://x/schema"},
    }


class Liar(Good):
    definition: ClassVar[Mapping[str, Any]] = {
        "name": "a",
        "inputSchema": SCHEMA,
        "outputSchema": {**SCHEMA, "required": ["n"]},
    }


class Talker(Good):
    async def call(self, call: ToolCall) -> Any:
        raise ConnectorFault("no", detail="the key hunter3 is wrong")


class Showing(Good):
    def __repr__(self) -> str:
        return "Showing(key=hunter2)"


class SaysYes(Good):
    async def call(self, call: ToolCall) -> Any:
        return {"content": []}


class AllTraits(Good):
    def traits(self, tool: str) -> Any:
        return object()


class NoContent(Good):
    async def answer(self) -> Any:
        return {}


class NoObject(Good):
    async def answer(self) -> Any:
        return []


@pytest.mark.parametrize(
    ("upstream", "promise"),
    [
        (Duplicate, "same name"),
        (NoSchema, "inputSchema is missing"),
        (ListSchema, "not of type object"),
        (BadSchema, "not a valid JSON Schema"),
        (Remote, "http://x/schema"),
        (Liar, "breaks its own output schema"),
        (Talker, "a secret shows in a fault"),
        (Showing, r"a secret shows in repr\(upstream\)"),
        (SaysYes, "does not exist was called with success"),
        (AllTraits, "traits for a tool that does not exist"),
        (NoContent, "no content list"),
        (NoObject, "not an object"),
    ],
)
async def test_a_broken_promise_is_named(upstream: type[Any], promise: str) -> None:
    with pytest.raises(ContractBroken, match=promise):
        await check(upstream)


async def test_an_upstream_that_forgets_what_its_class_declares_is_found() -> None:
    class Forgets(Connector[KeyConfig]):
        name = "forgets"

        @tool(effect=Effect.READ)
        async def a(self, call: ToolCall) -> None: ...

        @classmethod
        def upstream(cls, config: KeyConfig, surroundings: Surroundings) -> Any:
            return Good()

    with pytest.raises(ContractBroken, match="cannot know its effect"):
        await check_connector(Forgets, {"key": "hunter2"})


async def test_a_step_that_hangs_is_named() -> None:
    class Hangs(Good):
        async def close(self) -> None:
            await asyncio.sleep(600)

    with pytest.raises(ContractBroken, match="`close before open` did not end"):
        await check(Hangs, step_s=0.02)


async def test_a_call_that_ignores_being_cancelled_is_found() -> None:
    class Stubborn(Good):
        async def call(self, call: ToolCall) -> Any:
            try:
                return await super().call(call)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
                raise

    with pytest.raises(ContractBroken, match="cancelled call does not end"):
        await check(Stubborn, step_s=0.05)
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


async def test_an_opening_that_ignores_being_cancelled_is_found() -> None:
    class Stubborn(Good):
        async def open(self) -> None:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                await asyncio.sleep(0.3)

    with pytest.raises(ContractBroken, match="`open` that is cancelled does not end"):
        await check(Stubborn, step_s=0.05)
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


async def test_a_configuration_that_shows_its_secret_is_found() -> None:
    class Careless(KeyConfig):
        def __repr__(self) -> str:
            return self.key.reveal()

    with pytest.raises(ContractBroken, match=r"repr\(config\)"):
        await check_connector(connector(Good), Careless(key=Secret("hunter2"), more=(Secret("x"),)))


@asynccontextmanager
async def failing(status: int) -> AsyncIterator[tuple[Mapping[str, Any], ToolCall | None]]:
    yield {"key": str(status)}, SAMPLE


def telling(**codes: str) -> type[Connector[Any]]:
    """A connector that tells each status as the code of its first digit, or of all of it; `ok` takes it for success."""

    class Telling(Connector[KeyConfig]):
        name = "telling"

        @tool(effect=Effect.READ)
        async def a(self, call: ToolCall) -> dict[str, str]:
            """Ask."""
            status = self.config.key.reveal()
            code = codes.get(f"s{status}", codes.get(f"s{status[0]}", "rejected"))
            if code == "ok":
                return {"status": status}
            if code == "bug":
                raise KeyError(status)
            raise ConnectorFault("no", code=code)

    return Telling


GOOD_CODES = {"s401": "credential_expired", "s429": "unavailable", "s5": "unavailable"}


async def test_failures_that_are_told_by_their_kind_pass() -> None:
    await check_failures(telling(**GOOD_CODES), failing)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ({"s404": "ok"}, "HTTP 404 is taken for success"),
        ({"s403": "bug"}, "HTTP 403 is told as contract_broken; say credential_expired or forbidden or rejected"),
        ({"s401": "rejected"}, "HTTP 401 is told as rejected; say credential_expired"),
        ({"s503": "rejected"}, "HTTP 503 is told as rejected; say timeout or unavailable"),
    ],
)
async def test_a_failure_that_is_not_mapped_breaks_the_contract(codes: Mapping[str, str], said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        await check_failures(telling(**{**GOOD_CODES, **codes}), failing)


async def test_where_no_call_can_be_made_no_failure_is_checked() -> None:
    @asynccontextmanager
    async def silent(status: int) -> AsyncIterator[tuple[Mapping[str, Any], ToolCall | None]]:
        del status
        yield {"key": "k"}, None

    await check_failures(telling(s4="ok"), silent)
