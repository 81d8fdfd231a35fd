"""The `openapi` connector: the named operations of an API that describes itself, as tools."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from connectors.egress import Target
from connectors.openapi.config import OpenApiConfig
from connectors.openapi.document import Document, SpecRefused
from connectors.openapi.operations import Making, operations_in
from connectors.rest.exchange import Exchange, Request
from connectors.rest.operation import Operation
from connectors.rest.showing import Showing
from connectors.rest.upstream import ApiUpstream
from gateway.connector import Connector, Failures, Rejected, Sought, Surroundings, Unavailable, Upstream

__all__ = ["OpenApiConfig", "OpenApiConnector"]

_MAX_SPEC: Final = 16 * 1024 * 1024
_FETCH_S: Final = 60.0


class OpenApiConnector(Connector[OpenApiConfig]):
    """An HTTP API: its tools are the operations of its description that the configuration names."""

    name = "openapi"

    @classmethod
    def sought(cls, config: OpenApiConfig, server: str) -> Sought | None:
        """Return what is shown to the API."""
        return config.sought(server)

    @classmethod
    def upstream(cls, config: OpenApiConfig, surroundings: Surroundings) -> Upstream:
        """Return the API's live form, not yet open."""

        async def load(showing: Showing) -> Sequence[Operation]:
            url = config.spec_url
            text = (
                await _fetched(config, url, showing)
                if url
                else await asyncio.to_thread(_file, surroundings, config.spec)
            )
            try:
                return await asyncio.to_thread(_operations, config, text)
            except SpecRefused as error:
                raise Rejected(f"{config.spec} cannot be used: {error}.") from error

        return ApiUpstream(config, surroundings, load)


def _operations(config: OpenApiConfig, text: bytes) -> list[Operation]:
    credentials, header = config.credentials(), (config.idempotency_header or "").lower()

    def filled(place: str, name: str) -> bool:
        return credentials.takes(place, name) or (place == "header" and name.lower() == header)

    failures = Failures(config.answers.failures)
    making = Making(failures, filled, config.idempotency_header is not None, config.output_schemas)
    return operations_in(Document.read(text), config.operations, making)


def _file(surroundings: Surroundings, spec: str) -> bytes:
    try:
        with (surroundings.folder / Path(spec)).open("rb") as file:
            text = file.read(_MAX_SPEC + 1)
    except OSError as error:
        raise Rejected(f"{spec} cannot be read: {error.strerror}.") from None
    if len(text) > _MAX_SPEC:
        raise Rejected(f"{spec} is larger than {_MAX_SPEC} bytes.")
    return text


async def _fetched(config: OpenApiConfig, url: Target, showing: Showing) -> bytes:
    """Fetch the description, and nothing but it; credentials are shown to the API itself only."""
    exchange = Exchange(config.rules().only("GET", url), config.egress, _MAX_SPEC)
    headers = {"Accept": "application/json, application/yaml, */*;q=0.5"}
    if url.origin == config.target.origin:
        headers.update(await showing.own())
    try:
        answer = await exchange.send(Request("GET", url, tuple(headers.items())), _FETCH_S)
    finally:
        await exchange.close()
    if answer.status != 200:
        raise Unavailable(f"{config.spec} answered with HTTP {answer.status}.")
    return answer.body
