"""The `facts:` section of the configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from gateway.facts.owners import FactScope

__all__ = ["FactSection", "FactsSection"]

FactName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class FactSection(BaseModel):
    """A fact that policies can read, as `context.facts.NAME`: absent until an agent has put it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["string", "integer", "number", "boolean", "datetime", "strings"] = Field(
        description="What its value is; a value of another type is not taken. strings is a list of texts."
    )
    scope: FactScope = Field(
        FactScope.RUN, description="Where policies look for it: the call's own run, session, agent, user or team."
    )
    team: str = Field("", max_length=128, description="Which team, where the scope is team.")

    @model_validator(mode="after")
    def _team_where_it_is_one(self) -> Self:
        if (self.scope is FactScope.TEAM) is not bool(self.team):
            raise ValueError("name the `team` with `scope: team`, and only then")
        return self

    @property
    def json_schema(self) -> dict[str, Any]:
        """Its type as a JSON Schema."""
        if self.type == "datetime":
            return {"type": "string", "format": "date-time"}
        if self.type == "strings":
            return {"type": "array", "items": {"type": "string"}}
        return {"type": self.type}


class FactsSection(BaseModel):
    """Facts that agents put, get, list and delete with tools of the gateway; offered where this section is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: Annotated[dict[FactName, FactSection], Field(max_length=256)] = Field(
        default={}, description="The facts that policies can read, by name. Agents may put others as well."
    )
    most: int = Field(200, ge=1, le=10_000, description="How many facts one run, session, agent, user or team holds.")
    value_bytes: int = Field(16_384, ge=64, le=1_048_576, description="How large a value may be, as JSON.")
