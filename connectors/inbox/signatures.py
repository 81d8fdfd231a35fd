"""Whose a message is, by the signature schemes in use. Every comparison takes as long wherever the texts differ."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.connector import Rejected

__all__ = ["Scheme", "Signed", "checked", "key_of"]

_PREFIX: Final = "whsec_"
_TOLERANCE_S: Final = 300
_FEWEST_BYTES: Final = 16


class Scheme(StrEnum):
    """Who signs how."""

    STANDARD = "standard"  # Standard Webhooks 1.0: webhook-id, webhook-timestamp, webhook-signature
    GITHUB = "github"  # X-Hub-Signature-256, over the body alone
    STRIPE = "stripe"  # Stripe-Signature: t=…,v1=…
    SLACK = "slack"  # X-Slack-Signature, X-Slack-Request-Timestamp


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature vouches for: `id` is the sender's own of this message, or empty; `key` tells repetitions."""

    id: str
    key: str


def key_of(secret: str, scheme: Scheme) -> bytes:
    """Return the signing key in a secret. Raises `ValueError`: it is none, or one that can be guessed."""
    if scheme is Scheme.STANDARD and secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except ValueError:
            raise ValueError(f"what follows {_PREFIX} is base64") from None
    else:
        key = secret.encode()
    if len(key) < _FEWEST_BYTES:
        raise ValueError(f"a signing secret has at least {_FEWEST_BYTES} bytes")
    return key


def checked(scheme: Scheme, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> Signed:
    """Return what the signature of a request vouches for, if it was made with one of `keys` in the last five minutes.

    Raises:
        Rejected: it was not.
    """
    return _SCHEMES[scheme](keys, headers, body, now_s)


def _standard(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> Signed:
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    _in_time(stamp, now_s)
    signed = f"{message}.{stamp}.".encode() + body
    given = [part.partition(",")[2] for part in headers.get("webhook-signature", "").split(" ") if part[:3] == "v1,"]
    made = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys]
    if not message:
        raise _refused("it has no webhook-id")
    _match(given, made)
    return Signed(message, f"id:{message}")


def _github(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> Signed:
    del now_s  # GitHub signs neither a time nor its x-github-delivery: a repetition is known by its body alone
    given = headers.get("x-hub-signature-256", "").removeprefix("sha256=")
    _match([given], [hmac.digest(key, body, "sha256").hex() for key in keys])
    return Signed(headers.get("x-github-delivery", ""), f"body:{hashlib.sha256(body).hexdigest()}")


def _stripe(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> Signed:
    parts = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    stamp = next((value for name, _, value in parts if name == "t"), "")
    _in_time(stamp, now_s)
    signed = f"{stamp}.".encode() + body
    _match(
        [value for name, _, value in parts if name == "v1"], [hmac.digest(key, signed, "sha256").hex() for key in keys]
    )
    return Signed("", f"body:{hashlib.sha256(body).hexdigest()}")


def _slack(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: int) -> Signed:
    stamp = headers.get("x-slack-request-timestamp", "")
    _in_time(stamp, now_s)
    signed = f"v0:{stamp}:".encode() + body
    given = headers.get("x-slack-signature", "").removeprefix("v0=")
    _match([given], [hmac.digest(key, signed, "sha256").hex() for key in keys])
    return Signed("", f"body:{hashlib.sha256(body).hexdigest()}")  # another try of Slack's has another time


_SCHEMES: Final[Mapping[Scheme, Callable[[Sequence[bytes], Mapping[str, str], bytes, int], Signed]]] = {
    Scheme.STANDARD: _standard,
    Scheme.GITHUB: _github,
    Scheme.STRIPE: _stripe,
    Scheme.SLACK: _slack,
}


def _in_time(stamp: str, now_s: int) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16 and abs(now_s - int(stamp)) <= _TOLERANCE_S):
        raise _refused("its time is not within five minutes of this machine's")


def _match(given: Iterable[str], made: Sequence[str]) -> None:
    fits = [hmac.compare_digest(one.encode(), other.encode()) for one in list(given)[:8] for other in made]
    if not any(fits):
        raise _refused("its signature does not fit")


def _refused(why: str) -> Rejected:
    return Rejected(f"This message is refused: {why}.")
