"""Calls as the pipeline makes them, as far as a test needs them to have come."""

from collections.abc import Mapping
from typing import Any

from gateway.codec import digest
from gateway.model.call import Call
from gateway.model.decision import Decision, DecisionInput, Remedy
from gateway.model.facts import Facts, RunRef, Step, StepStatus
from gateway.model.identity import ClientInfo, Credential, Identity
from gateway.model.request import Caller, CallRequest
from gateway.model.tool import Effect, Tool

T0 = 1_800_000_000_000
RUN = RunRef("run_1", "billing/ann", "key")
PRIOR = Step(
    call_id="call_0",
    tool="fraud.check",
    agent="billing",
    run_id="run_1",
    status=StepStatus.SUCCEEDED,
    started_at_ms=T0 - 20,
    at_ms=T0 - 10,
    arguments={"payment_id": 7, "token": "secret"},
    output={"risk": "low"},
    on_behalf_of="ann",
    labels=("stale",),
)
FACTS = Facts(now_ms=T0, run=RUN, step=3, priors={"fraud": PRIOR}, environment="staging")
DECISION = Decision(
    allowed=True,
    bundle="sha256:bundle",
    policies=("pay", "limits"),
    message="why not",
    remedies=(Remedy("fraud.check", {"payment_id": 7}),),
    obligations=(("notify", "ops"),),
    shadow=("new",),
    errors=("odd",),
)
GIVEN = DecisionInput(
    principal={"type": "Agent", "id": "billing"},
    action={"type": "Action", "id": "payments.pay"},
    resource={"type": "Tool", "id": "payments.pay"},
    context={"input": {"token": "secret"}},
    entities=({"uid": {"type": "Agent", "id": "billing"}},),
    notes={"prior": {"fraud": "call_0"}},
)
IDENTITY = Identity("billing", "token", "tok_1", owner="finance", on_behalf_of="ann", delegation=("planner", "billing"))


def tool(effect: Effect = Effect.IRREVERSIBLE, **fields: Any) -> Tool:
    known: dict[str, Any] = {
        "name": "payments.pay",
        "wire_name": "payments_pay",
        "server": "payments",
        "upstream_name": "pay",
        "version": 2,
        "digest": "sha256:tool",
        "definition": {},
        "input_schema": {},
    }
    return Tool(effect=effect, **(known | fields))


def asked(call_id: str = "call_1", arguments: Mapping[str, Any] | None = None, key: str | None = None) -> Call:
    """A call that just arrived."""
    caller = Caller(
        Credential("bearer", "tg_secret"),
        transport="http",
        era="2026-07-28",
        client=ClientInfo("agent", "1.2"),
        session="s",
    )
    request = CallRequest(
        "payments_pay", {"amount": 1} if arguments is None else arguments, caller, idempotency_key=key
    )
    return Call(call_id, request, T0)


def decided(call_id: str = "call_1", arguments: Mapping[str, Any] | None = None, **slots: Any) -> Call:
    """A call that was decided on, up to the claim; `slots` override."""
    call = asked(call_id, arguments)
    filled: dict[str, Any] = {
        "identity": IDENTITY,
        "tool": tool(),
        "arguments": call.request.arguments,
        "arguments_digest": digest(call.request.arguments),
        "facts": FACTS,
        "step_key": None,
        "given": GIVEN,
        "decision": DECISION,
    }
    for name, value in (filled | slots).items():
        setattr(call, name, value)
    return call


def unchanged(value: Any) -> Any:
    """The redaction that takes nothing out."""
    return value
