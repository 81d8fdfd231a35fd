"""Whether a credential still works. When it dies, that is one event, whoever shares it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.connector.credential import Behalf
from gateway.model.clock import Clock
from gateway.model.errors import ConnectorFault

__all__ = ["Death", "Life", "Told"]


@dataclass(frozen=True, slots=True)
class Death:
    """Why and when (Unix milliseconds) a credential stopped working, and the command that renews it."""

    reason: str
    since_ms: int
    remedy: str


Told = Callable[["Life", Death], None]
"""Takes the one event of a death."""


_Stamp = tuple[int, int] | None


class Life:
    """One credential, dead or alive. It comes back to life when one of its marks is written after its death."""

    def __init__(self, kind: str, behalf: Behalf, clock: Clock, told: Told) -> None:
        self.kind: Final = kind
        self.behalf: Final = behalf
        self.marks: dict[str, tuple[Path, ...]] = {}
        """The servers that share it, each with the files one of which is touched when a person renews it."""
        self.death: Death | None = None
        self.is_consent = False
        """Whether it is a user's own consent, which they may give anew."""

        self._clock = clock
        self._told = told
        self._seen: dict[Path, _Stamp] = {}
        self._known: dict[Path, _Stamp] = {}

    def end(self, reason: str) -> ConnectorFault:
        """Note that it no longer works, once, and return what the caller is told whose request showed it."""
        if self.death is None:
            self._seen = {mark: _stamp(mark) for marks in self.marks.values() for mark in marks}
            self.death = Death(reason, self._clock.now_ms(), self.remedy)
            self._told(self, self.death)
        return self._fault("it was refused", sent=True)

    def was_touched(self) -> bool:
        """Tell whether a person has touched a mark since this was asked last: they may have taken a consent back."""
        before, self._known = self._known, {mark: _stamp(mark) for marks in self.marks.values() for mark in marks}
        return any(before.get(mark, stamp) != stamp for mark, stamp in self._known.items())

    @property
    def remedy(self) -> str:
        """The command a person renews it with."""
        server = next(iter(self.marks), "SERVER")
        user = f" --user {shlex.quote(self.behalf.user)}" if self.behalf.user else ""
        if self.kind == "authorization_code":
            return f"toolgate credential connect {server}{user}"
        return f"toolgate credential renew {server}"

    def check(self) -> None:
        """Return if it works, as far as is known. Raises `ConnectorFault`, before anything is sent."""
        if self.death is None:
            return
        if all(_stamp(mark) == seen for mark, seen in self._seen.items()):
            raise self._fault("nothing was sent", sent=False)
        self.death = None

    def _fault(self, what: str, *, sent: bool) -> ConnectorFault:
        whose = f"The credential of {self.behalf.user}" if self.behalf.user else "The gateway's credential"
        text = f"{whose} for this server no longer works: {what}. Repeating will not help; renew it: `{self.remedy}`."
        reason = self.death.reason if self.death else ""
        fault = ConnectorFault(text, code="credential_expired", detail=reason, sent=sent)
        fault.wants_consent = self.is_consent
        return fault


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
