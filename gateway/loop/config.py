"""The `loops:` section of the configuration."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.model.duration import milliseconds

__all__ = ["LoopsSection"]


def _duration(text: str) -> str:
    milliseconds(text)
    return text


class LoopsSection(BaseModel):
    """When an agent goes round in circles in a run, it is warned, and then it may be stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    warn: Annotated[int, Field(ge=2, le=10_000)] | Literal["never"] = Field(
        10, description="After how many calls in a row that are the same, go to and fro, or are answered alike."
    )
    say: bool = Field(
        False, description="Whether a warning also stands in the answer's text, where the model reads it."
    )
    block: Annotated[int, Field(ge=2, le=10_000)] | Literal["never"] = Field(
        "never", description="After how many of them the next one is refused, until the agent does something else."
    )
    within: Annotated[str, AfterValidator(_duration)] = Field(
        "10m", description="How long after the last call one still belongs to the row."
    )
    polling: Annotated[list[str], Field(max_length=1000)] = Field(
        default=[], description='Tools that are meant to be asked again and again, by name or pattern: "jobs.status".'
    )

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.warn != "never" and self.block != "never" and self.block <= self.warn:
            raise ValueError("`block` has to be more than `warn`: an agent is warned before it is stopped")
        return self
