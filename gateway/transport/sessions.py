"""Legacy sessions: a sealed id that opens only for the principal it was made for, and a record that outlives restarts.

An id is not a credential: the token is checked on every request. An idle session is one row and one small object.
"""

import asyncio
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.codec import dump
from gateway.model.back import AskRefused, Back, Hear
from gateway.model.clock import Clock
from gateway.model.identity import ClientInfo, Identity, principal_of
from gateway.pipeline.notices import Subscriber
from gateway.store.ports import SessionRecord, SessionStore
from gateway.transport.streams import EventStream, Shelf, Streams

__all__ = ["Session", "Sessions", "Told"]

_LIFE_MS: Final = 7 * 24 * 3600 * 1000
_MAX_LIVE: Final = 10_000
_MAX_EACH: Final = 20_000
_FORGET_EVERY: Final = 1000
_MAX_SAID: Final = 8192


@dataclass(frozen=True, slots=True)
class Told:
    """What a client says of itself in the handshake: what it can be asked, what else it knows, and its name."""

    capabilities: Mapping[str, Any] = field(default_factory=dict)
    declares: Mapping[str, Any] = field(default_factory=dict)
    client: ClientInfo = field(default_factory=ClientInfo)


@dataclass(slots=True)
class Session:
    """An open legacy session: what its client said of itself, and what is going on in it.

    `capabilities` and `declares` are what the client said (see `Back`); `subscriptions` are the resource URIs it wants
    news of, as it knows them. `under_way` holds its unanswered requests by JSON-RPC id, `asked` the questions it has
    not answered, and `heard` who hears of its progress with one.
    `roots_listed_by` are the servers that had its client list its roots. `seen` is whose it was found to be last.
    """

    id: str
    principal: str = field(repr=False)
    version: str
    streams: Streams
    endpoint: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    declares: Mapping[str, Any] = field(default_factory=dict)
    client: ClientInfo = field(default_factory=ClientInfo)
    log_level: str = ""
    subscriptions: frozenset[str] = frozenset()
    under_way: dict[tuple[type, object], tuple[Back, "asyncio.Task[Any]"]] = field(default_factory=dict)
    asked: dict[str, "asyncio.Future[Mapping[str, Any]]"] = field(default_factory=dict)
    heard: dict[str, Hear] = field(default_factory=dict)
    roots_listed_by: set[str] = field(default_factory=set)
    own_stream: EventStream | None = None
    subscriber: Subscriber | None = None
    ended: bool = False
    seen: Identity | None = field(default=None, repr=False)
    opened_ms: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.opened_ms = int(self.id.split(".", 2)[1], 16)

    @property
    def idle(self) -> bool:
        """Tell whether nothing would be lost with this object that its record does not hold."""
        return not self.under_way and not self.asked and self.subscriber is None


class Sessions:
    """Opens, recognises and ends legacy sessions.

    Of one principal there are at most `most_each` that this process knows of; with one more, its idle one that was used
    the longest ago ends.
    """

    def __init__(self, key: bytes, clock: Clock, store: SessionStore, most_each: int = _MAX_EACH) -> None:
        self._key = key
        self._clock = clock
        self._store = store
        self._live: OrderedDict[str, Session] = OrderedDict()
        self._most_each = most_each
        self._each: dict[str, OrderedDict[str, None]] = {}
        self._shelf = Shelf()
        self._opened = 0

    async def open(self, identity: Identity, version: str, endpoint: str, told: Told) -> Session:
        """Open a session; its id is 128 random bits, the time, the version and a seal over them and the principal.

        Of capabilities of more than 8 KiB there is none. Raises `StoreFault`.
        """
        if self._opened % _FORGET_EVERY == 0:
            await self._store.forget_sessions(self._clock.now_ms() - _LIFE_MS)
        self._opened += 1
        head = f"{secrets.token_hex(16)}.{self._clock.now_ms():x}.{version}"
        principal = principal_of(identity)
        said = told.capabilities if len(dump(told.capabilities)) <= _MAX_SAID else {}
        session_id = f"{head}.{self._seal(head, principal)}"
        streams = Streams(self._shelf)
        session = Session(session_id, principal, version, streams, endpoint, said, told.declares, told.client)
        await self.save(session)
        self._keep(session)
        await self._make_room(principal)
        return session

    async def find(self, session_id: str, identity: Identity) -> Session | None:
        """Return the session, or None when it is forged, another principal's, ended, or a week old."""
        if session_id not in self._live and await self._revived(session_id, principal_of(identity)) is None:
            return None
        return self.known(session_id, identity)

    def known(self, session_id: str, identity: Identity) -> Session | None:
        """As `find`, where that takes no waiting; None means: await that."""
        session = self._live.get(session_id)
        if session is None:
            return None
        if session.seen is not identity:
            if session.principal != principal_of(identity):
                return None
            session.seen = identity
        if self._clock.now_ms() - session.opened_ms > _LIFE_MS:
            return None
        self._live.move_to_end(session_id)
        self._each[session.principal].move_to_end(session_id)
        return session

    async def save(self, session: Session) -> None:
        """Keep what the session's record holds, unless it has ended. Raises `StoreFault`."""
        if session.ended:
            return
        body = {
            "version": session.version,
            "endpoint": session.endpoint,
            "capabilities": dict(session.capabilities),
            "declares": dict(session.declares),
            "client": [session.client.name, session.client.version],
            "log_level": session.log_level,
            "subscriptions": sorted(session.subscriptions),
        }
        await self._store.put_session(SessionRecord(session.id, self._clock.now_ms(), body))

    async def end(self, session: Session) -> None:
        """Forget a session for good: nobody can be asked in it any more, and its streams close. Raises `StoreFault`."""
        session.ended = True
        await self._store.end_session(session.id)
        self._live.pop(session.id, None)
        self._forget(session.principal, session.id)
        _refuse(session, "The client ended its session")
        session.streams.close()

    def stop(self) -> None:
        """Have nobody wait for a client's answer any longer: the gateway stops."""
        for session in self._live.values():
            _refuse(session, "The gateway is stopping")

    async def _revived(self, session_id: str, principal: str) -> Session | None:
        head, _, seal = session_id.rpartition(".")
        if len(session_id) > 256 or len(head.split(".")) != 3:
            return None
        if not hmac.compare_digest(seal.encode(), self._seal(head, principal).encode()):
            return None
        record = await self._store.find_session(session_id)
        if record is None:
            return None
        body = record.body
        session = self._live.get(session_id) or Session(
            session_id,
            principal,
            body["version"],
            Streams(self._shelf),
            body["endpoint"],
            body["capabilities"],
            body.get("declares", {}),
            ClientInfo(*body["client"]),
            body["log_level"],
            frozenset(body["subscriptions"]),
        )
        self._keep(session)
        return session

    async def _make_room(self, principal: str) -> None:
        own = self._each.get(principal, OrderedDict())
        if len(own) <= self._most_each:
            return
        oldest = next(iter(own))
        session = self._live.get(oldest)
        if session is None:
            self._forget(principal, oldest)
            await self._store.end_session(oldest)
        elif session.idle:
            await self.end(session)
        else:
            own.move_to_end(oldest)

    def _forget(self, principal: str, session_id: str) -> None:
        own = self._each.get(principal, OrderedDict())
        own.pop(session_id, None)
        if not own:
            self._each.pop(principal, None)

    def _keep(self, session: Session) -> None:
        self._each.setdefault(session.principal, OrderedDict())[session.id] = None
        self._live[session.id] = session
        self._live.move_to_end(session.id)
        while len(self._live) > _MAX_LIVE:
            oldest = next(iter(self._live))
            if not self._live[oldest].idle:
                self._live.move_to_end(oldest)
                return
            del self._live[oldest]

    def _seal(self, head: str, principal: str) -> str:
        mac = hmac.new(self._key, f"{head}\0{principal}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
        return urlsafe_b64encode(mac[:24]).decode()


def _refuse(session: Session, why: str) -> None:
    for answer in session.asked.values():
        if not answer.done():
            answer.set_exception(AskRefused(-32001, why))
