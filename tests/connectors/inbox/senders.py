"""Messages as their senders sign them, written from the senders' own documentation."""

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
PLAIN = "a-signing-secret-of-32-characters"


def body_of(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def standard(body: bytes, now_s: int, key: bytes = b"k" * 32, message: str = "msg_1") -> dict[str, str]:
    made = hmac.new(key, f"{message}.{now_s}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1a,xx v1,{base64.b64encode(made).decode()}",
    }


def github(body: bytes, now_s: int, key: bytes = PLAIN.encode()) -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest(),
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    }


def stripe(body: bytes, now_s: int, key: bytes = PLAIN.encode()) -> dict[str, str]:
    made = hmac.new(key, f"{now_s}.".encode() + body, hashlib.sha256).hexdigest()
    return {"stripe-signature": f"t={now_s},v1={'0' * 64},v1={made},v0=old"}


def slack(body: bytes, now_s: int, key: bytes = PLAIN.encode()) -> dict[str, str]:
    made = hmac.new(key, f"v0:{now_s}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-signature": f"v0={made}", "x-slack-request-timestamp": str(now_s)}


SENDERS = {"standard": standard, "github": github, "stripe": stripe, "slack": slack}
SECRETS = {"standard": SECRET, "github": PLAIN, "stripe": PLAIN, "slack": PLAIN}
