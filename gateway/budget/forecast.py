"""What the coming days will cost, going by those that were: a mean, and the bounds that four of five will be within."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt
from statistics import fmean, stdev
from typing import Final

__all__ = ["LEAST_DAYS", "Forecast", "forecast"]

LEAST_DAYS: Final = 7
"""From fewer whole days nothing is foretold: a week has its own pattern."""

# Of Student's t, 80 % two-sided, by degrees of freedom; from 30 on those of the normal distribution are near enough.
_T: Final = (1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345, 1.341, 1.337, 1.333, 1.330, 1.328, 1.325)
_T_FROM: Final = 6
_T_MORE: Final = 1.30


@dataclass(frozen=True, slots=True)
class Forecast:
    """What so many days are expected to cost, in millionths, and between which amounts with a likelihood of 80 %."""

    days: int
    expected: int
    low: int
    high: int


def forecast(daily: Sequence[int], days: int) -> Forecast | None:
    """Return what `days` will cost, from what each of the whole days before cost; None from fewer than `LEAST_DAYS`.

    Days are taken as independent of one another, and the mean as uncertain as their number leaves it: a prediction
    interval, not one of the mean. What grows or falls steadily is outside it.
    """
    if len(daily) < LEAST_DAYS:
        return None
    mean = fmean(daily)
    spread = stdev(daily) * sqrt(days + days * days / len(daily)) * _t(len(daily) - 1)
    return Forecast(days, round(days * mean), max(floor(days * mean - spread), 0), ceil(days * mean + spread))


def _t(freedom: int) -> float:
    return _T[freedom - _T_FROM] if freedom - _T_FROM < len(_T) else _T_MORE
