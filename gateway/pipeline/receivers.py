"""The `events:` section: who is told of events, and of which."""

from typing import Annotated

from pydantic import Field

from gateway.approval.config import WebhookSection

__all__ = ["Events", "EventsSection"]


class EventsSection(WebhookSection):
    """One receiver of events: where, and signed with which key, as for `approvals.webhook`."""

    kinds: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=64)] = (
        Field(
            ["admin", "approval.*", "shape.*"],
            description='Which events: "call.*", "run.*", "*". By default those that an operator is to know of.',
        )
    )
    bodies: bool = Field(False, description="Whether it is told all that is on record: arguments and answers too.")


Events = Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")], EventsSection], Field(max_length=16)]
"""The whole `events:` section: receiver → where it is told."""
