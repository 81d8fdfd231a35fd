"""A bounded memory."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["Recent"]

K = TypeVar("K")
V = TypeVar("V")


class Recent(OrderedDict[K, V]):
    """Remembers the `size` entries that were used last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def keep(self, key: K, value: V) -> None:
        """Remember an entry, as the one used last."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._size:
            self.popitem(last=False)

    def drop(self, keys: Iterable[K]) -> None:
        """Forget these entries."""
        for key in list(keys):
            self.pop(key, None)
