"""What `toolgate doctor` found out about one thing."""

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `fix` is the command that puts it right. A warning does not fail."""

    name: str
    ok: bool
    message: str
    fix: str = ""
    warning: bool = False
