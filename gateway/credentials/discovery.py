"""Finding the authorization server of an MCP server, and refusing what does not fit (RFC 9728, RFC 8414)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.connector.target import Target
from gateway.credentials.fault import unsent, unusable
from gateway.credentials.fetch import Fetch

__all__ = ["Issuer", "find_issuer", "issuer_at", "issuer_for"]

_METADATA: Final = re.compile(r'resource_metadata="([^"]{1,2048})"')


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authorization server. URLs are empty where it has none. `names_itself`: its redirects say who sent them."""

    issuer: str
    token_url: str
    authorize_url: str = ""
    register_url: str = ""
    pkce: bool = False
    names_itself: bool = False
    posts_secrets: bool = False
    scopes: tuple[str, ...] = ()


async def issuer_for(fetch: Fetch, issuer: str, url: str) -> Issuer:
    """Return the authorization server called `issuer`, or where that is empty, the one the server at `url` names.

    Raises:
        ConnectorFault: `unavailable` if it cannot be asked, `contract_broken` if what it says is refused.
    """
    scopes: tuple[str, ...] = ()
    if not issuer:
        issuer, scopes = await find_issuer(fetch, url)
    return replace(await issuer_at(fetch, issuer), scopes=scopes)


async def find_issuer(fetch: Fetch, url: str) -> tuple[str, tuple[str, ...]]:
    """Return the issuer that the protected resource at `url` names first, and the scopes it says there are.

    Raises:
        ConnectorFault: as `issuer_for`.
    """
    resource = fetch.where.check(url)
    for place in await _places(fetch, url, resource):
        page = await fetch.get(place)
        if page.status >= 500:
            raise unsent(f"{resource.origin} cannot say now who gives credentials for it.")
        if page.status == 200:
            return _issuer_in(page.document, resource)
    raise unusable(f"{resource.origin} names no authorization server: set `issuer` under its `auth:`.")


async def _places(fetch: Fetch, url: str, resource: Target) -> list[str]:
    """Return where the metadata may be: where the server's own refusal says, then the well-known places."""
    well_known = f"{resource.origin}/.well-known/oauth-protected-resource"
    path = resource.path.rstrip("/")
    places = [well_known + path, well_known] if path else [well_known]
    refusal = await fetch.get(url)
    named = _METADATA.search(refusal.headers.get("www-authenticate", "")) if refusal.status == 401 else None
    if named is None:
        return places
    if fetch.where.check(named[1]).origin != resource.origin:
        raise unusable(f"{resource.origin} names metadata of another origin, which is not read.")
    return [named[1], *places]


def _issuer_in(document: Mapping[str, Any], resource: Target) -> tuple[str, tuple[str, ...]]:
    """Return the issuer in a protected resource's metadata, which has to be about this very resource."""
    about, issuers = document.get("resource"), document.get("authorization_servers")
    if not isinstance(about, str) or not _covers(about, resource):
        raise unusable(f"The metadata of {resource.origin} is about another resource.")
    if not isinstance(issuers, list) or not issuers or not isinstance(issuers[0], str):
        raise unusable(f"The metadata of {resource.origin} names no authorization server.")
    return issuers[0], _words(document.get("scopes_supported"))


def _covers(about: str, resource: Target) -> bool:
    try:
        named = Target.read(about)
    except ValueError:
        return False
    within = named.path.rstrip("/")
    return named.origin == resource.origin and (resource.path == within or resource.path.startswith(f"{within}/"))


async def issuer_at(fetch: Fetch, issuer: str) -> Issuer:
    """Return what the authorization server says of itself. Raises `ConnectorFault` as `issuer_for`."""
    place = fetch.where.check(issuer)
    path = place.path.rstrip("/")
    candidates = [
        f"{place.origin}/.well-known/oauth-authorization-server{path}",
        f"{place.origin}/.well-known/openid-configuration{path}",
    ]
    if path:
        candidates.append(f"{place.origin}{path}/.well-known/openid-configuration")
    for candidate in candidates:
        page = await fetch.get(candidate)
        if page.status >= 500:
            raise unsent(f"{place.origin} does not answer, so there is no credential.")
        if page.status == 200:
            return _checked(page.document, issuer, fetch)
    raise unusable(f"{place.origin} has no authorization server metadata.")


def _checked(document: Mapping[str, Any], issuer: str, fetch: Fetch) -> Issuer:
    """Return the metadata. Every address in it is one that may be asked, and the issuer is the one asked for."""
    if document.get("issuer") != issuer:
        raise unusable(f"The metadata found for {issuer} is another authorization server's.")
    urls = {}
    for name in ("token_endpoint", "authorization_endpoint", "registration_endpoint"):
        value = document.get(name, "")
        if not isinstance(value, str):
            raise unusable(f"The metadata of {issuer} names an address that is none.")
        if value:
            fetch.where.check(value)
        urls[name] = value
    if not urls["token_endpoint"]:
        raise unusable(f"The metadata of {issuer} names no token endpoint.")
    methods = _words(document.get("token_endpoint_auth_methods_supported"))
    return Issuer(
        issuer=issuer,
        token_url=urls["token_endpoint"],
        authorize_url=urls["authorization_endpoint"],
        register_url=urls["registration_endpoint"],
        pkce="S256" in _words(document.get("code_challenge_methods_supported")),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        posts_secrets="client_secret_post" in methods and "client_secret_basic" not in methods,
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()
