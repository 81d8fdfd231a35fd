"""What an `mcpServers` entry with `connector: email` may say."""

import base64
import re
import ssl
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from connectors.egress import EgressConfig
from connectors.email.addresses import Recipients, is_address
from gateway.connector import ConnectorConfig, Secret

__all__ = ["EmailConfig"]

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")


class EmailConfig(ConnectorConfig):
    """A mail server, and whom agents may write to."""

    host: str = Field(description="The mail server.")
    port: int = Field(587, ge=1, le=65535, description="Its port: 587 begins in plain text, 465 is encrypted at once.")
    user: str | None = Field(None, description="The user to log in as.")
    password: Secret | None = Field(None, description="The user's password.")
    senders: tuple[str, ...] = Field(min_length=1, description="The addresses to send from, the usual one first.")
    recipients: tuple[str, ...] = Field(
        min_length=1, description="Whom to send to: `ann@acme.example`, `*@acme.example`, or `*@*.acme.example`."
    )
    tls: Literal["starttls", "at_once", "none"] = Field(
        "starttls", description="How the connection is encrypted; `none` only to a host in `allow_plain`."
    )
    allow_plain: tuple[str, ...] = Field((), description="Mail servers that may be spoken to without encryption.")
    network: EgressConfig = Field(
        default=EgressConfig(),
        description="`allow_private`, `ca_file`, `connect_timeout_s`, `proxy`, as elsewhere.",
    )
    most_recipients: int = Field(20, ge=1, le=1000, description="The most recipients of one message.")

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError("a host is a name or an address, without a port")
        return host.lower()

    @field_validator("senders")
    @classmethod
    def _are_addresses(cls, senders: tuple[str, ...]) -> tuple[str, ...]:
        for sender in senders:
            if not is_address(sender):
                raise ValueError(f"{sender!r} is not an address such as robot@acme.example")
        return senders

    @field_validator("recipients")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        Recipients(patterns)
        return patterns

    @model_validator(mode="after")
    def _keeps_mail_private(self) -> Self:
        if self.tls == "none" and self.host not in self.allow_plain:
            raise ValueError("mail is encrypted on its way: name the host in allow_plain to have it otherwise")
        if (self.user is None) != (self.password is None):
            raise ValueError("a user needs a password, and a password a user")
        if self.network.allow:
            raise ValueError("network.allow has no use here: mail goes to `host` only")
        return self

    def secrets(self) -> frozenset[str]:
        """Return every form in which the password may come back in something the server says."""
        if self.password is None:
            return frozenset()
        word = self.password.reveal()
        forms = (word, f"\0{self.user}\0{word}")
        return frozenset({word, *(base64.b64encode(form.encode()).decode() for form in forms)})

    def encryption(self) -> ssl.SSLContext | None:
        """Return how the server is verified, or None where nothing is encrypted."""
        return None if self.tls == "none" else self.network.tls()
