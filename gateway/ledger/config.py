"""The section `ledger:` of the configuration."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.model.duration import milliseconds

__all__ = ["LedgerSection", "Pace"]


def _duration(text: str) -> str:
    milliseconds(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a head is signed: after `events` events or `seconds` at the latest, while there are any."""

    events: int
    seconds: float


class LedgerSection(BaseModel):
    """How the record is signed, and how long it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sign_every: Duration = Field(
        "10s", description="How long what was recorded stays unsigned at most, while the gateway runs."
    )
    sign_events: int = Field(1000, ge=1, le=1_000_000, description="How many events stay unsigned at most.")
    anchor: str | None = Field(
        None,
        max_length=4096,
        description="The file that states where the ledger ends, relative to this file, best on another disk; without "
        "it one in .toolgate/.",
    )

    @property
    def pace(self) -> Pace:
        """How often heads are signed."""
        return Pace(self.sign_events, milliseconds(self.sign_every) / 1000)
