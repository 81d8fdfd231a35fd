"""What an `mcpServers` entry with `connector: inbox` may say."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from connectors.inbox.signatures import Scheme, key_of
from gateway.connector import ConnectorConfig, Secret

__all__ = ["Hook", "InboxConfig"]

HookName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class Hook(ConnectorConfig):
    """One sender: it posts to `/hooks/SERVER/NAME`."""

    secret: Secret = Field(description="The signing secret that sender and gateway share.")
    old_secret: Secret | None = Field(None, description="While secrets are changed: the one before is taken too.")
    signed: Scheme = Field(Scheme.STANDARD, description="How it signs: `standard`, `github`, `stripe` or `slack`.")
    description: str = Field("", max_length=1000, description="What the messages are about, for the agent.")
    known_days: int = Field(
        90, ge=1, le=3650, description="For how many days a message is known, so that none is taken twice."
    )
    keep: int = Field(20, ge=1, le=1000, description="How many of the latest messages can be read.")

    @model_validator(mode="after")
    def _has_keys(self) -> "Hook":
        self.keys()
        return self

    def keys(self) -> tuple[bytes, ...]:
        """Return the signing keys that count."""
        secrets = (self.secret, self.old_secret)
        return tuple(key_of(secret.reveal(), self.signed) for secret in secrets if secret is not None)


class InboxConfig(ConnectorConfig):
    """Messages that other systems send, as resources."""

    hooks: Mapping[HookName, Hook] = Field(min_length=1, description="The senders, by name.")
