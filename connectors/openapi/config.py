"""What an `mcpServers` entry with `connector: openapi` may say."""

from pydantic import Field, field_validator

from connectors.egress import Target
from connectors.rest.config import ApiConfig

__all__ = ["OpenApiConfig"]


class OpenApiConfig(ApiConfig):
    """An HTTP API that has an OpenAPI description."""

    spec: str = Field(
        min_length=1,
        description="The description: OpenAPI 3.0, 3.1 or Swagger 2.0, as JSON or YAML; a file, relative to the "
        "gateway's folder, or an http(s) URL, fetched once.",
    )
    operations: tuple[str, ...] = Field(
        min_length=1,
        description="What becomes a tool: an operationId, or `GET /path` in which `*` stands for anything. "
        "Nothing else does.",
    )
    output_schemas: bool = Field(
        True, description="Whether answers are held against the description; `false` for a service that breaks its own."
    )

    @field_validator("spec")
    @classmethod
    def _is_a_file_or_a_url(cls, spec: str) -> str:
        if "://" in spec:
            Target.read(spec)
        return spec

    @property
    def spec_url(self) -> Target | None:
        """Where the description is fetched, if it is no file."""
        return Target.read(self.spec) if "://" in self.spec else None
