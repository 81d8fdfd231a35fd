"""Short ways to say what a ledger is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.model.facts import PriorScope, StepStatus
from gateway.store.ports import Claimed, ClaimVerdict, Ending, Intent, Ledger, Record, StepLookup, StepUse

T0 = 1_800_000_000_000


def intent(
    call_id: str, tool: str = "payments.pay", arguments: Mapping[str, Any] | None = None, **fields: Any
) -> Intent:
    """An intent of agent `billing` in run `run_1`, for nobody, with no step key, unless `fields` say otherwise."""
    known: dict[str, Any] = {
        "at_ms": T0,
        "run_id": "run_1",
        "session": "",
        "agent": "billing",
        "on_behalf_of": "",
        "arguments_digest": "sha256:1",
        "step_key": None,
        "body": {"arguments": dict(arguments or {})},
    }
    return Intent(call_id=call_id, tool=tool, **(known | fields))


def ending(call_id: str, status: StepStatus = StepStatus.SUCCEEDED, output: Any = None, **fields: Any) -> Ending:
    """An ending one second later, whose result has `output` as its structured content."""
    result = {"content": [], "structuredContent": output}
    return Ending(call_id=call_id, status=status, **({"at_ms": T0 + 1000, "body": {"result": result}} | fields))


def record(call_id: str, **fields: Any) -> Record:
    """A recorded read of `payments.list` by agent `billing` in run `run_1`."""
    known: dict[str, Any] = {
        "at_ms": T0,
        "run_id": "run_1",
        "agent": "billing",
        "on_behalf_of": "",
        "tool": "payments.list",
        "body": {"outcome": "succeeded"},
    }
    return Record(call_id=call_id, **(known | fields))


def lookup(
    tool: str = "fraud.check", owner: str = "run_1", values: Sequence[tuple[str, Any]] = (), **f: Any
) -> StepLookup:
    """A lookup in the scope of a run."""
    return StepLookup(tool=tool, owner=owner, values=tuple(values), **({"scope": PriorScope.RUN} | f))


def use(call_id: str, asked: StepLookup, status: StepStatus = StepStatus.SUCCEEDED, *, consume: bool = True) -> StepUse:
    """The use of a step that succeeded, once."""
    return StepUse(asked, call_id, status, consume)


async def step(ledger: Ledger, call_id: str, arguments: Mapping[str, Any], tool: str = "fraud.check", **f: Any) -> None:
    """Claim a step and let it succeed."""
    claimed = await ledger.claim(intent(call_id, tool, arguments, **f))
    assert claimed == Claimed(ClaimVerdict.CLAIMED)
    await ledger.finish(ending(call_id, output={"ok": True}))
