"""What an `mcpServers` entry with `connector: http` may say."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from connectors.rest.auth import header_problem
from connectors.rest.config import ApiConfig
from gateway.connector import ConnectorConfig, Effect

__all__ = ["HttpConfig", "HttpTool", "placeholders"]


class HttpTool(ConnectorConfig):
    """One tool: a request, and how arguments become part of it.

    An argument that is placed nowhere goes into the query of a GET, HEAD or DELETE and into the JSON body of others.
    """

    description: str = Field(min_length=1, description="What it does, for the agent.")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(description="The HTTP method.")
    path: str = Field(description="Below `base_url`; `{name}` stands for an argument.")
    effect: Effect = Field(description="`read`, `write` or `irreversible`.")
    idempotent: bool = Field(False, description="Repeating it with the same idempotency key has one effect.")
    input: Mapping[str, Any] = Field(
        default_factory=lambda: {"type": "object"}, description="The JSON Schema of its arguments, an object."
    )
    output: Mapping[str, Any] | None = Field(None, description="The JSON Schema that answers are held against.")
    query: Mapping[str, str] = Field(default_factory=dict, description="Query parameter → argument.")
    headers: Mapping[str, str] = Field(default_factory=dict, description="Header → argument.")
    body: Mapping[str, str] | str = Field(
        default_factory=dict, description="Field of the JSON body → argument; or the one argument that is the body."
    )

    @field_validator("input", "output")
    @classmethod
    def _is_an_object(cls, schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if schema is not None and schema.get("type") != "object":
            raise ValueError("the schema of a tool says `type: object`")
        return schema

    @field_validator("path")
    @classmethod
    def _is_a_template(cls, path: str) -> str:
        left = re.sub(r"\{[^{}/]+\}", "x", path)
        if not re.fullmatch(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", left) or {".", ".."} & set(left.split("/")):
            raise ValueError("a path begins with a slash, has no query, and {name} where an argument goes")
        return path

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name in headers:
            if problem := header_problem(name, ""):
                raise ValueError(problem)
        return headers

    @model_validator(mode="after")
    def _places_what_there_is(self) -> "HttpTool":
        named = [*placeholders(self.path), *self.query.values(), *self.headers.values(), *self.body_arguments]
        known = self.input.get("properties", {})
        for name in named:
            if name not in known:
                raise ValueError(f"input.properties has no `{name}`")
        if isinstance(self.body, str) and self.body and set(known) - set(named) and not self.rest_in_query:
            raise ValueError(f"`{min(set(known) - set(named))}` is placed nowhere: the body is `{self.body}` alone")
        for name in placeholders(self.path):
            if name not in self.input.get("required", ()):
                raise ValueError(f"`{name}` is part of the path: it must be in input.required")
        return self

    @property
    def rest_in_query(self) -> bool:
        """Tell whether arguments that are placed nowhere go into the query."""
        return self.method in {"GET", "HEAD", "DELETE"}

    @property
    def body_arguments(self) -> tuple[str, ...]:
        """The arguments that are placed in the body by name."""
        if isinstance(self.body, str):
            return (self.body,) if self.body else ()
        return tuple(self.body.values())

    def unplaced(self) -> tuple[str, ...]:
        """Return the arguments that are placed nowhere."""
        named = {*placeholders(self.path), *self.query.values(), *self.headers.values(), *self.body_arguments}
        return tuple(name for name in self.input.get("properties", {}) if name not in named)


def placeholders(path: str) -> list[str]:
    """Return the names in a path template."""
    return re.findall(r"\{([^{}/]+)\}", path)


ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class HttpConfig(ApiConfig):
    """An HTTP API whose tools are written here."""

    tools: Mapping[ToolName, HttpTool] = Field(min_length=1, description="The tools, by name; see below.")

    @model_validator(mode="after")
    def _keeps_its_own_headers(self) -> "HttpConfig":
        own, key = self.credentials(), (self.idempotency_header or "").lower()
        for name, tool in self.tools.items():
            taken = sorted(header for header in tool.headers if own.takes("header", header) or header.lower() == key)
            if taken:
                raise ValueError(f"tools.{name}: the header {taken[0]} is set by the gateway")
        return self
