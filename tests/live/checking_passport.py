"""A program of its own, as a third party would write it: checks a passport with PyJWT and a JWKS, and nothing of ours.

Reads {"jwks", "passport"} from standard input; prints what the passport says, and which claims could be altered unseen.
"""

import base64
import json
import sys
from typing import Any

import jwt


def check(token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of a passport, or raise what PyJWT raises."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = jwt.PyJWKSet.from_dict(jwks)[kid]
    required = ["exp", "iat", "iss", "sub", "jti"]
    return dict(jwt.decode(token, key, ["ES256"], options={"require": required, "verify_aud": False}))


def altered(token: str, name: str) -> str:
    """Return the token with another value for a claim, under the same signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims[name] = claims[name] + 1 if isinstance(claims[name], int) else [claims[name], "and more"]
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"{head}.{forged}.{signature}"


def main() -> None:
    """Check what standard input holds."""
    given = json.load(sys.stdin)
    token, jwks = given["passport"], given["jwks"]
    claims, unseen = check(token, jwks), []
    for name in claims:
        try:
            check(altered(token, name), jwks)
        except jwt.InvalidSignatureError:
            continue
        unseen.append(name)
    json.dump({"claims": claims, "unseen": unseen, "ours": "gateway" in sys.modules}, sys.stdout)


if __name__ == "__main__":
    main()
