"""How it is found out whether a call whose outcome is not known has happened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["BY_CONNECTOR", "Lookup"]

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question whose answer ends the doubt about a call.

    `tool` is the read that is asked, by canonical name; empty where the tool's own connector knows how to ask. It is
    called with the arguments of the call, changed by `arguments`, and with its idempotency key as the argument `key`.
    `happened` and `absent` say what in its answer breaks that it did, or that it did not; where both break something,
    the doubt stays. `result` makes of its answer one of the tool. With `after_each` it is put after every call as well,
    whose answer is believed only where it says that the call happened.
    """

    tool: str = ""
    arguments: Callable[[Fields], Fields] | None = field(default=None, repr=False)
    key: str = ""
    happened: Callable[[Fields], str] | None = field(default=None, repr=False)
    absent: Callable[[Fields], str] | None = field(default=None, repr=False)
    result: Callable[[Fields], Fields] | None = field(default=None, repr=False)
    after_each: bool = False


BY_CONNECTOR: Final = Lookup()
"""The connector looks it up itself."""
