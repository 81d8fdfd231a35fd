"""The contract every connector keeps, as one check that its author runs: ours pass it too."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import jsonschema_rs

from gateway.connector.plugin import Connector, ConnectorConfig, Surroundings
from gateway.connector.secret import Secret
from gateway.connector.upstream import ToolCall, Upstream
from gateway.model.errors import ConnectorFault

__all__ = ["ContractBroken", "check_connector", "check_failures"]

_NO_SUCH_TOOL: Final = "toolgate-contract-no-such-tool"


_MEANS: Final[Mapping[int, frozenset[str]]] = {
    401: frozenset({"credential_expired"}),
    403: frozenset({"forbidden", "rejected", "credential_expired"}),
    **dict.fromkeys((400, 404, 409, 422), frozenset({"rejected", "forbidden"})),
    **dict.fromkeys((429, 500, 503), frozenset({"unavailable", "timeout"})),
}
"""What a status may be told as. Anything else leaves the agent, and the operator, without what to do."""


class ContractBroken(AssertionError):
    """A connector does not do what the gateway relies on; the text says what."""


async def check_connector(
    connector: type[Connector[Any]],
    config: ConnectorConfig | Mapping[str, Any],
    *,
    sample: ToolCall | None = None,
    step_s: float = 30.0,
    told: Callable[[str], None] = lambda held: None,
) -> None:
    """Check life cycle, declarations and secrecy; with `sample`, a call that is safe to repeat, results and cancelling.

    `config` is a configuration, or what its section of `mcpServers` says. The other side must be there: a test double.
    `step_s` is how long any one step may take, in seconds. `told` gets what was found to hold, as it is found.

    Raises:
        ContractBroken: the first promise that does not hold.
        ConnectorFault: the connector cannot be opened with this configuration.
    """
    ready = config if isinstance(config, ConnectorConfig) else connector.configure(config, os.environ)
    secrets = {secret.reveal() for secret in _secrets(ready)} - {""}
    _quiet(secrets, repr(ready), "repr(config)")
    told("the configuration is valid, and shows no secret")
    upstream = connector.upstream(ready, Surroundings(server=connector.name))
    check = _Check(connector, upstream, secrets, step_s)
    await check.step("close before open", upstream.close())
    await check.abandoned_open()
    told("it can be closed before it was opened, and while it is being opened")
    try:
        await check.step("open", upstream.open())
        told("it opens")
        await check.definitions()
        told("its tools have valid schemas, names of their own and an effect")
        await check.refusals()
        told("a tool that does not exist is refused, and the refusal shows no secret")
        if sample is not None:
            await check.sample(sample)
            told(f"{sample.tool} keeps its output schema, can be cancelled, and works afterwards")
        await check.step("close", upstream.close())
        await check.step("close twice", upstream.close())
        await check.step("open after close", upstream.open())
    finally:
        await check.step("close", upstream.close())
    _quiet(secrets, repr(upstream), "repr(upstream)")
    told("it closes, twice, opens again, and shows no secret")


async def check_failures(
    connector: type[Connector[Any]],
    failing: Callable[[int], AbstractAsyncContextManager[tuple[Mapping[str, Any], ToolCall | None]]],
    *,
    step_s: float = 30.0,
) -> None:
    """Check that every class of failure is told by its kind, on another side that answers with a status.

    `failing` runs it, and gives settings that lead there and a call. One that cannot be made there is no check.

    Raises:
        ContractBroken: the first status that is taken for success, or for something else than it means.
    """
    for status, means in _MEANS.items():
        async with failing(status) as (settings, sample):
            if sample is None:
                return
            upstream = connector.upstream(
                connector.configure(settings, os.environ), Surroundings(server=connector.name)
            )
            check = _Check(connector, upstream, set(), step_s)
            try:
                await check.step("open", upstream.open())
                result = await check.step(f"a call answered with {status}", upstream.call(sample))
            except ConnectorFault as fault:
                wanted = " or ".join(sorted(means))
                _expect(fault.code in means, f"HTTP {status} is told as {fault.code}; say {wanted}")
            else:
                _expect(result.get("isError") is True, f"HTTP {status} is taken for success")
            finally:
                await check.step("close", upstream.close())


class _Check:
    """One upstream under test."""

    def __init__(self, connector: type[Connector[Any]], upstream: Upstream, secrets: set[str], step_s: float) -> None:
        self._connector = connector
        self._upstream = upstream
        self._secrets = secrets
        self._step_s = step_s

    async def step(self, name: str, work: Any) -> Any:
        """Return what `work` returns, in time."""
        try:
            async with asyncio.timeout(self._step_s):
                return await work
        except TimeoutError:
            raise ContractBroken(f"`{name}` did not end within {self._step_s:g} s") from None

    async def cancelled(self, name: str, work: Any) -> None:
        """Begin `work`, cancel it and see it end."""
        running = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait({running}, timeout=self._step_s)
        _expect(running.done(), f"{name} does not end")

    async def abandoned_open(self) -> None:
        await self.cancelled("an `open` that is cancelled", self._upstream.open())
        await self.step("close after a cancelled open", self._upstream.close())

    async def definitions(self) -> None:
        definitions = await self.step("tools", self._upstream.tools())
        names = [definition.get("name") for definition in definitions]
        _expect(len(names) == len(set(names)), "two tools have the same name")
        for definition in definitions:
            _check_schemas(definition)
            name = definition["name"]
            declared = self._upstream.traits(name) is not None or not self._connector.declared
            _expect(declared, f"{name}: no traits, so the gateway cannot know its effect")
        _expect(self._upstream.traits(_NO_SUCH_TOOL) is None, "there are traits for a tool that does not exist")

    async def refusals(self) -> None:
        try:
            answer = await self.step("call", self._upstream.call(ToolCall(_NO_SUCH_TOOL, {}, "call_contract", 5.0)))
        except ConnectorFault as fault:
            _quiet(self._secrets, f"{fault.message} {fault.detail} {fault!r}", "a fault")
        else:
            _expect(bool(answer.get("isError")), "a tool that does not exist was called with success")

    async def sample(self, sample: ToolCall) -> None:
        result = await self.step("the sample call", self._upstream.call(sample))
        _expect(isinstance(result, Mapping), "a result is not an object")
        _expect(isinstance(result.get("content"), list), "a result has no content list")
        definitions = {each["name"]: each for each in await self.step("tools", self._upstream.tools())}
        schema = definitions[sample.tool].get("outputSchema")
        if schema is not None and not result.get("isError"):
            holds = _valid(schema, result.get("structuredContent"))
            _expect(holds, f"{sample.tool}: its result breaks its own output schema")
        await self.cancelled("a cancelled call", self._upstream.call(sample))
        await self.step("a call after a cancelled one", self._upstream.call(sample))


def _check_schemas(definition: Mapping[str, Any]) -> None:
    for key in ("inputSchema", "outputSchema"):
        schema = definition.get(key)
        if schema is None and key == "outputSchema":
            continue
        where = f"{definition['name']}: {key}"
        _expect(isinstance(schema, Mapping), f"{where} is missing")
        assert isinstance(schema, Mapping)
        _expect(schema.get("type") == "object", f"{where} is not of type object")
        _expect(jsonschema_rs.meta.is_valid(dict(schema)), f"{where} is not a valid JSON Schema")


def _fetches_nothing(uri: str) -> Any:
    raise ContractBroken(f"a schema refers to {uri}, which is not part of it")


def _valid(schema: Mapping[str, Any], instance: Any) -> bool:
    try:
        return jsonschema_rs.validator_for(dict(schema), retriever=_fetches_nothing).is_valid(instance)
    except jsonschema_rs.ValidationError as error:
        raise ContractBroken(error.message) from error


def _expect(holds: bool, promise: str) -> None:
    if not holds:
        raise ContractBroken(promise)


def _secrets(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, ConnectorConfig):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)


def _quiet(secrets: set[str], text: str, where: str) -> None:
    _expect(not any(secret in text for secret in secrets), f"a secret shows in {where}")
