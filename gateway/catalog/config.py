"""The `tools:` section of the configuration."""

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr

from gateway.catalog.answers import CacheRule, Duration, Ensure, Fallbacks, IncompleteRule, StaleRule, VersionRule
from gateway.catalog.lookups import LookupRule
from gateway.model.answers import Watch
from gateway.model.limit import checked_prices
from gateway.model.tool import Effect

__all__ = [
    "EndpointSection",
    "ListLimit",
    "Names",
    "PinMode",
    "ResultLimit",
    "ToolRule",
    "TraitsRule",
    "Undo",
    "rule_for",
]

ListLimit = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many tools are listed before they are searched instead."""

ResultLimit = Annotated[int, Field(ge=1024, le=1_000_000_000)] | Literal["none"]
"""How many bytes of JSON an answer may have before the rest of it is kept behind a handle."""


Cost = Annotated[dict[str, StrictStr | StrictInt | StrictFloat], Field(max_length=16), AfterValidator(checked_prices)]
"""Prices by unit; of an argument that is a list, its elements are counted."""


class PinMode(StrEnum):
    """What happens to a tool that gateway.lock does not know."""

    AUTO = "auto"
    LOCKED = "locked"


class TraitsRule(BaseModel):
    """What the operator says of a tool for the policies to go by; it wins over what the server hints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Literal["trusted", "untrusted"] | None = Field(
        None, description="Whether the server's hints count; else only where a person approved them (schema approve)."
    )
    classification: int | None = Field(
        None, ge=0, le=100, description="How sensitive its answers are, 0 (public, the default) to 100."
    )
    destructive: bool | None = Field(None, description="Whether a call changes or deletes what was there.")
    open_world: bool | None = Field(
        None, description="Whether it reaches what anybody may have written, such as the web; else it is taken to."
    )
    reversible: bool | None = Field(None, description="Whether what a call does can be undone.")
    sink: bool | None = Field(
        None, description="Whether what it is given may leave the house; by default what is open_world does."
    )


class Undo(BaseModel):
    """The tool that takes a call's effect back, and what it is called with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(description="The compensation, by canonical name.", min_length=3)
    arguments: dict[str, Annotated[str, Field(pattern=r"^(input|output)\..+$")]] = Field(
        {},
        description="Argument → where it is on record: input.NAME or output.NAME. Without any, arguments keep their "
        "names.",
    )


class ToolRule(BaseModel):
    """What the operator says of a tool, or of all tools a pattern such as `payments.*` matches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effect: Effect | None = Field(None, description="read, write or irreversible; overrides what the server hints.")
    idempotent: bool | None = Field(
        None, description="Calling it again with the same key has no further effect: it may be retried."
    )
    idempotency_key: Annotated[list[str], Field(max_length=16)] | None = Field(
        None, description="The arguments whose values name one effect for ever, such as [payment_id]."
    )
    once_per_run: bool | None = Field(
        None,
        description="The same call again in a run is answered from the record, also once its answer has arrived: "
        "for agents that carry out their steps again, as LangGraph does after an interrupt.",
    )
    lookup: str | LookupRule | None = Field(
        None, description="The read that tells whether a call in doubt has happened; a name, or as below."
    )
    undo: str | Undo | None = Field(None, description="The tool that compensates this one; a name, or as below.")
    accept_irreversible: bool | None = Field(
        None, description="Nothing takes it back and nobody is asked, and that is meant: `policy check` lets it pass."
    )
    mode: Literal["execute", "draft"] | None = Field(
        None,
        description="draft: a call makes a draft, people look at it, and approvals_execute carries it out once it is "
        "approved; execute, the default: a call is carried out.",
    )
    executors: list[str] | None = Field(
        None, description="Agents that may carry out the approved drafts of others; who made one always may."
    )
    deadline: float | None = Field(None, gt=0, le=3600, description="Seconds for a whole call, retries included.")
    attempt: float | None = Field(
        None, gt=0, le=3600, description="Seconds for one attempt at what may be tried again; the rest is for the next."
    )
    hedge: Annotated[float, Field(gt=0, le=3600)] | Literal["p95"] | None = Field(
        None,
        description="Seconds after which an idempotent read is asked a second time, or p95: when it takes longer than "
        "95 % of its last calls did.",
    )
    pin: PinMode | None = Field(
        None, description="auto: the first schema seen of a new server is pinned; locked: only what a person approved."
    )
    groups: list[str] | None = Field(None, description="Tool groups that policies can name.")
    traits: TraitsRule | None = Field(None, description="What policies see of it beside its effect.")
    cost: Cost | None = Field(
        None, description="What a call costs, by unit: a number, or the argument that says it: {usd: amount}."
    )
    result_limit: ResultLimit | None = Field(
        None, description="Bytes of an answer before it is cut and read with results_read, or none; else the server's."
    )
    cache: CacheRule | Duration | None = Field(
        None, description="How long an answer is given again, of a read only: 60s, or { ttl, scope, invalidated_by }."
    )
    versions: dict[int, VersionRule] | None = Field(
        None,
        description="Older versions that agents are held at: number → { agents, teams, arguments, result }.",
    )
    fallback: Fallbacks | None = Field(
        None, description="What answers while a read cannot be reached, in turn: [other.tool, cached]."
    )
    incomplete: IncompleteRule | None = Field(
        None, description="When an answer is labelled incomplete: { more, required, count }."
    )
    stale: StaleRule | None = Field(None, description="When an answer is labelled stale: { at, after }.")
    secrets: Literal["pass", "refuse"] | None = Field(
        None, description="refuse: no call in whose arguments there is a secret, or what looks like a token; else pass."
    )
    shape: Watch | None = Field(
        None,
        description="What is done about answers that are not like those before them, of a tool without an output "
        "schema: off, watch (label them), pause (and stop the tool).",
    )
    ensure: Ensure | None = Field(
        None, description='What fields of an answer must be, or it is withheld: { status: paid, amount: "> 0" }.'
    )


class Names(StrEnum):
    """What the tools and prompts of an endpoint are called."""

    QUALIFIED = "qualified"
    BARE = "bare"


class EndpointSection(BaseModel):
    """A virtual endpoint, served at /mcp/NAME: a named part of everything, for some agents or for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    servers: list[str] = Field([], description="The servers it shows; none named means every one.")
    tools: list[str] = Field(["*"], description='Which of their tools, by canonical name or pattern ("files.read_*").')
    names: Names = Field(
        Names.QUALIFIED,
        description="qualified: files_read; bare: read, as the server itself says, where no two servers say the same.",
    )
    agents: list[str] = Field([], description="The agents it is for; with `teams` empty too, all of them.")
    teams: list[str] = Field([], description="The teams it is for.")
    list_limit: ListLimit | None = Field(None, description="As `server.list_limit`, for this endpoint.")


def rule_for(rules: dict[str, ToolRule], tool: str) -> ToolRule:
    """Return the rules for `tool` merged field by field: the longest matching pattern that sets a field wins it."""
    merged: dict[str, object] = {}
    traits: dict[str, object] = {}
    for pattern in sorted((p for p in rules if fnmatchcase(tool, p)), key=lambda p: ("*" not in p, len(p))):
        said = rules[pattern].model_dump(exclude_none=True)
        traits.update(said.pop("traits", {}))
        merged.update(said)
    return ToolRule.model_validate({**merged, "traits": traits} if traits else merged)
