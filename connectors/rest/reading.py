"""From an answer to an MCP result, or to the fault it is."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from connectors.rest.exchange import Answer, Request
from connectors.rest.operation import Operation
from gateway.connector import CodecError, ConnectorFault, Failures, dump, parse, plain

__all__ = ["INCOMPLETE", "Reading", "without"]

INCOMPLETE: Final = "io.toolgate/incomplete"
"""The key in a result's `_meta` that says why it is not everything, and where the rest is."""

_NEXT_LINK: Final = re.compile(r"<([^<>]*)>\s*(?:;[^,<]*)?;\s*rel\s*=\s*\"?[^\",<]*\bnext\b", re.IGNORECASE)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?(utf-8|us-ascii|iso-8859-1|windows-1252)", re.IGNORECASE)
_MAX_NEXT: Final = 2000
_SAID: Final = 400


class Reading:
    """Reads the answers of one API. `redact` takes secrets out of every text."""

    def __init__(self, failures: Failures, next_fields: Sequence[str], redact: Callable[[str], str]) -> None:
        self._failures = failures
        self._next = tuple(tuple(path.split(".")) for path in next_fields)
        self._redact = redact

    def result(self, operation: Operation, request: Request, answer: Answer) -> dict[str, Any]:
        """Return what the agent gets.

        Raises:
            ConnectorFault: the answer is a failure, or is not what it says it is.
        """
        if not 200 <= answer.status < 300:
            said = plain(self._redact(answer.body.decode("utf-8", "replace")), _SAID) or "no reason given"
            raise self._failures.fault(answer.status, said, answer.headers.get("retry-after"))
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not answer.body:
            return self._empty(answer)
        if _is_json(kind):
            return self._json(operation, answer)
        if kind.startswith("text/"):
            return {"content": [_text(self._redact(answer.body.decode(_charset(answer), "replace")))]}
        return {"content": [_blob(request, kind or "application/octet-stream", self._bytes(answer.body))]}

    def _empty(self, answer: Answer) -> dict[str, Any]:
        place = answer.headers.get("location")
        where = f" Location: {plain(self._redact(place))}" if place else ""
        return self._marked({"content": [_text(f"HTTP {answer.status}, nothing more said.{where}")]}, answer, None)

    def _json(self, operation: Operation, answer: Answer) -> dict[str, Any]:
        try:
            value = self._clean(parse(answer.body))
        except CodecError as error:
            text = "The service's answer cannot be used: it is not JSON, though it says so."
            raise ConnectorFault(text, code="contract_broken", detail=str(error)) from None
        result: dict[str, Any] = {"content": [_text(dump(value).decode())]}
        if operation.wrapped:
            result["structuredContent"] = {"result": value}
        elif isinstance(value, dict):
            result["structuredContent"] = value
        return self._marked(result, answer, _first(value, (*operation.more, *self._next)))

    def _marked(self, result: dict[str, Any], answer: Answer, more: Any) -> dict[str, Any]:
        """Say in `_meta` that the answer is one page of several; the others are for the agent to ask for."""
        link = _NEXT_LINK.search(answer.headers.get("link", ""))
        if link is not None:
            more = link[1]
        if answer.status == 206:
            more = more or answer.headers.get("content-range", "partial content")
        if more is not None:
            text = more if isinstance(more, str) else dump(more).decode()
            result["_meta"] = {INCOMPLETE: {"reason": "there is more", "next": self._redact(text)[:_MAX_NEXT]}}
        return result

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {self._redact(key): self._clean(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._clean(each) for each in value]
        return value

    def _bytes(self, body: bytes) -> bytes:
        """Return bytes as they are, unless a secret stands in them."""
        text = body.decode("latin-1")
        clean = self._redact(text)
        return body if clean == text else clean.encode("utf-8", "replace")


def without(secrets: frozenset[str], redact: Callable[[str], str]) -> Callable[[str], str]:
    """Return `redact`, which also knows these secrets: a service may echo what it was shown."""
    ordered = sorted(secrets, key=len, reverse=True)

    def clean(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, "***")
        return redact(text)

    return clean


def _is_json(kind: str) -> bool:
    return kind == "application/json" or kind.endswith("+json")


def _charset(answer: Answer) -> str:
    found = _CHARSET.search(answer.headers["content-type"])
    return found[1] if found else "utf-8"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _blob(request: Request, kind: str, body: bytes) -> dict[str, Any]:
    uri = f"{request.target.origin}{request.target.path}"
    blob = base64.b64encode(body).decode("ascii")
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "blob": blob}}


def _first(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    """Return the first value at one of `paths` that says something."""
    for path in paths:
        found = value
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        if found not in (None, False, "", [], {}):
            return found
    return None
