"""Reads under way, so that what several agents read in one run at once is read once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.model.errors import GatewayError

__all__ = ["Flights", "Passenger", "Raw", "Read"]

Raw = Mapping[str, Any]
Read = Callable[[], Awaitable[tuple[Raw, bool]]]
"""Makes a read; returns its answer, and whether that is for the client of this very call alone."""

_Arrival = asyncio.Future[Raw | GatewayError | None]


@dataclass(slots=True)
class Passenger:
    """A read of a call: `key` says what is read for whom, `who` asks for it, `told` what else its server is told.

    `waiting` are those who wait for its answer, where it is the first of its key.
    """

    key: object
    who: str
    call_id: str
    told: Callable[[], str] = str
    waiting: list[_Arrival] | None = None


class Flights:
    """Shares what is under way: who comes first makes the read, others wait for its answer.

    An agent that asks twice at once is answered twice: it may want to see whether something changes.
    """

    def __init__(self) -> None:
        self._under_way: dict[object, Passenger] = {}

    def fly(self, passenger: Passenger, read: Read) -> Coroutine[Any, Any, tuple[Raw, str]]:
        """Return the answer of a read, and whose call made it. To be awaited at once. Raises what the read raises.

        A leader that is called off, or whose server has a question to it, leaves the read to those who wait.
        """
        return self._join(passenger, read) if passenger.key in self._under_way else self._lead(passenger, read)

    async def _join(self, passenger: Passenger, read: Read) -> tuple[Raw, str]:
        while (leader := self._under_way.get(passenger.key)) is not None and _suits(leader, passenger):
            arrival: _Arrival = asyncio.get_running_loop().create_future()
            leader.waiting = [*(leader.waiting or ()), arrival]
            answer = await arrival
            if isinstance(answer, GatewayError):
                raise answer
            if answer is not None:
                return answer, leader.call_id
        if leader is not None:
            return (await read())[0], passenger.call_id
        return await self._lead(passenger, read)

    async def _lead(self, passenger: Passenger, read: Read) -> tuple[Raw, str]:
        self._under_way[passenger.key] = passenger
        answer: Raw | GatewayError | None = None
        try:
            raw, alone = await read()
            if not alone and raw.get("resultType", "complete") == "complete":
                answer = raw
        except GatewayError as fault:
            answer = fault
            raise
        else:
            return raw, passenger.call_id
        finally:
            del self._under_way[passenger.key]
            for arrival in passenger.waiting or ():
                if not arrival.done():
                    arrival.set_result(answer)
            del answer  # a fault knows this frame, and would be kept by it


def _suits(leader: Passenger, passenger: Passenger) -> bool:
    """Tell whether the answer to another agent's read is one to this read too."""
    return leader.who != passenger.who and leader.told() == passenger.told()
