"""The configuration section `metrics`."""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

__all__ = ["MetricsSection"]

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
