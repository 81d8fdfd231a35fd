"""The tools, agents and policies most policy tests are about."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.model.decision import Decision
from gateway.model.facts import Facts, RunRef, Step, StepStatus
from gateway.model.identity import Identity
from gateway.model.tool import Effect, Tool
from gateway.policy import AgentEntity, Bundle, LoadOptions, PolicySource, decide, decision_input

NOW = 1_767_225_600_000
MINUTE = 60_000
RUN = RunRef("run_1", "payer", "open")
PAYER = Identity("payer", "token", "tok_1", teams=("finance",))
PAYMENT = {"payment_id": "p_17", "payee": "ACME", "amount": 250}

STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}


def record(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def tool(name: str, arguments: Mapping[str, Any], effect: Effect = Effect.READ, **more: Any) -> Tool:
    server, _, upstream = name.partition(".")
    details = {
        "wire_name": name.replace(".", "_"),
        "server": server,
        "upstream_name": upstream,
        "version": 1,
        "digest": f"sha256:{name}",
        "definition": {"name": upstream},
        **more,
    }
    return Tool(name=name, effect=effect, input_schema=arguments, **details)


_PAYMENT = record("payment_id", "payee", payment_id=STRING, payee=STRING, amount=NUMBER)
CHECK = tool("fraud.check", _PAYMENT, output_schema=record("result", result=STRING, score=INTEGER))
PAY = tool("payments.pay", _PAYMENT, Effect.IRREVERSIBLE)
LIST = tool("payments.list", record(limit=INTEGER))
MAIL = tool(
    "mail.send",
    record("to", "text", to={"type": "array", "items": STRING}, text=STRING, urgent=BOOLEAN),
    Effect.WRITE,
    groups=("outbound",),
)
TOOLS = (CHECK, PAY, LIST, MAIL)
AGENTS = (AgentEntity("payer", owner="finance@acme.example", teams=("finance",)), AgentEntity("reader"))

CALL = 'action in Gateway::Action::"call_tool"'
PAYING = 'action == Gateway::Action::"payments.pay"'
LETTER = {"to": ["a@example.com"], "text": "hello"}
PERMIT_ALL = '@id("all") permit (principal, action in Gateway::Action::"call_tool", resource);'
PRECONDITION = """
@id("pay.requires-fraud-check")
@prior("fraud: fraud.check by payment_id=payment_id in run use once")
@message("fraud.check must have passed for this payment, payee and amount in the last 15 minutes.")
@remedy("fraud.check")
forbid (principal, action == Gateway::Action::"payments.pay", resource)
unless {
  context.prior has fraud &&
  context.prior.fraud.status == "ok" && !context.prior.fraud.consumed &&
  context.prior.fraud.by == principal &&
  context.prior.fraud has output && context.prior.fraud.output.result == "passed" &&
  context.input has amount && context.prior.fraud.input has amount &&
  context.prior.fraud.input.amount == context.input.amount &&
  context.prior.fraud.input.payee == context.input.payee &&
  context.base.now.durationSince(context.prior.fraud.at) >= duration("0s") &&
  context.base.now.durationSince(context.prior.fraud.at) <= duration("15m")
};
"""


def load(
    *texts: str,
    tools: Sequence[Tool] = TOOLS,
    agents: Sequence[AgentEntity] = AGENTS,
    options: LoadOptions | None = None,
) -> Bundle:
    sources = [PolicySource(f"{number}.cedar", text) for number, text in enumerate(texts, 1)]
    return Bundle.load(sources, tools, agents, options or LoadOptions())


def step(of: str = "fraud.check", **changes: Any) -> Step:
    """A fraud check for PAYMENT that passed a minute ago."""
    made: dict[str, Any] = {
        "call_id": "call_1",
        "tool": of,
        "agent": "payer",
        "run_id": "run_1",
        "status": StepStatus.SUCCEEDED,
        "started_at_ms": NOW - MINUTE,
        "at_ms": NOW - MINUTE,
        "arguments": PAYMENT,
        "output": {"result": "passed"},
    }
    return Step(**{**made, **changes})


def facts(**priors: Step) -> Facts:
    return Facts(NOW, RUN, priors=priors)


def ask(
    bundle: Bundle, called: Tool, arguments: Mapping[str, Any], known: Facts | None = None, who: Identity = PAYER
) -> Decision:
    return decide(bundle, decision_input(bundle, who, called, arguments, known or facts()))


def forbidding(condition: str, action: str = CALL, annotations: str = "") -> str:
    return f'@id("no") {annotations} forbid (principal, {action}, resource) when {{ {condition} }};'


def is_denied_when(
    condition: str,
    called: Tool = LIST,
    arguments: Mapping[str, Any] | None = None,
    known: Facts | None = None,
    who: Identity = PAYER,
) -> bool:
    """Tell whether a forbid on this condition applies to a call that is otherwise allowed."""
    decision = ask(load(PERMIT_ALL, forbidding(condition)), called, arguments or {}, known, who)
    assert decision.errors == ()
    return decision.policies == ("no",)
