"""The settings that every connector to an HTTP API has."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from connectors.egress import Egress, EgressConfig, Target
from connectors.rest.auth import Credentials, WithHeaders, header_problem
from gateway.connector import Action, ConnectorConfig, Failures, MutualTls, Secret, Sought

__all__ = ["AnswersConfig", "ApiConfig"]

_MIB = 1024 * 1024


class AnswersConfig(ConnectorConfig):
    """How answers are read."""

    max_bytes: int = Field(4 * _MIB, ge=1024, le=256 * _MIB, description="The largest answer taken, in bytes.")
    failures: Mapping[str, Action] = Field(
        default_factory=dict,
        description="What a status means, over the table below: `404`, `4xx` → `rejected`, `forbidden`, `unavailable` "
        "or `credential_expired`.",
    )
    next: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Where an answer says that there is more, as `meta.next_cursor`: a value there other than null, "
        "false or empty marks the result incomplete.",
    )

    @field_validator("failures")
    @classmethod
    def _are_statuses(cls, failures: Mapping[str, Action]) -> Mapping[str, Action]:
        Failures(failures)
        return failures


class ApiConfig(WithHeaders):
    """An HTTP API."""

    base_url: str = Field(description="What the paths of tools are appended to.", repr=False)
    idempotency_header: str | None = Field(
        None, description="The header in which the API takes an idempotency key: every tool becomes idempotent."
    )
    egress: EgressConfig = Field(default=EgressConfig(), description="Where requests may go; see below.")
    answers: AnswersConfig = Field(default=AnswersConfig(), description="How answers are read; see below.")

    @field_validator("base_url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        if Target.read(url).query:
            raise ValueError("a base URL has no query; put fixed parameters into auth or headers")
        return url

    @field_validator("idempotency_header")
    @classmethod
    def _is_a_header(cls, name: str | None) -> str | None:
        problem = header_problem(name, "") if name is not None else ""
        if problem:
            raise ValueError(problem)
        return name

    @model_validator(mode="after")
    def _keeps_credentials_private(self) -> "ApiConfig":
        target = self.target
        if isinstance(self.auth, MutualTls) and target.scheme != "https":
            raise ValueError("auth: a certificate is only shown to an https:// URL")
        if target.scheme == "http" and self.credentials() and not self.rules().is_private(target.host):
            raise ValueError("credentials go over https only, or to a HOST in `egress: { allow_private: [HOST] }`")
        return self

    @property
    def target(self) -> Target:
        """Where the API is."""
        return Target.read(self.base_url)

    def credentials(self) -> Credentials:
        """Return what every request carries."""
        return Credentials(self.auth, self.headers)

    def sought(self, server: str) -> Sought | None:
        """Return what the gateway holds of it: the headers, and the credential that it renews."""
        found = self.credentials()
        if not found.headers and found.held is None:
            return None
        headers = {name: Secret(value) for name, value in found.headers.items()}
        return Sought(server, self.base_url, headers, found.held, self.egress.ca_file, self.egress.proxy)

    def rules(self) -> Egress:
        """Return where requests may go."""
        return Egress.of(self.egress, self.target)
