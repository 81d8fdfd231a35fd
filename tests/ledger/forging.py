"""A file of a run as a gateway might sign it that tells of events as no gateway of ours would."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from gateway.codec import dump, parse
from gateway.ledger.evidence import EVIDENCE
from gateway.ledger.heads import HEAD
from gateway.ledger.signing import SigningKey, signed_claims
from gateway.store.chain import chained, content_of

__all__ = ["resigned"]


def resigned(lines: Sequence[bytes], key: SigningKey, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Any:
    """Return the lines with each event, and its body, as `change` leaves it: chained, stated and signed again."""
    told, hashes, before = [], {}, ""
    for line in lines[:-1]:
        [(kind, one)] = parse(line).items()
        if kind == "event":
            before = before or one["prev_hash"]
            one = _changed(one, key, hashes, change)
            header = [one[name] for name in ("seq", "at_ms", "kind", "call_id", "run_id", "agent", "on_behalf_of")]
            before = one["hash"] = chained(before, content_of((*header, one["tool"]), one["body"].encode()))
            hashes[one["seq"]] = before
        elif kind == "link":
            before = chained(before, one)
        told.append(dump({kind: one}) + b"\n")
    claims = {"sha256": hashlib.sha256(b"".join(told)).hexdigest(), "made_ms": 1}
    return [*told, dump({"signed": key.sign(claims, EVIDENCE)}) + b"\n"]


def _changed(event: dict[str, Any], key: SigningKey, hashes: dict[int, str], change: Any) -> dict[str, Any]:
    body = json.loads(event["body"])
    if event["kind"] == "head.signed":
        claims = signed_claims(body["token"], key.jwks(), HEAD)
        body["token"] = key.sign({**claims, "hash": hashes.get(claims["seq"], claims["hash"])}, HEAD)
    else:
        change(event, body)
    return {**event, "body": dump(body).decode()}
