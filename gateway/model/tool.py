"""A tool as the catalog pins it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from gateway.model.answers import PLAIN, Answers
from gateway.model.contract import Contract
from gateway.model.lookup import Lookup

__all__ = ["P95", "Effect", "Tool", "Traits", "anything", "unquoted"]

P95: Final = "p95"
"""In the place of seconds: longer than 95 % of the tool's last calls took."""


class Effect(StrEnum):
    """What a call of the tool can do to the world."""

    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"


def anything(value: Any) -> str:
    """Accept any value: the check of a tool without a schema."""
    del value
    return ""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the operator says of a tool beside its effect; None where nothing is said.

    `open_world`: it reaches what anybody may have written. `sink`: what it is given may leave the house.
    `classification` is how sensitive its answers are, on the operator's own scale.
    """

    destructive: bool | None = None
    open_world: bool | None = None
    reversible: bool | None = None
    sink: bool | None = None
    classification: int = 0


def unquoted(quarantined: str) -> str:
    """Return why a tool is in quarantine, with nothing of what its server says of itself now."""
    return quarantined.partition(" (")[0].partition(": ")[0]


@dataclass(frozen=True, slots=True)
class Tool:
    """One pinned version of one tool.

    `name` is canonical (`payments.pay`), `wire_name` what agents see (`payments_pay`), `upstream_name` what the
    server calls it. `definition` is the pinned MCP tool object, unchanged. `digest` is the SHA-256 of what in it an
    agent acts on. `breaks_input` and `breaks_output` say what in a value breaks the pinned schemas, or nothing.
    `idempotency_key` lists the arguments whose values name one effect for ever; with `once_per_run` all of them name
    one within a run. `quarantined` says why the tool may not be called, or is empty. `deadline_s` bounds a whole call,
    retries included, and `attempt_s` one attempt that is not the last, where another cannot double anything. A read
    with a `hedge` is asked a second time when it has not been answered after so many seconds.
    `annotations_trusted` is True once a person vouched for the server's hints; `effect_hinted` is True while nothing
    else speaks for `effect`. `answers` is what the operator declares of its answers, `lookup` how a call in doubt is
    looked up. With `refuses_secrets` no call goes out in whose arguments there is a secret. `contract` is set where the
    agent that calls it is held at another version.

    One that `drafts` is carried out only as an approved draft, by who made the draft or by one of the `executors`.

    `undo` is the tool that takes its effect back, with the arguments of the same names, or those that `undo_arguments`
    takes from `input.…` and `output.…`.

    What else of a server is governed is a tool too, called as its canonical name `server.method` says
    (`files.resources/read`): `method` is the MCP method, and its arguments are the request's params.
    """

    name: str
    wire_name: str
    server: str
    upstream_name: str
    version: int
    digest: str
    effect: Effect
    definition: Mapping[str, Any] = field(repr=False)
    input_schema: Mapping[str, Any] = field(repr=False)
    output_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    breaks_input: Callable[[Any], str] = field(default=anything, repr=False, compare=False)
    breaks_output: Callable[[Any], str] = field(default=anything, repr=False, compare=False)
    idempotent: bool = False
    idempotency_key: tuple[str, ...] = ()
    deadline_s: float = 60.0
    attempt_s: float | None = None
    hedge: float | Literal["p95"] | None = None
    annotations_trusted: bool = False
    effect_hinted: bool = False
    traits: Traits = Traits()
    quarantined: str = ""
    method: str = "tools/call"
    groups: tuple[str, ...] = ()
    undo: str = ""
    undo_arguments: tuple[tuple[str, str], ...] = ()
    accept_irreversible: bool = False
    answers: Answers = PLAIN
    once_per_run: bool = False
    lookup: Lookup | None = field(default=None, compare=False)
    refuses_secrets: bool = False
    contract: Contract | None = None
    drafts: bool = False
    executors: tuple[str, ...] = ()

    @property
    def held_back(self) -> str:
        """Why it may not be called, as agents may be told."""
        return unquoted(self.quarantined)

    @property
    def listed(self) -> Mapping[str, Any]:
        """The definition that the agent it is spoken with knows; a draft is no such output as its schema says."""
        known = self.definition if self.contract is None else self.contract.definition
        if not self.drafts:
            return known
        shown = {name: each for name, each in known.items() if name not in {"outputSchema", "execution"}}
        return {**shown, "description": f"{known.get('description', '')} {_DRAFTS}".strip()}


_DRAFTS: Final = (
    "(A call makes a draft and does nothing yet: a person looks at it, and approvals_execute carries it out once it is "
    "approved.)"
)
