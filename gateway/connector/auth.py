"""What a server's section may say under `auth:`, for every connector that sends HTTP requests."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.connector.secret import Secret
from gateway.connector.section import ConnectorConfig
from gateway.connector.target import Target

__all__ = [
    "Auth",
    "AuthorizationCode",
    "ClientCredentials",
    "CommandOutput",
    "JwtFile",
    "MutualTls",
    "OAuthSection",
    "TokenExchange",
]

_HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"


def _url(text: str) -> str:
    if text:
        Target.read(text)
    return text


Url = Annotated[str, AfterValidator(_url)]
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")]


class OAuthSection(ConnectorConfig):
    """What every way to an OAuth token has in common."""

    issuer: Url = Field("", description="The authorization server; found by way of the server's URL if not given.")
    client_id: str = Field("", description="Who the gateway is there.", max_length=2048)
    client_secret: Secret | None = Field(None, description="Its secret there: `${secret:name}`.")
    assertion_file: Path | None = Field(
        None, description="A file with a JWT that proves the client instead of a secret, such as a SPIFFE JWT-SVID."
    )
    scopes: tuple[Scope, ...] = Field((), description="The scopes asked for; the server's own word if none is named.")
    resource: Url = Field("", description="What tokens are for (RFC 8707); the server's URL if not given.")
    allow_private: tuple[str, ...] = Field(
        (), description="Hosts of the authorization server, beside those of `url` and `issuer`, on private addresses."
    )

    @model_validator(mode="after")
    def _one_proof(self) -> "OAuthSection":
        if self.client_secret is not None and self.assertion_file is not None:
            raise ValueError("a client proves itself by client_secret or by assertion_file, not by both")
        return self


class ClientCredentials(OAuthSection):
    """The gateway's own OAuth 2.1 client credentials."""

    type: Literal["client_credentials"] = Field(description="The gateway itself is the client.")
    client_id: str = Field(description="Who the gateway is there.", min_length=1, max_length=2048)
    token_url: Url = Field("", description="The token endpoint of an authorization server that has no metadata.")


class AuthorizationCode(OAuthSection):
    """Each user's own consent: `toolgate credential connect SERVER --user USER`."""

    type: Literal["authorization_code"] = Field(description="Every user connects an account.")
    list_as: str = Field("", description="Whose account lists the tools; the shared one if not given.")


class TokenExchange(OAuthSection):
    """The caller's verified token, exchanged for one that this server takes (RFC 8693)."""

    type: Literal["token_exchange"] = Field(description="On behalf of the user the agent acts for.")
    client_id: str = Field(description="Who the gateway is there.", min_length=1, max_length=2048)
    token_url: Url = Field("", description="The token endpoint of an authorization server that has no metadata.")
    audience: str = Field("", description="What the authorization server calls this server.", max_length=2048)


class CommandOutput(ConnectorConfig):
    """What a program prints, such as a password manager's. No shell is involved."""

    type: Literal["command"] = Field(description="A program prints the secret.")
    command: str = Field(min_length=1, description="The program; found on PATH.")
    args: tuple[str, ...] = Field((), description="Its arguments.", repr=False)
    env: Mapping[str, Secret] = Field(
        default_factory=dict, description="Variables it gets besides HOME, LOGNAME, PATH, SHELL, TERM, USER and LANG."
    )
    output: Literal["text", "json"] = Field(
        "text", description="text: the secret alone; json: an object with `token` and `expires_in` (seconds)."
    )
    ttl_s: float = Field(300.0, gt=0, description="How long a secret without an end of its own is kept, in seconds.")
    timeout_s: float = Field(10.0, gt=0, le=120, description="How long the program may take, in seconds.")
    header: str = Field("Authorization", pattern=_HEADER_NAME, description="The header the secret goes into.")
    scheme: str = Field("Bearer", pattern=r"^[!-~]*$", description="What stands before it; may be empty.")


class JwtFile(ConnectorConfig):
    """A JWT that something else keeps fresh in a file, such as a SPIFFE JWT-SVID; sent as a bearer token."""

    type: Literal["jwt_file"] = Field(description="A file holds the token.")
    path: Path = Field(description="The file; readable by the gateway's user only.")


class MutualTls(ConnectorConfig):
    """A client certificate; a renewed one is taken up by the next connection."""

    type: Literal["mtls"] = Field(description="The gateway shows a certificate.")
    cert_file: Path = Field(description="The certificate and what leads up to its authority, PEM.")
    key_file: Path = Field(description="Its private key, PEM; readable by the gateway's user only.")

    def show_in(self, context: ssl.SSLContext) -> None:
        """Have connections of `context` show the certificate. Raises `OSError` (`ssl.SSLError` is one)."""
        if self.key_file.stat().st_mode & 0o077:
            raise PermissionError(f"other users may use {self.key_file}; fix: chmod 600 {self.key_file}")
        context.load_cert_chain(self.cert_file, self.key_file, password=_never_asked)


def _never_asked() -> str:
    """Stand for the password of a key that has one, so that nobody is asked for it on the terminal."""
    return ""


Auth = Annotated[
    ClientCredentials | AuthorizationCode | TokenExchange | CommandOutput | JwtFile | MutualTls,
    Field(discriminator="type"),
]
