"""What tells an OAuth client where to get a token: RFC 9728 metadata and the WWW-Authenticate header."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.identity.config import AgentConfig, IdentityConfig
from gateway.model.errors import IdentityFault

__all__ = ["WELL_KNOWN", "challenge", "metadata_path", "metadata_url", "resource_metadata"]

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def resource_metadata(settings: IdentityConfig, agents: Mapping[str, AgentConfig]) -> dict[str, Any] | None:
    """Return the protected-resource metadata document, or None where OAuth is not configured.

    It is served only then: clients that find metadata insist on OAuth, and would never try a plain API token.
    """
    ways = [agent.auth.jwt for agent in agents.values() if agent.auth.jwt]
    issuers = sorted({jwt.issuer for jwt in ways if not jwt.trust_domain})  # nobody logs in at a trust domain
    servers = settings.authorization_servers or issuers
    if settings.resource is None or not servers:
        return None
    document: dict[str, Any] = {
        "resource": settings.resource,
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
        "resource_name": "toolgate",
    }
    if settings.scopes:
        document["scopes_supported"] = settings.scopes
    return document


def metadata_path(resource: str) -> str:
    """Return the path the metadata of `resource` is served at (RFC 9728 §3.1: well-known before the path)."""
    path = urlsplit(resource).path
    return WELL_KNOWN + ("" if path == "/" else path)


def metadata_url(resource: str) -> str:
    """Return the URL of the metadata of `resource`."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{metadata_path(resource)}"


def challenge(fault: IdentityFault, *, presented: bool, resource: str | None = None) -> str:
    """Return the value of WWW-Authenticate for a refusal (RFC 6750 §3).

    `presented`: the caller sent a credential. `resource`: the resource of the metadata document, when one is served.
    """
    parameters = {"realm": "toolgate"}
    if presented:  # RFC 6750 §3.1: no error code for a caller who sent nothing
        parameters["error"] = "invalid_token"
        parameters["error_description"] = fault.code
    if resource is not None:
        parameters["resource_metadata"] = metadata_url(resource)
    return "Bearer " + ", ".join(f'{name}="{_quoted(value)}"' for name, value in parameters.items())


def _quoted(value: str) -> str:
    return "".join(c for c in value if c.isascii() and c.isprintable() and c not in '"\\')
