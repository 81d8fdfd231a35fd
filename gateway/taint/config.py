"""The `taint:` section of the configuration."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.model.duration import milliseconds

__all__ = ["TaintSection"]


def _window(text: str) -> str:
    if milliseconds(text) > milliseconds("90d"):
        raise ValueError("what was read follows an agent for 90d at most")
    return text


class TaintSection(BaseModel):
    """What counts as untrusted and as private, and how long it follows an agent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trusted_from: int = Field(
        1, ge=1, le=100, description="From which `trust` on a server's answers are trusted, unless they are open_world."
    )
    private_from: int = Field(
        1, ge=1, le=100, description="From which `classification` on a tool's answers are private."
    )
    window: Annotated[str, AfterValidator(_window)] = Field(
        "24h", description="How long it follows an agent into other runs; a run itself keeps it for good."
    )
