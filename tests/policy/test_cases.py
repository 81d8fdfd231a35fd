"""Policy tests as data say what is wrong when something is."""

import pytest

from gateway.policy import PolicyLoadError, ServerEntity
from gateway.policy.cases import read_cases, run_cases
from tests.policy.acme import PERMIT_ALL, PRECONDITION, load

BUNDLE = load(PERMIT_ALL, PRECONDITION)
PAID = "{payment_id: p1, payee: ACME, amount: 2}"
CHECKED = f"{{call: fraud.check, arguments: {PAID}, output: {{result: passed}}}}"


def why(case, bundle=BUNDLE):
    text = f"cases: [{{it: works, agent: payer, call: payments.pay, arguments: {PAID}, {case}}}]"
    [result] = run_cases(bundle, read_cases("c.yaml", text))
    assert result.passed is (result.why == "")
    return result.why


def history(*steps, expect="needs_precondition"):
    return f"history: [{', '.join(steps)}], expect: {expect}"


def changed(**changes):
    return CHECKED[:-1] + "".join(f", {name}: {value}" for name, value in changes.items()) + "}"


def test_a_case_that_holds_passes():
    assert why("expect: needs_precondition, reasons: [pay.requires-fraud-check]") == ""
    assert why(history(CHECKED, expect="allow")) == ""


@pytest.mark.parametrize(
    "step",
    [
        changed(status="error"),
        changed(status="executing"),
        changed(status="unknown"),
        changed(ago="16m"),
        changed(ahead="1s"),
        changed(by="reader"),
        changed(other_run="true"),
        changed(consumed="true"),
        CHECKED.replace("p1", "p2"),
        CHECKED.replace("fraud.check", "mail.send"),
        CHECKED.replace("payment_id: p1", "payment_id: 1"),
        CHECKED.replace("payment_id: p1, ", ""),
    ],
)
def test_a_history_is_looked_up_as_the_ledger_would(step):
    assert why(history(step)) == ""


def test_the_latest_step_counts():
    assert why(history(CHECKED, changed(ago="1m", status="error"), expect="allow")) == ""
    assert why(history(changed(ago="2m"), changed(ago="1m", status="error"))) == ""


@pytest.mark.parametrize(("scope", "found"), [("run", False), ("session", False), ("agent", True), ("user", True)])
def test_a_step_of_another_run_is_found_in_wider_scopes(scope, found):
    bundle = load(PERMIT_ALL, PRECONDITION.replace("in run", f"in {scope} within 1h"))
    assert why(history(changed(other_run="true"), expect="allow" if found else "needs_precondition"), bundle) == ""
    assert why(history(changed(ago="2h")), bundle) == ""


def test_another_agents_step_is_not_in_an_agents_scope():
    text = PRECONDITION.replace("in run", "in agent").replace("context.prior.fraud.by == principal &&", "")
    assert why(history(changed(by="reader")), load(PERMIT_ALL, text)) == ""
    assert why(history(changed(by="payer"), expect="allow"), load(PERMIT_ALL, text)) == ""


def test_true_is_not_one():
    scope = 'forbid (principal, action == Gateway::Action::"mail.send", resource)'
    text = f'@id("b") @prior("m: mail.send by urgent=urgent in run") {scope} unless {{ context.prior has m }};'
    bundle = load(PERMIT_ALL, text)
    case = "{{it: x, agent: payer, call: mail.send, arguments: {{to: [], text: a, urgent: true}}, {}}}"
    for urgent, expect in (("1", "deny"), ("true", "allow")):
        past = f"history: [{{call: mail.send, arguments: {{urgent: {urgent}, to: [], text: b}}}}], expect: {expect}"
        [result] = run_cases(bundle, read_cases("c", f"cases: [{case.format(past)}]"))
        assert result.passed


def test_a_wrong_decision_is_told_with_its_message():
    assert why("expect: allow").startswith(
        "expected allow, got needs_precondition by pay.requires-fraud-check. fraud.check must"
    )
    assert why(history(CHECKED)) == "expected needs_precondition, got allow by all."


def test_a_decision_for_another_reason_is_told():
    assert (
        why("expect: needs_precondition, reasons: []") == "expected it by no policy, got it by pay.requires-fraud-check"
    )
    assert why("expect: deny, reasons: [a, b]", load()) == "expected it by a, b, got it by no policy"
    assert why("expect: allow", load()).startswith("expected allow, got deny by no policy.")


def test_a_case_may_say_what_is_carried_or_asked_for():
    asking = '@obligation("approval:leads") forbid (principal, action, resource) unless { context.base has approval };'
    bundle = load(PERMIT_ALL, '@id("a") ' + asking.replace("action,", 'action in Gateway::Action::"call_tool",'))
    assert why("expect: needs_approval, obligations: ['approval:leads']", bundle) == ""
    wrong = why("expect: needs_approval, obligations: []", bundle)
    assert wrong == "expected it with nothing, got it with approval:leads"
    assert why("expect: deny, obligations: []", load()) == ""


def test_a_case_about_an_unknown_tool_fails():
    [result] = run_cases(BUNDLE, read_cases("c", "cases: [{it: x, agent: payer, call: no.tool, expect: deny}]"))
    assert not result.passed
    assert "no.tool" in result.why


def test_what_surrounds_a_call_can_be_set():
    condition = (
        'context.base.taint.contains("web") && context.base has budget && context.base.budget.callsLeft == 0 && '
        'context.base.budget.costLeft == decimal("1.5") && context.base has approval && '
        'context.base.approval.by == Gateway::User::"bob" && context.base.approval.argsMatch && '
        "context.base.approval.quorum == 2 && context.base.approval.at == context.base.now && "
        'context.base has delegator && context.base.delegator == Gateway::User::"eve" && '
        'context.base.env == Gateway::Environment::"staging" && context.base.dryRun'
    )
    bundle = load(
        f'@id("a") permit (principal, action == Gateway::Action::"payments.pay", resource) when {{ {condition} }};'
    )
    around = (
        "around: {environment: staging, on_behalf_of: eve, taint: [web], calls_left: 0, cost_left: '1.5',"
        " approval: {by: bob, quorum: 2}, dry_run: true}"
    )
    assert why(f"{around}, expect: allow", bundle) == ""
    assert why("expect: deny", bundle) == ""


def test_a_call_of_a_child_can_be_tried():
    denying = '@id("b") forbid (principal, action, resource) when { context.base has delegation && '
    denying += 'context.base.delegation.name == "payer:reader" && context.base.delegation.depth == 2 };'
    bundle = load(PERMIT_ALL, denying.replace("action,", 'action in Gateway::Action::"call_tool",'))
    assert why("expect: allow", bundle) == ""
    assert why("around: {delegation: {name: reader}}, expect: allow", bundle) == ""
    assert why("around: {delegation: {name: reader, depth: 2}}, expect: deny, reasons: [b]", bundle) == ""
    assert why("around: {delegation: {scopes: [fraud.*]}}, expect: deny, reasons: []", bundle) == ""


def test_a_file_may_bring_its_own_tools_and_agents():
    cases = read_cases(
        "c",
        """
        tools:
          a.b: {effect: write, input: {type: object}, annotations: {destructiveHint: false}, trusted: true, groups: [g],
            traits: {classification: 3}}
        servers: {a: {trust: 60}}
        agents:
          x: {owner: o, teams: [t], roles: [r]}
        cases: []
        """,
    )
    [pinned], [agent] = cases.pinned(), cases.registered()
    assert (pinned.traits.classification, cases.standing()) == (3, (ServerEntity("a", 60),))
    assert (pinned.name, pinned.server, pinned.groups, pinned.annotations_trusted) == ("a.b", "a", ("g",), True)
    assert (agent.name, agent.owner, agent.teams, agent.roles) == ("x", "o", ("t",), ("r",))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("cases: [", "c.yaml:1:9: yaml"),
        ("\tcases: []", "c.yaml:1:1: yaml"),
        ("cases: [{it: x}]", "c.yaml: cases: cases.0.agent"),
        ("cases: []\nextra: 1", "c.yaml: cases: extra"),
        ("just text", "c.yaml: cases: "),
        ("\x00", "c.yaml: yaml"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(text, place):
    with pytest.raises(PolicyLoadError) as refused:
        read_cases("c.yaml", text)
    assert str(refused.value).startswith(place)


def test_a_case_may_be_about_what_is_no_tool():
    public = '@id("public") permit (principal, action == Gateway::Action::"read_resource", resource)'
    bundle = load(f'{public} when {{ resource.uri like "file:///public/*" }};')

    def told(call, uri, expect):
        text = f"cases: [{{it: works, agent: payer, call: {call}, arguments: {{uri: {uri}}}, expect: {expect}}}]"
        [result] = run_cases(bundle, read_cases("c.yaml", text))
        return result.why

    assert told("files.resources/read", "file:///public/a", "allow, reasons: [public]") == ""
    assert told("files.resources/read", "file:///private/a", "deny, reasons: []") == ""
    assert "no policy" in told("files.resources/read", "file:///private/a", "allow")
    assert "there is no tool" in told("files.resources/write", "file:///public/a", "allow")
