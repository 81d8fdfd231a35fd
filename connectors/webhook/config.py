"""What an `mcpServers` entry with `connector: webhook` may say."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from connectors.egress import Egress, EgressConfig, EgressRule, Target
from connectors.webhook.signing import key_of
from gateway.connector import ConnectorConfig, ProxyUrl, Secret

__all__ = ["WebhookConfig", "WebhookTarget"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,57}")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_OWN: Final = frozenset({"host", "content-type", "content-length", "accept-encoding", "user-agent"})


class WebhookTarget(ConnectorConfig):
    """One place that messages are sent to: the tool `send_NAME`."""

    url: str = Field(description="Where messages are posted.", repr=False)
    secret: Secret = Field(description="`whsec_` and 24 to 64 bytes in base64, known to sender and receiver only.")
    old_secret: Secret | None = Field(None, description="While secrets are changed: messages are signed with both.")
    description: str = Field("", description="What the tool tells an agent.")
    type: str = Field("message", min_length=1, max_length=200, description="What the messages call themselves.")
    data: Mapping[str, Any] = Field(
        default_factory=lambda: {"type": "object"}, description="A JSON Schema of type object for a message's data."
    )
    idempotency_header: str | None = Field(
        None, description="The header in which the receiver takes an idempotency key: the tool becomes idempotent."
    )

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        Target.read(url)
        return url

    @field_validator("secret", "old_secret")
    @classmethod
    def _is_a_key(cls, secret: Secret | None) -> Secret | None:
        if secret is not None:
            key_of(secret)
        return secret

    @field_validator("data")
    @classmethod
    def _is_an_object(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if data.get("type") != "object":
            raise ValueError("a message's data is of `type: object`")
        return data

    @field_validator("idempotency_header")
    @classmethod
    def _is_a_header(cls, name: str | None) -> str | None:
        if name is not None and (
            not _HEADER.fullmatch(name) or name.lower() in _OWN or name.lower().startswith("webhook-")
        ):
            raise ValueError(f"{name!r} cannot be a header of its own")
        return name

    @property
    def place(self) -> Target:
        """Where messages are posted."""
        return Target.read(self.url)


class WebhookConfig(ConnectorConfig):
    """Places that messages are sent to."""

    targets: Mapping[str, WebhookTarget] = Field(min_length=1, description="The places, by name.")
    allow_private: tuple[str, ...] = Field((), description="Hosts that may be at loopback and private addresses.")
    ca_file: str | None = Field(None, description="A PEM file of the authorities to trust, instead of the system's.")
    proxy: ProxyUrl | None = Field(
        None, description="A proxy on the way: `socks5://HOST:PORT` or `http://HOST:PORT`; it looks names up."
    )
    timeout_s: float = Field(20.0, gt=0, le=600, description="How long a receiver may take, in seconds.")

    @field_validator("targets")
    @classmethod
    def _are_names(cls, targets: Mapping[str, WebhookTarget]) -> Mapping[str, WebhookTarget]:
        for name in targets:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a target's name: a letter, then letters, digits, _ and -")
        return targets

    @model_validator(mode="after")
    def _keeps_messages_private(self) -> "WebhookConfig":
        rules = self.rules()
        for name, target in self.targets.items():
            if target.place.scheme == "http" and not rules.is_private(target.place.host):
                raise ValueError(f"targets.{name}: messages go over https only, or to a host in allow_private")
        return self

    def network(self) -> EgressConfig:
        """Return how connections are made."""
        return EgressConfig(allow_private=self.allow_private, ca_file=self.ca_file, proxy=self.proxy)

    def rules(self) -> Egress:
        """Return where messages may go: to exactly these places."""
        places = [target.place for target in self.targets.values()]
        allowed = [EgressRule(host=place.host, methods=("POST",), path=place.path) for place in places]
        return Egress(allowed, self.network().allow_private)
