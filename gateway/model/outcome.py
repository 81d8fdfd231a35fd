"""How a call ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model.decision import Decision
from gateway.model.errors import GatewayError
from gateway.model.light import light

__all__ = ["Denied", "Failed", "Outcome", "Succeeded", "Unknown", "Waiting"]


@light
@dataclass(frozen=True, slots=True)
class Succeeded:
    """The tool answered. `result` is its raw MCP result object; `replayed_from` is set on an answer from the record."""

    result: Mapping[str, Any] = field(repr=False)
    replayed_from: str | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """The policies refused, or a person did; nothing was sent.

    `code` is `denied`, `approval_denied`, or `approval_edited`: then the call that a person put in its place is the
    decision's remedy. `approval` is the id of what that person decided.
    """

    decision: Decision
    code: str = "denied"
    approval: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The call is parked, or waits for a step in flight; repeating it resolves it.

    `approval` is the id of what people are asked, where it is them it waits `on`. `answer` is the result that its
    caller gets instead of a refusal: that it is carried out as a task, which has the id `on`, or that it is a draft.
    """

    on: str
    message: str
    retry_after_s: float
    approval: str = ""
    answer: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault ended the call. What was sent, if anything, is known to have had no unrecorded effect."""

    error: GatewayError


@dataclass(frozen=True, slots=True)
class Unknown:
    """The call was sent and its outcome is not known; it is never retried by itself."""

    error: GatewayError


Outcome = Succeeded | Denied | Waiting | Failed | Unknown
