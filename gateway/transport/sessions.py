"""Legacy session ids that need no memory: each is sealed, and opens only for the principal it was made for.

An id costs nothing while idle and outlives a restart. It is not a credential: the token is checked on every request.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gateway.model.clock import Clock
from gateway.model.identity import Identity

__all__ = ["Session", "Sessions"]

_LIFE_MS: Final = 7 * 24 * 3600 * 1000
_MAX_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """An open legacy session and the protocol version it negotiated."""

    id: str
    version: str


class Sessions:
    """Opens, recognises and ends legacy sessions."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._ended: OrderedDict[str, None] = OrderedDict()

    def open(self, identity: Identity, version: str) -> Session:
        """Make a session id: 128 random bits, the time, the version and a seal over them and the principal."""
        nonce = secrets.token_hex(16)
        head = f"{nonce}.{self._clock.now_ms():x}.{version}"
        return Session(f"{head}.{self._seal(head, identity)}", version)

    def find(self, session_id: str, identity: Identity) -> Session | None:
        """Return the session, or None when it is forged, another principal's, ended, or a week old."""
        head, _, seal = session_id.rpartition(".")
        parts = head.split(".")
        if len(session_id) > 256 or len(parts) != 3 or session_id in self._ended:
            return None
        if not hmac.compare_digest(seal.encode(), self._seal(head, identity).encode()):
            return None
        age = self._clock.now_ms() - int(parts[1], 16)
        return Session(session_id, parts[2]) if age <= _LIFE_MS else None

    def end(self, session: Session) -> None:
        """Forget a session for good."""
        self._ended[session.id] = None
        while len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def _seal(self, head: str, identity: Identity) -> str:
        principal = "\0".join((head, identity.issuer, identity.agent, identity.on_behalf_of or ""))
        mac = hmac.new(self._key, principal.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return urlsafe_b64encode(mac[:24]).decode()
