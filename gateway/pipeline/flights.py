"""Reads under way, so that what several agents read in one run at once is read once."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.model.errors import GatewayError

__all__ = ["Flights", "Passenger", "Raw"]

Raw = Mapping[str, Any]
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

    def leads(self, passenger: Passenger) -> bool:
        """Tell whether a read is the first of its key. It is to be made then, and its passenger to `land`."""
        if passenger.key in self._under_way:
            return False
        self._under_way[passenger.key] = passenger
        return True

    async def shared(self, passenger: Passenger) -> tuple[Raw, str] | None:
        """Return the answer of the read that is under way, and whose call made it. Raises what that raised.

        None where there is none for this passenger, who is to read then, and to `land`.
        """
        while not self.leads(passenger):
            leader = self._under_way[passenger.key]
            if not _suits(leader, passenger):
                return None
            arrival: _Arrival = asyncio.get_running_loop().create_future()
            leader.waiting = [*(leader.waiting or ()), arrival]
            answer = await arrival
            if isinstance(answer, GatewayError):
                raise answer
            if answer is not None:
                return answer, leader.call_id
        return None

    def land(self, passenger: Passenger, answer: Raw | GatewayError | None) -> None:
        """End a passenger's read. Those who wait get its `answer`; where there is none for others, the next one reads.

        There is none where the read was called off, or the server had a question to its client.
        """
        if self._under_way.get(passenger.key) is passenger:
            del self._under_way[passenger.key]
        for arrival in passenger.waiting or ():
            if not arrival.done():
                arrival.set_result(answer)


def _suits(leader: Passenger, passenger: Passenger) -> bool:
    """Tell whether the answer to another agent's read is one to this read too."""
    return leader.who != passenger.who and leader.told() == passenger.told()
