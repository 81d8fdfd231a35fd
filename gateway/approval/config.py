"""The `people:` and `approvals:` sections of the configuration."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from gateway.approval.webhook import key_of
from gateway.model.duration import milliseconds

__all__ = ["ApprovalsSection", "AutonomySection", "People", "PersonSection", "WebhookSection"]

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def _duration(text: str) -> str:
    milliseconds(text)
    return text


def _safe(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("must be a URL with a host, without credentials and fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return url
    raise ValueError("must be https (http is accepted for 127.0.0.1, ::1 and localhost only)")


def _signing_key(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


Duration = Annotated[str, AfterValidator(_duration)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s/]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s]+$")]
PersonName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s/:]+$")]
"""How policies, the ledger and tokens name a person: such as bob@acme.example."""


class PersonSection(BaseModel):
    """A person who may be asked; policies on the action `approve` say for what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", max_length=256, description="How people call them; shown, and nothing else.")
    roles: Annotated[list[Word], Field(max_length=64)] = Field(default=[], description="Roles policies can name.")
    teams: Annotated[list[Word], Field(max_length=64)] = Field(default=[], description="Teams policies can name.")
    aliases: Annotated[list[str], Field(max_length=64)] = Field(
        default=[],
        description="What else they are called, as the owner of an agent or the user it acts for: nobody approves what "
        "is done for them.",
    )


People = Annotated[dict[PersonName, PersonSection], Field(max_length=10_000)]
"""The whole `people:` section: name → person."""


class WebhookSection(BaseModel):
    """Where it is told, signed as Standard Webhooks has it, that somebody is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(max_length=2048), AfterValidator(_safe)] = Field(
        description="Where to POST; https, or http on this machine. Redirects are not followed."
    )
    secret: Annotated[SecretStr, AfterValidator(_signing_key)] = Field(
        description='The signing key, "${secret:NAME}": whsec_ and 24 to 64 bytes in base64.'
    )


class AutonomySection(BaseModel):
    """When a standing approval is proposed for an agent's calls of a tool, and when one so earned ends by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: Duration = Field("30d", description="How far back a review looks.")
    least: int = Field(20, ge=1, le=100_000, description="How many calls people must have approved, and seen made.")
    promote_below: float = Field(
        0.02, ge=0, le=1, description="The part of them that may have been overridden or failed, to be proposed."
    )
    demote_above: float = Field(
        0.1, ge=0, le=1, description="The part of the calls since it was accepted with more of which it ends."
    )
    demote_least: int = Field(5, ge=1, le=100_000, description="How many calls since then before that part counts.")
    most: int = Field(100, ge=1, le=100_000, description="How many calls are proposed.")
    lasts: Duration = Field("30d", description="How long what is proposed is good for.")


class ApprovalsSection(BaseModel):
    """How long people are asked, and how long their consent is good for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expires: Duration = Field("24h", description="How long a call waits for people; then it is asked anew.")
    answer_within: Duration | None = Field(
        None, description="When an answer is due: what is late is on record and told. Only what expires, if absent."
    )
    use_within: Duration = Field(
        "1h", description="How long an approved call may be repeated, and a denied one is not asked about again."
    )
    wait_s: float = Field(
        3.0,
        ge=0,
        le=30,
        description="How long a call waits before it is told to come again; some clients give up at 5 s.",
    )
    elicitation: Annotated[list[Pattern], Field(max_length=1000)] = Field(
        default=[],
        description='Tools, such as "crm.*", of which the user in front of the client is asked there (MCP elicitation) '
        "if policies let them approve what is done for them. It proves no more than the client's own identity does.",
    )
    escalate_to: str = Field(
        "", max_length=128, pattern=r"^[^\s/]*$", description="The role whose people answer what agents escalate."
    )
    webhook: WebhookSection | None = Field(None, description="Where it is told that somebody is asked.")
    autonomy: AutonomySection = Field(AutonomySection(), description="What agents can earn, and lose.")
