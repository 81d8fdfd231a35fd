"""Connections of one client each, where a server's session holds what belongs to a client."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.mcp.connection import Connection, Terms
from gateway.connector import ITSELF, Back, Behalf, Unavailable, dump

__all__ = ["Lanes"]

_MOST: Final = 64
_RETRY_S: Final = 5.0


@dataclass(slots=True, eq=False)
class _Lane:
    """One connection; `users` are the calls under way on it, and `whole` says that one of them has it for itself.

    It is `mirrored` where the server has a session of its client's era though it speaks the other one too.
    """

    key: tuple[Behalf, bytes] = field(repr=False)
    mirrored: bool
    connection: Connection
    users: int = 0
    whole: bool = False
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)


class Lanes:
    """At most 64 connections, each opened by its first call and closed when it has been idle for some time.

    `make` returns a connection, not yet open, on which the server is told of these client capabilities, and shown what
    it is to be shown on this behalf; it is of the handshake eras where it is to be mirrored.
    """

    def __init__(self, make: Callable[[Mapping[str, Any], Behalf, bool], Connection], terms: Terms) -> None:
        self._make = make
        self._terms = terms
        self._lanes: list[_Lane] = []
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def borrowed(self, back: Back, behalf: Behalf = ITSELF, *, mirrored: bool = False) -> Iterator[Connection]:
        """Lend a connection for one call of the client behind `back`, not necessarily open.

        Calls of one client share a connection, except where a call may be parked until the client repeats it.

        Raises:
            Unavailable: every connection there may be is in use; nothing was sent.
        """
        lane = self._taken(back, behalf, mirrored)
        lane.whole = back.takes_input_required
        with self._used(lane):
            yield lane.connection

    @contextmanager
    def held(self, back: Back, behalf: Behalf = ITSELF) -> Iterator[Connection | None]:
        """Lend the connection that calls of the client behind `back` share already, if there is one."""
        key = _key(back, behalf)
        lane = next((each for each in self._lanes if each.key == key), None)
        if lane is None:
            yield None
            return
        with self._used(lane):
            yield lane.connection

    @contextmanager
    def _used(self, lane: _Lane) -> Iterator[None]:
        lane.users += 1
        if lane.expiry is not None:
            lane.expiry.cancel()
            lane.expiry = None
        try:
            yield
        finally:
            lane.users -= 1
            if not lane.users and lane in self._lanes:
                lane.whole = False
                lane.expiry = asyncio.get_running_loop().call_later(self._terms.pace.lane_idle_s, self._drop, lane)

    async def close(self) -> None:
        """Close all; never raises."""
        for lane in list(self._lanes):
            self._drop(lane)
        if self._closing:
            await asyncio.wait(self._closing)

    def _taken(self, back: Back, behalf: Behalf, mirrored: bool) -> _Lane:
        said, key = _said(back), _key(back, behalf)
        for lane in self._lanes:
            fits = lane.key == key and lane.mirrored is mirrored
            if fits and not lane.whole and not (lane.users and back.takes_input_required):
                return lane
        if len(self._lanes) >= _MOST:
            self._make_room()
        lane = _Lane(key, mirrored, self._make(said, behalf, mirrored))
        lane.connection.wire.on_between(back.between().notify)
        self._lanes.append(lane)
        return lane

    def _make_room(self) -> None:
        """Drop the connection that has been idle for longest."""
        idle = [lane for lane in self._lanes if lane.expiry is not None]
        if not idle:
            full = f"The server has {_MOST} sessions of other clients in use, and no more are opened."
            raise self._terms.faults.named(Unavailable(full, retry_after_s=_RETRY_S, sent=False))
        self._drop(min(idle, key=lambda lane: lane.expiry.when() if lane.expiry is not None else 0.0))

    def _drop(self, lane: _Lane) -> None:
        if lane.expiry is not None:
            lane.expiry.cancel()
        self._lanes.remove(lane)
        task = asyncio.ensure_future(lane.connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _said(back: Back) -> Mapping[str, Any]:
    """Return what of a client its server's session is made with."""
    return {**back.capabilities, **back.declares}


def _key(back: Back, behalf: Behalf) -> tuple[Behalf, bytes]:
    return behalf, dump([back.lane, _said(back)])
