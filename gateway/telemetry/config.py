"""The configuration sections `metrics` and `traces`."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

__all__ = ["MetricsSection", "TracesSection"]

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SHORTEST: Final = 16


def _hard_to_guess(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if len(text) < _SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"write at least {_SHORTEST} ASCII characters without spaces, such as: openssl rand -hex 24")
    return token


class MetricsSection(BaseModel):
    """Who may read `/metrics`; nothing is counted, and nothing is there, where this is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: Annotated[SecretStr, AfterValidator(_hard_to_guess)] = Field(
        description='What a scraper sends as "Authorization: Bearer TOKEN"; write it as "${secret:NAME}".'
    )


def _collector(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ValueError("write the URL of a collector's traces, such as http://127.0.0.1:4318/v1/traces")
    return url


class TracesSection(BaseModel):
    """Where spans of calls are exported to: a collector, or a service, that takes OTLP over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(max_length=2048), AfterValidator(_collector)] = Field(
        description="Where OTLP over HTTP is taken, in protobuf; the whole URL, such as http://127.0.0.1:4318/v1/traces."
    )
    headers: Annotated[dict[str, SecretStr], Field(max_length=16)] = Field(
        default={}, description='Headers of each export, such as an API key: "${secret:NAME}".'
    )

    @model_validator(mode="after")
    def _keys_go_encrypted(self) -> "TracesSection":
        parts = urlsplit(self.url)
        if self.headers and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("with `headers`, `url` must be https (or http on this machine)")
        return self
