"""The `agents:` and `identity:` sections of the configuration."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from gateway.model.duration import milliseconds
from gateway.model.identity import ANONYMOUS_AGENT
from gateway.model.limit import checked_limits

__all__ = [
    "AgentConfig",
    "AgentName",
    "Agents",
    "AllowedCall",
    "AuthConfig",
    "DelegationSection",
    "IdentityConfig",
    "JwtAuth",
    "LoginSection",
    "as_written",
    "safe_url",
]

_SPIFFE = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def safe_url(url: str) -> str:
    """Return `url` if it is https, or http on this machine; raises `ValueError`."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("must be a URL with a host, without credentials and fragment")
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return url
    raise ValueError("must be https (http is accepted for 127.0.0.1, ::1 and localhost only)")


def _duration(text: str) -> str:
    milliseconds(text)
    return text


def _not_reserved(name: str) -> str:
    if name == ANONYMOUS_AGENT:
        raise ValueError(f"{ANONYMOUS_AGENT!r} is the name refused callers are recorded under")
    return name


SafeUrl = Annotated[str, Field(max_length=2048), AfterValidator(safe_url)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s/]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S+$")]
FieldPath = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^.]+(\.[^.]+)*$")]
_Amount = StrictStr | StrictInt | StrictFloat
Budget = Annotated[
    dict[str, _Amount | Annotated[list[_Amount], Field(max_length=8)]],
    Field(max_length=16),
    AfterValidator(checked_limits),
]
Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]

AgentName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),  # no `/`: `agent/user` names the owner of a run
    AfterValidator(_not_reserved),
]
"""How policies, the ledger and tokens name an agent."""


class JwtAuth(BaseModel):
    """The JWT that proves an agent: issuer, audience, and subject or client must match, and the signature hold.

    A SPIFFE trust domain is an issuer too: its JWT-SVIDs name it in their subject, whatever else they say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(
        min_length=1,
        max_length=2048,
        description="The `iss` claim, compared exactly; or a SPIFFE trust domain, `spiffe://acme.example`.",
    )
    audience: str = Field(min_length=1, max_length=2048, description="What `aud` must name: this gateway.")
    subject: str = Field("", max_length=256, description="The agent's `sub`, or `act.sub` when it acts for a user.")
    client: str = Field(
        "",
        max_length=256,
        description="Instead of a subject: the OAuth client (`client_id`, `azp`) it is; it acts for the user in `sub`.",
    )
    jwks_url: SafeUrl | None = Field(
        None, description="Where the issuer's keys are; found through the issuer's metadata when absent."
    )
    jwks_file: Path | None = Field(
        None, description="A file with the issuer's keys (JWKS), instead of a URL; relative to gateway.yaml."
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1, max_length=10)] = Field(
        default=["ES256", "RS256", "EdDSA"],
        description="Signature algorithms that are accepted; the token has no say in it.",
    )

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("give jwks_url or jwks_file, not both")
        if self.jwks_url is None and self.jwks_file is None:
            if self.trust_domain:
                raise ValueError("say where the keys of the trust domain are: jwks_file, or jwks_url")
            safe_url(self.issuer)
        return self

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if bool(self.subject) is bool(self.client):
            raise ValueError("say who the agent is there: its subject, or the client that it is")
        return self

    @model_validator(mode="after")
    def _of_its_trust_domain(self) -> Self:
        if self.issuer.startswith(_SPIFFE) and not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise ValueError("a SPIFFE trust domain is `spiffe://` and a name in lower case, without a path")
        if self.trust_domain and not self.subject.startswith(f"{self.issuer}/"):
            raise ValueError(f"the subject must be a SPIFFE id of the trust domain: {self.issuer}/…")
        return self

    def beside(self, folder: Path) -> "JwtAuth":
        """Return it with the file of its keys, if they are in one, as seen from anywhere."""
        found = self.jwks_file
        return self if found is None else self.model_copy(update={"jwks_file": folder / found})

    @property
    def trust_domain(self) -> str:
        """The SPIFFE trust domain whose JWT-SVIDs prove the agent; empty for any other issuer."""
        return self.issuer.removeprefix(_SPIFFE) if self.issuer.startswith(_SPIFFE) else ""


class AuthConfig(BaseModel):
    """How an agent proves who it is; several ways may be open at once. An API token is the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: bool | None = Field(
        None, description="API tokens made by `toolgate token new`; on unless jwt or local is given."
    )
    jwt: JwtAuth | None = Field(None, description="A JWT from an identity provider.")
    local: bool = Field(False, description="The local key of this machine's stdio bridge; loopback only.")

    @model_validator(mode="after")
    def _some_way_in(self) -> Self:
        if not (self.accepts_token or self.jwt or self.local):
            raise ValueError("the agent has no way to prove who it is: set token, jwt or local")
        return self

    @property
    def accepts_token(self) -> bool:
        """Whether an API token is accepted."""
        return self.token if self.token is not None else self.jwt is None and not self.local


class AllowedCall(BaseModel):
    """A tool of which an agent may set some arguments only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: Pattern = Field(description="The tool, by its canonical name.")
    fields: Annotated[list[FieldPath], Field(min_length=1, max_length=256)] = Field(
        description="The arguments that may be set, nothing else: [id, stage, contact.email]."
    )


class AgentConfig(BaseModel):
    """One registered agent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str = Field("", max_length=256, description="The person or team that answers for the agent.")
    teams: Annotated[list[Word], Field(max_length=64)] = Field(default=[], description="Teams policies can name.")
    roles: Annotated[list[Word], Field(max_length=64)] = Field(default=[], description="Roles policies can name.")
    allow: Annotated[list[Pattern | AllowedCall], Field(max_length=1000)] = Field(
        default=[],
        description='What the agent may use: tools ("payments.pay"), a whole server ("payments.*"), or a method of one '
        '("files.resources/read"); compiled to Cedar permits. {call: crm.update, fields: [id, stage]} sets no more.',
    )
    auth: AuthConfig = Field(default=AuthConfig(), description="How the agent proves who it is.")
    tier: int = Field(0, ge=0, le=100, description="How far the agent is trusted; policies compare it.")
    runtime: str = Field("", max_length=128, description="What the agent runs on, for policies and the inventory.")
    attested: bool = Field(False, description="Whether somebody you trust vouches for what it runs on; for policies.")
    budget: Budget = Field(
        default={}, description="What it may use up, by unit: {usd: 2000/day, calls: 60/minute}; see `budgets:`."
    )
    environment: Word | None = Field(None, description="Overrides the gateway's environment for this agent.")

    @property
    def patterns(self) -> list[str]:
        """What it may use, by name and pattern."""
        return [each if isinstance(each, str) else each.call for each in self.allow]

    @property
    def fields(self) -> dict[str, list[str]]:
        """The arguments that it may set, by tool, where not all."""
        return {each.call: each.fields for each in self.allow if not isinstance(each, str)}

    def allowing(self, names: Iterable[str]) -> list[str | AllowedCall]:
        """Return an `allow:` of these names, with the arguments that may be set."""
        fields = self.fields
        return [AllowedCall(call=name, fields=fields[name]) if name in fields else name for name in names]


def as_written(entries: Iterable[str | AllowedCall]) -> list[Any]:
    """Return entries of an `allow:` as JSON has them."""
    return [each if isinstance(each, str) else each.model_dump() for each in entries]


def _no_shared_identity(agents: Mapping[str, AgentConfig]) -> Mapping[str, AgentConfig]:
    """One proof names one agent (a shared account cannot be audited), and one issuer has one source of keys."""
    subjects: dict[tuple[str, str, str], str] = {}
    sources: dict[str, tuple[str, str | None, Path | None]] = {}
    for name, agent in agents.items():
        jwt = agent.auth.jwt
        if jwt is None:
            continue
        kind, named = ("client", jwt.client) if jwt.client else ("subject", jwt.subject)
        other = subjects.setdefault((jwt.issuer, jwt.audience, f"{kind} {named}"), name)
        if other != name:
            raise ValueError(
                f"agents {other!r} and {name!r} share the {kind} {named!r} of {jwt.issuer}: "
                f"give each agent its own {kind}, so that each can be audited and revoked alone"
            )
        source = sources.setdefault(jwt.issuer, (name, jwt.jwks_url, jwt.jwks_file))
        if source[1:] != (jwt.jwks_url, jwt.jwks_file):
            raise ValueError(
                f"agents {source[0]!r} and {name!r} name different keys for {jwt.issuer}: "
                "give both the same jwks_url or jwks_file"
            )
    return agents


Agents = Annotated[dict[AgentName, AgentConfig], Field(max_length=10_000), AfterValidator(_no_shared_identity)]
"""The whole `agents:` section: agent name → agent. A subject shared by two agents is refused."""


class DelegationSection(BaseModel):
    """How far agents may hand on what they may do: by `run.delegate`, to an agent that policies let call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(2, ge=0, le=8, description="How many may stand below an agent, one under the other; 0: nobody.")
    longest: Annotated[str, AfterValidator(_duration)] = Field(
        "24h", description="How long a child may live, whatever is asked for; never longer than who made it."
    )
    most: int = Field(100, ge=1, le=10_000, description="How many children of one agent may live at once.")


class LoginSection(BaseModel):
    """Where people log in when the gateway has to see that they are the user an agent acts for (OpenID Connect)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: SafeUrl = Field(description="The issuer, as the agents' JWTs name it; it must be that of some agent.")
    client_id: str = Field(min_length=1, max_length=2048, description="Who the gateway is there.")
    client_secret: SecretStr = Field(
        SecretStr(""), description='Its secret there, "${secret:NAME}"; none for a public client.'
    )

    @property
    def secret(self) -> str:
        """The secret itself, for the one place that sends it."""
        return self.client_secret.get_secret_value()


def _one_each(logins: list[LoginSection]) -> list[LoginSection]:
    if len({login.issuer for login in logins}) != len(logins):
        raise ValueError("an issuer is named twice")
    return logins


class IdentityConfig(BaseModel):
    """What all agents share: how the gateway presents itself to OAuth clients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resource: SafeUrl | None = Field(
        None, description="The public URL of the MCP endpoint, for OAuth metadata (RFC 9728)."
    )
    authorization_servers: Annotated[list[SafeUrl], Field(max_length=32)] = Field(
        default=[], description="Where clients get tokens; the agents' JWT issuers when empty."
    )
    scopes: Annotated[list[Word], Field(max_length=64)] = Field(
        default=[], description="OAuth scopes a client should ask for."
    )
    logins: Annotated[list[LoginSection], Field(max_length=32), AfterValidator(_one_each)] = Field(
        default=[],
        description="Where users show who they are before they connect an account to a server, and people before they "
        "decide about approvals.",
    )
    trust_domain: str = Field(
        "",
        pattern=r"^[a-z0-9._-]{0,255}$",
        description="The SPIFFE trust domain: a passport's `sub` is spiffe://DOMAIN/agent/NAME then.",
    )
    clock_skew: int = Field(30, ge=0, le=60, description="Seconds another machine's clock may differ.")
    delegation: DelegationSection = Field(
        default=DelegationSection(), description="How far agents may hand on what they may do."
    )
    local_key: Path = Field(Path(".toolgate/local.key"), description="The key of this machine's stdio bridge.")
