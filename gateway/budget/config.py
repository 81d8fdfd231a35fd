"""The `budgets:` section of the configuration."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from gateway.model.limit import checked_limits

__all__ = ["BudgetsSection"]

_Text = StrictStr | StrictInt | StrictFloat
Allowance = Annotated[
    dict[str, _Text | Annotated[list[_Text], Field(max_length=8)]], Field(max_length=16), AfterValidator(checked_limits)
]
"""Limits by unit: `{usd: 2000/day, calls: [60/minute, 1000/day]}`."""

Allowances = Annotated[dict[str, Allowance], Field(max_length=10_000)]


class BudgetsSection(BaseModel):
    """What may be used up, besides the `budget:` of each agent. All limits that apply to a call hold at once.

    Units: calls, seconds, bytes and tokens (of results; 4 bytes are a token), model_tokens (as agents report them), and
    whatever the `cost:` of tools is in. Windows: minute, hour, day, week, month begin anew (UTC); 90s, 15m, 24h, 7d
    look back so long; without one, for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    org: Allowance = Field(default={}, description="What all agents together may use up.")
    teams: Allowances = Field(default={}, description="What the agents of a team together may use up, by team.")
    runs: Allowance = Field(default={}, description="What each run may use up.")
    tools: Allowances = Field(
        default={},
        description='What calls of a tool may use up, whoever makes them, by name or pattern: those "crm.*" matches '
        "share one budget.",
    )

    def limited(self) -> dict[str, dict[str, Any]]:
        """Return the allowances by what they are for: org, run, team:NAME, tool:PATTERN."""
        teams = {f"team:{name}": allowance for name, allowance in self.teams.items()}
        tools = {f"tool:{pattern}": allowance for pattern, allowance in self.tools.items()}
        return {"org": self.org, **teams, "run": self.runs, **tools}
