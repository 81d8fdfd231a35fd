"""What a call costs, and what it takes of which budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.model.light import light

__all__ = ["NO_BILL", "Bill", "Charge", "Left"]


@light
@dataclass(frozen=True, slots=True)
class Charge:
    """What a claim takes of one budget, in millionths: `amount`, which is reserved if `needs` is left of `most`.

    It is counted in the part of time that begins at `start_ms`; what counts against it began at `since_ms` or later.
    """

    key: str
    unit: str
    start_ms: int
    since_ms: int
    most: int
    needs: int
    amount: int


@light
@dataclass(frozen=True, slots=True)
class Bill:
    """What a call costs by its declared prices, in millionths by unit, and what it is charged to, as of a time."""

    at_ms: int
    cost: Mapping[str, int]
    charges: tuple[Charge, ...] = ()


NO_BILL: Final = Bill(0, MappingProxyType({}))


@light
@dataclass(frozen=True, slots=True)
class Left:
    """What is left, as policies see it: of calls, and of the money (a decimal text) of the budget with least left."""

    calls: int
    cost: str
