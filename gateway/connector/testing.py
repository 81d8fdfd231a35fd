"""The contract every connector keeps, as one check that its author runs: ours pass it too."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from gateway.connector.plugin import Connector, ConnectorConfig, Surroundings
from gateway.connector.secret import Secret
from gateway.connector.upstream import ToolCall, Upstream
from gateway.model.errors import ConnectorFault

__all__ = ["ContractBroken", "check_connector"]

_STEP_S: Final = 30.0
_NO_SUCH_TOOL: Final = "toolgate-contract-no-such-tool"


class ContractBroken(AssertionError):
    """A connector does not do what the gateway relies on; the text says what."""


async def check_connector(
    connector: type[Connector[Any]],
    config: ConnectorConfig | Mapping[str, Any],
    *,
    sample: ToolCall | None = None,
) -> None:
    """Check life cycle, declarations and secrecy; with `sample`, a call that is safe to repeat, results and cancelling.

    `config` is a configuration, or what its section of `mcpServers` says. The other side must be there: a test double.

    Raises:
        ContractBroken: the first promise that does not hold.
        ConnectorFault: the connector cannot be opened with this configuration.
    """
    ready = config if isinstance(config, ConnectorConfig) else connector.configure(config, {})
    secrets = {secret.reveal() for secret in _secrets(ready)} - {""}
    _quiet(secrets, repr(ready), "repr(config)")
    upstream = connector.upstream(ready, Surroundings(server=connector.name))
    await _step("close before open", upstream.close())
    await _check_abandoned_open(upstream)
    try:
        await _step("open", upstream.open())
        await _check_tools(connector, upstream)
        await _check_refusals(upstream, secrets)
        if sample is not None:
            await _check_sample(upstream, sample)
        await _step("close", upstream.close())
        await _step("close twice", upstream.close())
        await _step("open after close", upstream.open())
    finally:
        await _step("close", upstream.close())
    _quiet(secrets, repr(upstream), "repr(upstream)")


def _expect(holds: bool, promise: str) -> None:
    if not holds:
        raise ContractBroken(promise)


async def _step(name: str, work: Any) -> Any:
    try:
        async with asyncio.timeout(_STEP_S):
            return await work
    except TimeoutError:
        raise ContractBroken(f"`{name}` did not end within {_STEP_S:g} s") from None


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


async def _check_abandoned_open(upstream: Upstream) -> None:
    opening = asyncio.ensure_future(upstream.open())
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening}, timeout=_STEP_S)
    _expect(opening.done(), "an `open` that is cancelled does not end")
    await _step("close after a cancelled open", upstream.close())


def _fetches_nothing(uri: str) -> Any:
    raise ContractBroken(f"a schema refers to {uri}, which is not part of it")


def _valid(schema: Mapping[str, Any], instance: Any) -> bool:
    return jsonschema_rs.validator_for(dict(schema), retriever=_fetches_nothing).is_valid(instance)


async def _check_tools(connector: type[Connector[Any]], upstream: Upstream) -> None:
    definitions = await _step("tools", upstream.tools())
    names = [definition.get("name") for definition in definitions]
    _expect(len(names) == len(set(names)), "two tools have the same name")
    for definition in definitions:
        name = definition["name"]
        for key in ("inputSchema", "outputSchema"):
            schema = definition.get(key)
            if schema is None and key == "outputSchema":
                continue
            _expect(isinstance(schema, Mapping), f"{name}: {key} is missing")
            _expect(schema.get("type") == "object", f"{name}: {key} is not of type object")
            _expect(jsonschema_rs.meta.is_valid(schema), f"{name}: {key} is not a valid JSON Schema")
        declared = upstream.traits(name) is not None or not connector.declared
        _expect(declared, f"{name}: no traits, so the gateway cannot know its effect")
    _expect(upstream.traits(_NO_SUCH_TOOL) is None, "there are traits for a tool that does not exist")


async def _check_refusals(upstream: Upstream, secrets: set[str]) -> None:
    try:
        answer = await _step("call", upstream.call(ToolCall(_NO_SUCH_TOOL, {}, "call_contract", 5.0)))
    except ConnectorFault as fault:
        _quiet(secrets, f"{fault.message} {fault.detail} {fault!r}", "a fault")
    else:
        _expect(bool(answer.get("isError")), "a tool that does not exist was called with success")


async def _check_sample(upstream: Upstream, sample: ToolCall) -> None:
    result = await _step("the sample call", upstream.call(sample))
    _expect(isinstance(result, Mapping), "a result is not an object")
    _expect(isinstance(result.get("content"), list), "a result has no content list")
    definitions = {each["name"]: each for each in await _step("tools", upstream.tools())}
    schema = definitions[sample.tool].get("outputSchema")
    if schema is not None and not result.get("isError"):
        structured = result.get("structuredContent")
        _expect(_valid(schema, structured), f"{sample.tool}: its result breaks its own output schema")
    running = asyncio.ensure_future(upstream.call(sample))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=_STEP_S)
    _expect(running.done(), "a cancelled call does not end")
    again = await _step("a call after a cancelled one", upstream.call(sample))
    _expect(isinstance(again, Mapping), "a call after a cancelled one fails")
