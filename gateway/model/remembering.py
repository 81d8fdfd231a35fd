"""What a method answered, remembered by its object, which still goes with its last user."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakMethod

__all__ = ["borrowed", "remembering"]

T = TypeVar("T")


def borrowed(method: Callable[..., T]) -> Callable[..., T]:
    """Return a bound method without a hold on its object, for what is used by that object alone.

    An object that holds what holds it stays in memory until the collector looks through everything. That is rare in a
    gateway: its calls leave nothing behind to be collected.
    """
    found = WeakMethod(method)

    def call(*given: Any, **named: Any) -> T:
        bound: Any = found()
        answer: T = bound(*given, **named)
        return answer

    return call


def remembering(most: int, method: Callable[..., T]) -> Callable[..., T]:
    """Return a borrowed method that knows the `most` answers it gave last, by what it was given."""
    return lru_cache(maxsize=most)(borrowed(method))
