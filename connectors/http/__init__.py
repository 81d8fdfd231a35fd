"""The `http` connector: tools over any HTTP API, written in the configuration."""

from collections.abc import Sequence

from connectors.http.config import HttpConfig, HttpTool, placeholders
from connectors.rest.operation import Body, Operation, Part, Place, Style, annotations
from connectors.rest.showing import Showing
from connectors.rest.upstream import ApiUpstream
from gateway.connector import Connector, Effect, Sought, Surroundings, ToolTraits, Upstream

__all__ = ["HttpConfig", "HttpConnector", "HttpTool"]


class HttpConnector(Connector[HttpConfig]):
    """An HTTP API: its tools are what the configuration says."""

    name = "http"

    @classmethod
    def sought(cls, config: HttpConfig, server: str) -> Sought | None:
        """Return what is shown to the API."""
        return config.sought(server)

    @classmethod
    def upstream(cls, config: HttpConfig, surroundings: Surroundings) -> Upstream:
        """Return the API's live form, not yet open."""
        operations = [_operation(name, tool, config) for name, tool in config.tools.items()]

        async def load(showing: Showing) -> Sequence[Operation]:
            del showing
            return operations

        return ApiUpstream(config, surroundings, load)


def _operation(name: str, tool: HttpTool, config: HttpConfig) -> Operation:
    keyed = config.idempotency_header is not None and tool.effect is not Effect.READ
    traits = ToolTraits(tool.effect, tool.idempotent or keyed)
    definition = {
        "name": name,
        "description": tool.description,
        "inputSchema": {"additionalProperties": False, **tool.input},
        "annotations": annotations(f"{tool.method} {tool.path}", traits),
    }
    if tool.output is not None:
        definition["outputSchema"] = tool.output
    rest = tool.unplaced()
    return Operation(
        name=name,
        method=tool.method,
        path=tool.path,
        definition=definition,
        traits=traits,
        parts=(
            *(Part(each, each, Place.PATH, Style.SIMPLE, explode=False) for each in placeholders(tool.path)),
            *(Part(argument, each, Place.QUERY) for each, argument in tool.query.items()),
            *(Part(each, each, Place.QUERY) for each in rest if tool.rest_in_query),
            *(Part(argument, each, Place.HEADER, Style.SIMPLE) for each, argument in tool.headers.items()),
        ),
        body=_body(tool, () if tool.rest_in_query else rest),
    )


def _body(tool: HttpTool, rest: Sequence[str]) -> Body | None:
    if isinstance(tool.body, str):
        return Body(tool.body) if tool.body else None
    fields = {**tool.body, **{name: name for name in rest}}
    return Body(fields=fields) if fields else None
