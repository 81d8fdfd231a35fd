"""Reading an issuer's keys: bounded in time and bytes, never redirected, over TLS or from this machine."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.codec import CodecError, parse
from gateway.identity.config import JwtAuth, safe_url

if TYPE_CHECKING:
    import httpx2

__all__ = ["FETCH_S", "MAX_BYTES", "KeysUnavailable", "fetch_keys", "key_address"]

FETCH_S: Final = 5.0
MAX_BYTES: Final = 256 * 1024


class KeysUnavailable(Exception):
    """The issuer's keys could not be read; the text says why, for the ledger and the operator only."""


async def fetch_keys(auth: JwtAuth, *, timeout_s: float = FETCH_S) -> list[Any]:
    """Return the members of the issuer's key set, unchecked, within `timeout_s` seconds.

    Raises:
        KeysUnavailable: they cannot be had, or are not a key set.
    """
    try:
        async with asyncio.timeout(timeout_s):
            document = await _document(auth)
    except TimeoutError:
        raise KeysUnavailable(f"no answer within {timeout_s:g} s") from None
    keys = _of_trust_domain(document, auth.trust_domain).get("keys")
    if not isinstance(keys, list):
        raise KeysUnavailable("not a key set: no list of keys")
    return keys


def _of_trust_domain(document: dict[str, Any], trust_domain: str) -> dict[str, Any]:
    """Return its bundle out of what spiffe-helper writes of all trust domains: each one's key set in base64."""
    bundle = document.get(trust_domain)
    if not isinstance(bundle, str):
        return document
    try:
        return _object(base64.b64decode(bundle, validate=True))
    except ValueError:
        raise KeysUnavailable(f"the bundle of {trust_domain} is not base64") from None


async def _document(auth: JwtAuth) -> dict[str, Any]:
    if auth.jwks_file is not None:
        return await asyncio.to_thread(_from_file, auth.jwks_file)
    import httpx2  # which only those gateways need whose agents come with JWTs

    behind_proxy = urlsplit(auth.jwks_url or auth.issuer).scheme == "https"  # this machine is never behind one
    async with httpx2.AsyncClient(follow_redirects=False, timeout=None, trust_env=behind_proxy) as client:
        return await _get(client, auth.jwks_url or await _discover(client, auth.issuer))


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return _object(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise KeysUnavailable(f"{path}: {error.strerror}") from None


async def _discover(client: "httpx2.AsyncClient", issuer: str) -> str:
    """Find `jwks_uri` in the issuer's metadata: OpenID Connect Discovery §4, else RFC 8414 §3."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    try:
        metadata = await _get(client, f"{origin}{path}/.well-known/openid-configuration")
    except KeysUnavailable:
        metadata = await _get(client, f"{origin}/.well-known/oauth-authorization-server{path}")
    return key_address(metadata, issuer)


def key_address(metadata: Mapping[str, Any], issuer: str) -> str:
    """Return the `jwks_uri` in the metadata of `issuer`.

    Raises:
        KeysUnavailable: it is another issuer's, or names no address keys may come from.
    """
    if metadata.get("issuer") != issuer:
        raise KeysUnavailable("the metadata names another issuer")
    found = metadata.get("jwks_uri")
    try:
        url = safe_url(found if isinstance(found, str) else "")
    except ValueError:
        raise KeysUnavailable("the metadata names no usable jwks_uri") from None
    if urlsplit(issuer).scheme == "https" and urlsplit(url).scheme != "https":
        raise KeysUnavailable("the metadata of an https issuer names keys without TLS")
    return url


async def _get(client: "httpx2.AsyncClient", url: str) -> dict[str, Any]:
    import httpx2

    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    try:
        async with client.stream("GET", url, headers=headers) as answer:
            if answer.status_code != 200:
                raise KeysUnavailable(f"{url} answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise KeysUnavailable(f"{url} answered in an encoding that was not asked for")
            body = b""
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise KeysUnavailable(f"{url}: {type(error).__name__}") from None
    return _object(body)


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BYTES:
        raise KeysUnavailable(f"larger than {MAX_BYTES} bytes")
    try:
        document = parse(body)
    except CodecError as error:
        raise KeysUnavailable(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise KeysUnavailable("not a JSON object")
    return document
