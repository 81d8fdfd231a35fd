"""What a connector raises, one class per thing that can go wrong."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final

from gateway.model.clock import SystemClock
from gateway.model.errors import ConnectorFault

__all__ = [
    "Confined",
    "CredentialExpired",
    "Forbidden",
    "NotDone",
    "Rejected",
    "TimedOut",
    "Unavailable",
    "parse_retry_after",
    "plain",
    "put_off",
]

_MAX_RETRY_AFTER_S: Final = 86_400.0
_MAX_TEXT: Final = 500


def parse_retry_after(value: str | float | None, now_ms: int) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110 §10.2.3: seconds or an HTTP date).

    None where there is no header or it cannot be read; never negative, at most one day. `now_ms` is Unix time.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)):
        seconds = float(value)
    elif value.strip().isascii() and value.strip().isdigit():
        seconds = float(value.strip()[:10])
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_ms / 1000
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S) if isfinite(seconds) else None


def plain(text: object, limit: int = _MAX_TEXT) -> str:
    """Return foreign text fit for a message: one line, at most `limit` characters, nothing that is not printable."""
    kept = "".join(char if char.isprintable() else " " for char in str(text)[: limit * 4])
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


class NotDone(ConnectorFault):
    """What was looked up surely had no effect, and will have none."""

    def __init__(self, message: str = "It has not happened.") -> None:
        super().__init__(message, code="rejected")


class Unavailable(ConnectorFault):
    """The other side cannot answer now. `retry_after_s` takes a `Retry-After` header as it came, or seconds.

    `sent=False` is a promise that nothing of this call left the gateway, `refused=True` that the other side did nothing
    for it: even an effect is then asked for again.
    """

    def __init__(
        self,
        message: str = "The tool's server is not available.",
        *,
        retry_after_s: str | float | None = None,
        detail: str = "",
        sent: bool = True,
        refused: bool = False,
    ) -> None:
        wait = parse_retry_after(retry_after_s, SystemClock().now_ms())
        super().__init__(message, code="unavailable", detail=detail, retry_after_s=wait, sent=sent)
        self.refused = refused


def put_off(status: int, retry_after: str | None) -> bool:
    """Tell whether an HTTP answer says that the request was turned away before anything was done for it.

    429 always does (RFC 6585 §4). 503 does where it comes with `Retry-After`, which only whoever knows of the request's
    fate sends (RFC 9110 §15.6.4); without, it is what proxies also say of a server that died in the middle of its work.
    """
    return status == 429 or (status == 503 and retry_after is not None)


class Confined(ConnectorFault):
    """One client's own connection cannot be had, and nothing was sent; it says nothing about the server's health."""


class TimedOut(ConnectorFault):
    """No answer came in time."""

    def __init__(
        self, message: str = "The tool's server did not answer in time.", *, detail: str = "", sent: bool = True
    ) -> None:
        super().__init__(message, code="timeout", detail=detail, sent=sent)


class Forbidden(ConnectorFault):
    """The other side knows who asks and does not let them do this; other calls may well go on."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message, code="forbidden", detail=detail)


class Rejected(ConnectorFault):
    """The other side understood the call and refused it; the same call will be refused again.

    `rpc` is the JSON-RPC error it was refused with, where the other side speaks JSON-RPC.
    """

    def __init__(self, message: str, *, detail: str = "", rpc: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, code="rejected", detail=detail)
        self.rpc = rpc


class CredentialExpired(ConnectorFault):
    """The gateway's own credential for the other side no longer works; only an operator can renew it."""

    def __init__(
        self, message: str = "The gateway's credential for this server is no longer valid.", *, detail: str = ""
    ) -> None:
        super().__init__(message, code="credential_expired", detail=detail)
