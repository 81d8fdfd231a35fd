"""The section `ledger:` of the configuration."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.model.duration import milliseconds

__all__ = ["LedgerSection", "Pace", "RetentionSection"]

_DAY_MS: Final = 86_400_000


def _duration(text: str) -> str:
    milliseconds(text)
    return text


def _kept(text: str) -> str:
    if text != "forever" and milliseconds(text) < _DAY_MS:
        raise ValueError(f"{text} is less than a day: a call could lose what it is answered from")
    return text


Duration = Annotated[str, AfterValidator(_duration)]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a head is signed: after `events` events or `seconds` at the latest, while there are any."""

    events: int
    seconds: float


class RetentionSection(BaseModel):
    """How long what calls held is kept. That they were made, when, by whom and how they ended is kept for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bodies: Annotated[str, AfterValidator(_kept)] = Field(
        "forever",
        description="How long arguments, decisions, answers and approvals are kept after a call ended: forever, or a "
        "duration of at least a day; rules for high-risk systems ask for six months (180d).",
    )

    @property
    def bodies_ms(self) -> int | None:
        """How long bodies are kept, in milliseconds; None for ever."""
        return None if self.bodies == "forever" else milliseconds(self.bodies)


class LedgerSection(BaseModel):
    """How the record is signed, how long it is kept, and what another gateway's is good for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sign_every: Duration = Field(
        "10s", description="How long what was recorded stays unsigned at most, while the gateway runs."
    )
    sign_events: int = Field(1000, ge=1, le=1_000_000, description="How many events stay unsigned at most.")
    retention: RetentionSection = Field(default=RetentionSection(), description="How long what calls held is kept.")
    anchor: str | None = Field(
        None,
        max_length=4096,
        description="The file that states where the ledger ends, relative to this file, best on another disk; without "
        "it one in .toolgate/.",
    )

    imported: Literal["answers", "steps"] = Field(
        "answers",
        description="What runs of other gateways are good for (`toolgate runs import`): answers to calls that repeat "
        "theirs; or steps too, which satisfy preconditions as if they had been made here.",
    )

    @property
    def pace(self) -> Pace:
        """How often heads are signed."""
        return Pace(self.sign_events, milliseconds(self.sign_every) / 1000)
