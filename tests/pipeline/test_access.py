"""What agents may do, held against what they did; and less, under which every recorded call comes out the same."""

from collections.abc import Mapping, Sequence

import pytest

from gateway.catalog.config import ToolRule
from gateway.ledger.retention import Retention
from gateway.model.identity import Identity
from gateway.model.request import DryRun
from gateway.pipeline.access import AccessReview, Checked, Held, Less, Tighter
from gateway.policy import Bundle, Outlook, PolicySource, compile_allow
from gateway.store.ports import EventFilter
from tests.pipeline.gate import DEFINITIONS, PAYMENT, PRECONDITION, Gate, answer, request
from tests.pipeline.people import a_gate, asked

PAYER, OTHER = Identity("payer", "", ""), Identity("other", "", "")
DAY_S = 86_400
SMALL = """
@id("small") permit (principal == Gateway::Agent::"payer", action == Gateway::Action::"payments.pay", resource)
when { context.input has amount && context.input.amount.lessThan(decimal("500.0")) };
"""
READ = '@id("read") permit (principal, action == Gateway::Action::"read_resource", resource);'
WANTED = EventFilter(limit=2**63 - 1)


def texts(allow: Mapping[str, Sequence[str]], *policies: str) -> list[str]:
    return [*(source.text for source in compile_allow(allow)), *policies]


def tighter(gate: Gate, allow: Mapping[str, Sequence[str]], *policies: str) -> Tighter:
    """Build the policies of a gate with other lists and more Cedar, as the files of a gateway would."""
    bundle = gate.rules.current.bundle
    tools, agents = tuple(bundle.tools.values()), tuple(bundle.agents.values())

    def build(shorter: Mapping[str, Sequence[str]], cedar: str) -> Bundle:
        found = texts({**allow, **shorter}, *policies, *([cedar] if cedar else []))
        sources = [PolicySource(f"{number}.cedar", text) for number, text in enumerate(found, 1)]
        return Bundle.load(sources, tools, agents, bundle.options)

    return build


async def reviewed(
    gate: Gate, allow: Mapping[str, Sequence[str]], *policies: str, builds: Tighter | None = None
) -> tuple[dict[str, Held], Mapping[str, Less], Checked]:
    review = AccessReview(gate.store, gate.rules.current.bundle, allow, DEFINITIONS)
    held = await review.held([PAYER, OTHER], WANTED)
    less, checked = await review.less(held, [PAYER, OTHER], WANTED, builds or tighter(gate, allow, *policies))
    return {one.agent: one for one in held}, less, checked


def gate_with(allow: Mapping[str, Sequence[str]], *policies: str, **more: object) -> Gate:
    gate = Gate(*texts(allow, *policies), **more)  # type: ignore[arg-type]
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    return gate


async def test_what_an_agent_did_not_use_is_named_and_its_list_shortened_to_what_it_did() -> None:
    allow = {"payer": ["payments.*", "fraud.*"], "other": ["mail.send"]}
    gate = gate_with(allow, PRECONDITION)
    await gate.run("fraud_check")
    await gate.run("payments_pay")
    await gate.run("payments_pay", {**PAYMENT, "payment_id": "p_18"})  # refused: it was not checked
    await gate.run("mail_send", {"to": "ann"})  # refused: it may not
    await gate.run("mail_send", {"to": "ann"}, agent="other")
    held, less, checked = await reviewed(gate, allow, PRECONDITION)
    payer = held["payer"]
    assert (payer.used, payer.refused) == ({"fraud.check": 1, "payments.pay": 1}, {"payments.pay": 1, "mail.send": 1})
    assert {"payments.list", "payments.settle", "payments.resources/read"} < set(payer.unused)
    assert not {"payments.pay", "mail.send"} & set(payer.unused)
    assert less == {"payer": Less(["fraud.check", "payments.pay"])}  # `other` used all it has
    assert checked == Checked(5)


async def test_what_other_policies_permit_is_held_back_by_cedar_and_never_permitted_without_their_conditions() -> None:
    allow = {"payer": ["fraud.*"]}
    everything = '@id("all") permit (principal, action in Gateway::Action::"call_tool", resource);'
    gate = gate_with(allow, SMALL, everything)
    await gate.run("payments_pay")
    held, less, _ = await reviewed(gate, allow, SMALL, everything)
    assert less["payer"].allow == []
    assert 'resource == Gateway::Tool::"payments.pay"' in less["payer"].cedar
    assert 'resource in Gateway::Server::"mail");' in less["payer"].cedar
    assert less["payer"].left == ()
    assert less["other"].allow is None
    assert 'principal == Gateway::Agent::"other"' in less["other"].cedar
    assert held["other"].used == {}


async def test_documents_are_grants_of_their_own_and_what_cannot_be_told_apart_is_said_to_be_left() -> None:
    allow = {"payer": ["mail.resources/read", "mail.send"]}
    gate = gate_with(allow, READ)
    await gate.run("mail_send", {"to": "ann"})
    _, less, _ = await reviewed(gate, allow, READ)
    assert less["payer"].allow == ["mail.send"]
    assert less["payer"].left == ("mail.resources/read", "mail.resources/subscribe")


@pytest.mark.parametrize(
    "condition",
    [
        'context.base.delegatedScopes.contains("pay")',
        'context.base has delegator && context.base.delegator in Gateway::Role::"cashiers"',
    ],
)
async def test_what_an_agents_token_may_say_of_a_call_is_taken_to_be_said(condition: str) -> None:
    permit = f'permit (principal, action == Gateway::Action::"payments.pay", resource) when {{ {condition} }};'
    held, _, _ = await reviewed(gate_with({}, f'@id("by") {permit}'), {}, f'@id("by") {permit}')
    assert held["payer"].granted == {"payments.pay": Outlook.CONDITIONAL}


async def test_what_may_answer_in_the_place_of_a_tool_and_what_takes_it_back_stays() -> None:
    tools = {
        "payments.list": ToolRule.model_validate({"fallback": ["fraud.check"]}),
        "payments.settle": ToolRule.model_validate(
            {"effect": "write", "idempotent": True, "idempotency_key": ["payment_id"], "undo": "mail.send"}
        ),
    }
    allow = {"payer": ["*"]}
    gate = gate_with(allow, tools=tools)
    await gate.run("payments_list", {})
    await gate.run("payments_settle")
    _, less, _ = await reviewed(gate, allow)
    assert less["payer"].allow == ["fraud.check", "mail.send", "payments.list", "payments.settle"]


async def test_a_call_through_another_tool_used_both_and_a_dry_run_none() -> None:
    allow = {"payer": ["payments.*"]}
    own = '@id("own") permit (principal, action == Gateway::Action::"tools.call", resource);'
    gate = gate_with(allow, own)
    await gate.entry.run(request("tools_call", {"name": "payments_list", "arguments": {"limit": 1}}))
    await gate.run("payments_pay", dry_run=DryRun())
    held, less, _ = await reviewed(gate, allow, own)
    assert held["payer"].used == {"payments.list": 1, "tools.call": 1}
    assert less["payer"].allow == ["payments.list", "payments.pay"]  # so that the dry run comes out as it did
    assert "payments.pay" in held["payer"].unused


async def test_a_call_that_waits_for_a_person_is_a_use() -> None:
    gate = a_gate()
    await asked(gate)
    held, _, _ = await reviewed(gate, {}, builds=lambda allow, cedar: gate.rules.current.bundle)
    assert held["payer"].used == {"payments.pay": 1}


async def test_what_is_not_there_was_refused_and_what_was_wrong_otherwise_does_not_count() -> None:
    allow = {"payer": ["payments.*"]}
    gate = gate_with(allow)
    await gate.run("nowhere", {})
    await gate.run("payments_pay", {"amount": "much"})
    held, _, checked = await reviewed(gate, allow)
    assert (held["payer"].refused, held["payer"].used, checked) == ({"nowhere": 1}, {}, Checked(0))


async def test_calls_whose_bodies_went_still_count_and_are_said_to_be_left_out() -> None:
    allow = {"payer": ["payments.*"]}
    gate = gate_with(allow)
    await gate.run("payments_pay")
    await gate.run("payments_list", {})
    await gate.run("mail_send", {"to": "ann"})
    gate.clock.passed += 200 * DAY_S
    await Retention(gate.store, lambda: 180 * DAY_S * 1000, gate.clock).run()
    held, less, checked = await reviewed(gate, allow)
    assert held["payer"].used == {"payments.pay": 1, "payments.list": 1}
    assert held["payer"].refused == {"mail.send": 1}
    assert less["payer"].allow == ["payments.list", "payments.pay"]
    assert checked == Checked(0, {"removed by retention": 3})


async def test_a_tool_that_was_granted_since_it_was_refused_stays_so_that_the_call_comes_out_the_same() -> None:
    gate = gate_with({"payer": ["payments.pay"]})
    await gate.run("payments_list", {})
    now = {"payer": ["payments.*"]}
    gate.rules.current = gate_with(now).rules.current
    _, less, _ = await reviewed(gate, now)
    assert less["payer"] == Less(["payments.list"])


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ([], "1 recorded call(s) would come out otherwise, first call_1"),
        (['@id("all") permit (principal, action in Gateway::Action::"call_tool", resource);'], "it would grant"),
    ],
)
async def test_less_that_is_not_less_or_decides_otherwise_is_not_proposed(policies: list[str], said: str) -> None:
    allow = {"payer": ["payments.*"]}
    gate = gate_with(allow)
    await gate.run("payments_pay")
    wrong = tighter(gate, {}, *policies)
    _, less, _ = await reviewed(gate, allow, builds=lambda shorter, cedar: wrong({}, ""))
    assert less["payer"].why_not.startswith(said)
    assert less["payer"].allow is None
