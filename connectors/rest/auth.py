"""How the gateway shows an API who it is."""

import base64
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.connector import Auth as HeldAuth
from gateway.connector import CommandOutput, ConnectorConfig, MutualTls, Secret

__all__ = ["ApiKey", "Auth", "Basic", "Bearer", "Credentials", "WithHeaders", "header_problem"]


class Bearer(ConnectorConfig):
    """`Authorization: Bearer TOKEN`."""

    type: Literal["bearer"] = Field(description="A bearer token.")
    token: Secret = Field(description="The token.")


class Basic(ConnectorConfig):
    """`Authorization: Basic …`."""

    type: Literal["basic"] = Field(description="A user and a password.")
    username: str = Field(description="The user.", pattern=r"^[^:\x00-\x1f\x7f]*$")
    password: Secret = Field(description="The password.")


class ApiKey(ConnectorConfig):
    """A key in a header, a query parameter or a cookie."""

    type: Literal["api_key"] = Field(description="A key of the API's own.")
    place: Literal["header", "query", "cookie"] = Field(alias="in", description="`header`, `query` or `cookie`.")
    name: str = Field(
        description="What the header, parameter or cookie is called.", pattern=r"^[A-Za-z0-9_.$-]{1,128}$"
    )
    value: Secret = Field(description="The key.")


Auth = Annotated[Bearer | Basic | ApiKey | HeldAuth, Field(discriminator="type")]
"""What is written in the configuration, or one of the kinds that the gateway gets and renews by itself."""


class Credentials:
    """What is added to every request: headers, query parameters and cookies, by name.

    `held` is the section of a credential that the gateway holds; what that is, is known when a request is sent.
    """

    def __init__(self, auth: Any, headers: Mapping[str, Secret]) -> None:
        self.held = None if isinstance(auth, Bearer | Basic | ApiKey) else auth
        self.headers = {name: secret.reveal() for name, secret in headers.items()}
        self.query: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self._secrets = set(self.headers.values())
        if isinstance(auth, Bearer):
            self._add("header", "Authorization", f"Bearer {auth.token.reveal()}")
            self._secrets.add(auth.token.reveal())
        elif isinstance(auth, Basic):
            pair = f"{auth.username}:{auth.password.reveal()}"
            encoded = base64.b64encode(pair.encode()).decode()
            self._add("header", "Authorization", f"Basic {encoded}")
            self._secrets |= {auth.password.reveal(), pair, encoded}
        elif isinstance(auth, ApiKey):
            self._add(auth.place, auth.name, auth.value.reveal())

    def _add(self, place: str, name: str, value: str) -> None:
        {"header": self.headers, "query": self.query, "cookie": self.cookies}[place][name] = value
        self._secrets.add(value)

    def __bool__(self) -> bool:
        return bool(self._secrets) or self.held is not None

    def takes(self, place: str, name: str) -> bool:
        """Tell whether the gateway itself fills the parameter `name` in `place`."""
        if place == "header":
            return name.lower() in {own.lower() for own in (*self.headers, *self._held_header())}
        return name in (self.query if place == "query" else self.cookies)

    def _held_header(self) -> tuple[str, ...]:
        if self.held is None or isinstance(self.held, MutualTls):
            return ()
        return (self.held.header,) if isinstance(self.held, CommandOutput) else ("Authorization",)

    @property
    def secrets(self) -> frozenset[str]:
        """Every text that must not come back in an answer."""
        words = {part for secret in self._secrets for part in (secret, secret.rpartition(" ")[2])}
        return frozenset(word for word in words if len(word) >= _SHORTEST_SECRET)


_SHORTEST_SECRET = 6


class WithHeaders(ConnectorConfig):
    """The `auth` and `headers` of an API."""

    auth: Auth | None = Field(None, description="How the gateway shows who it is; see below.")
    headers: Mapping[str, Secret] = Field(default_factory=dict, description="Headers sent with every request.")

    @model_validator(mode="after")
    def _shows_one_thing_in_a_header(self) -> "WithHeaders":
        shown = Credentials(self.auth, {})
        taken = sorted(name for name in self.headers if shown.takes("header", name))
        if taken:
            raise ValueError(f"headers: with this `auth`, the gateway itself sets {taken[0]}")
        return self

    @field_validator("headers")
    @classmethod
    def _are_header_lines(cls, headers: Mapping[str, Secret]) -> Mapping[str, Secret]:
        for name, value in headers.items():
            problem = header_problem(name, value.reveal())
            if problem:
                raise ValueError(problem)
        return headers

    @field_validator("auth")
    @classmethod
    def _can_be_sent(cls, auth: Any) -> Any:
        secret = auth.token if isinstance(auth, Bearer) else auth.value if isinstance(auth, ApiKey) else None
        place = auth.place if isinstance(auth, ApiKey) else "header"
        text = secret.reveal() if secret is not None else "-"
        name = auth.name if isinstance(auth, ApiKey) and place == "header" else "Authorization"
        problem = header_problem(name, text) if place == "header" else ""
        if not text or not text.isprintable() or (place == "cookie" and any(char in ' ;,"\\' for char in text)):
            problem = f"the value cannot be sent in a {place}"
        if problem:
            raise ValueError(problem)
        return auth


_OWN = frozenset(
    {"host", "accept-encoding", "connection", "content-length", "content-type", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "expect", "proxy-authorization", "cookie"}
)


def header_problem(name: str, value: str) -> str:
    """Return why `name: value` cannot be a header of a request, or nothing. The text holds no value."""
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        return f"{name!r} is not a header name"
    if name.lower() in _OWN:
        return f"{name} is set by the gateway"
    if not all(char == "\t" or " " <= char <= "~" for char in value) or value != value.strip():
        return f"the value of {name} has characters that a header cannot carry"
    return ""
