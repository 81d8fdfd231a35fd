"""`workflows:` compile to Cedar that says the same."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from gateway.model.answers import Answers, Label
from gateway.model.facts import PriorScope
from gateway.model.tool import Effect
from gateway.policy import (
    Bundle,
    PolicyLoadError,
    PolicySource,
    Require,
    WorkflowSection,
    compile_workflows,
)
from tests.policy.acme import (
    AGENTS,
    BOOLEAN,
    INTEGER,
    NUMBER,
    PAY,
    PAYMENT,
    PERMIT_ALL,
    STRING,
    TOOLS,
    ask,
    facts,
    record,
    step,
    tool,
)

REQUIRE = {"call": "fraud.check", "same": ["payment_id"]}


def workflow(*requires, call="payments.pay", key="payment_id"):
    return WorkflowSection.model_validate({"key": key, "rules": [{"call": call, "require": list(requires)}]})


def compiled(section, tools=TOOLS):
    sources = [PolicySource("all", PERMIT_ALL), *compile_workflows({"w": section}, tools)]
    return Bundle.load(sources, tools, AGENTS)


def problem_of(section, tools=TOOLS):
    with pytest.raises(PolicyLoadError) as refused:
        compile_workflows({"w": section}, tools)
    [problem] = refused.value.problems
    return problem


def test_a_workflow_reads_as_the_cedar_people_write():
    require = {
        **REQUIRE,
        "same": ["payment_id", "amount"],
        "where": {"result": "passed"},
        "within": "15m",
        "once": True,
    }
    [source] = compile_workflows({"pay-invoice": workflow(require)}, TOOLS)
    assert source.name == "workflows.pay-invoice"
    step_name = "pay_invoice_payments_pay_fraud_check"
    assert source.text == (
        '@id("workflow.pay-invoice.payments.pay.fraud.check")\n'
        f'@prior("{step_name}: fraud.check by payment_id=payment_id in run use once")\n'
        '@message("fraud.check must have succeeded for the same payment_id, amount, with result passed'
        ' in the last 15m; each such call serves once.")\n'
        '@remedy("fraud.check")\n'
        'forbid (principal, action == Gateway::Action::"payments.pay", resource)\n'
        "unless {\n"
        f"  context.prior has {step_name} &&\n"
        f'  context.prior.{step_name}.status == "ok" &&\n'
        f"  !context.prior.{step_name}.consumed &&\n"
        f"  context.prior.{step_name}.by == principal &&\n"
        f"  context.prior.{step_name} has output &&\n"
        f'  context.prior.{step_name}.output.result == "passed" &&\n'
        f"  context.prior.{step_name}.input.payment_id == context.input.payment_id &&\n"
        "  context.input has amount &&\n"
        f"  context.prior.{step_name}.input has amount &&\n"
        f"  context.prior.{step_name}.input.amount == context.input.amount &&\n"
        f'  context.base.now.durationSince(context.prior.{step_name}.at) >= duration("0s") &&\n'
        f'  context.base.now.durationSince(context.prior.{step_name}.at) <= duration("15m")\n'
        "};\n"
    )


def test_requirements_of_one_rule_all_hold_and_have_ids_of_their_own():
    bundle = compiled(workflow(REQUIRE, {**REQUIRE, "scope": "agent"}, {"call": "mail.send"}))
    names = [policy.id for policy in bundle.policies[1:]]
    assert names == [
        "workflow.w.payments.pay.fraud.check",
        "workflow.w.payments.pay.fraud.check.2",
        "workflow.w.payments.pay.mail.send",
    ]
    assert ask(bundle, PAY, PAYMENT).policies == tuple(names)
    priors = {query.name: query for query in bundle.priors_for("payments.pay")}
    found = {name: step(query.tool, arguments={**PAYMENT, "to": [], "text": ""}) for name, query in priors.items()}
    assert ask(bundle, PAY, PAYMENT, facts(**found)).allowed


@pytest.mark.parametrize(
    ("require", "bindings"),
    [
        ({"call": "fraud.check"}, ()),
        ({"call": "fraud.check", "same": ["payee", "payment_id"]}, (("payment_id", "payment_id"),)),
        ({"call": "fraud.check", "same": ["payee", "amount"]}, (("payee", "payee"),)),
    ],
)
def test_the_step_is_found_by_the_workflows_key_where_it_can_be(require, bindings):
    [query] = compiled(workflow(require)).priors_for("payments.pay")
    assert query.bindings == bindings


@pytest.mark.parametrize("scope", PriorScope)
def test_only_a_step_looked_up_by_user_may_be_another_agents(scope):
    bundle = compiled(workflow({**REQUIRE, "scope": scope}))
    [query] = bundle.priors_for("payments.pay")
    assert query.scope is scope
    foreign = facts(**{query.name: step(agent="reader")})
    assert ask(bundle, PAY, PAYMENT, foreign).allowed is (scope is PriorScope.USER)


ODD = tool(
    "odd.check",
    record("ref", ref=STRING, **{"in": STRING, "a-b": record(**{"c d": INTEGER})}),
    output_schema=record("ok", ok=BOOLEAN, score=NUMBER, count=INTEGER, text=STRING, more=record(level=STRING)),
)
ODD_PAY = tool("odd.pay", record("ref", ref=STRING, **{"in": STRING, "a-b": record(**{"c d": INTEGER})}), Effect.WRITE)


@pytest.mark.parametrize(
    ("where", "output"),
    [
        ({"ok": True}, {"ok": True}),
        ({"ok": False}, {"ok": False}),
        ({"score": 2.5}, {"ok": True, "score": 2.5}),
        ({"score": 2}, {"ok": True, "score": 2.0}),
        ({"count": -3}, {"ok": True, "count": -3}),
        ({"text": 'say "hi"\n'}, {"ok": True, "text": 'say "hi"\n'}),
        ({"more.level": "high"}, {"ok": True, "more": {"level": "high"}}),
    ],
)
def test_results_of_every_scalar_type_can_be_required(where, output):
    section = workflow({"call": "odd.check", "where": where}, call="odd.pay", key="ref")
    bundle = compiled(section, [ODD, ODD_PAY])
    [query] = bundle.priors_for("odd.pay")
    made = step("odd.check", arguments={"ref": "r"}, output=output)
    assert ask(bundle, ODD_PAY, {"ref": "r"}, facts(**{query.name: made})).allowed
    other = step("odd.check", arguments={"ref": "r"}, output={"ok": None, "more": {}})
    assert not ask(bundle, ODD_PAY, {"ref": "r"}, facts(**{query.name: other})).allowed


@pytest.mark.parametrize("path", ["ref", "in", "a-b.c d"])
def test_arguments_of_any_name_and_depth_can_be_required_to_be_the_same(path):
    bundle = compiled(workflow({"call": "odd.check", "same": [path]}, call="odd.pay", key="ref"), [ODD, ODD_PAY])
    [query] = bundle.priors_for("odd.pay")
    arguments = {"ref": "r", "in": "i", "a-b": {"c d": 1}}
    made = step("odd.check", arguments=arguments, output={"ok": True})
    assert ask(bundle, ODD_PAY, arguments, facts(**{query.name: made})).allowed
    differs = {**arguments, path: "x"} if path in {"ref", "in"} else {**arguments, "a-b": {"c d": 2}}
    assert not ask(bundle, ODD_PAY, differs, facts(**{query.name: made})).allowed


def test_a_workflow_with_an_unknown_tool_is_refused():
    assert problem_of(workflow(REQUIRE, call="payments.pya")).code == "unknown_tool"
    assert problem_of(workflow({"call": "nobody.knows"})).code == "unknown_tool"


@pytest.mark.parametrize("path", ["nothing", "to", "text.deep"])
def test_same_names_an_argument_both_tools_declare(path):
    problem = problem_of(workflow({"call": "mail.send", "same": [path]}))
    assert (problem.file, problem.code) == ("workflows.w", "same")


@pytest.mark.parametrize(
    "where", [{"nothing": 1}, {"result": 1}, {"score": "x"}, {"score": True}, {"result.deep": "x"}]
)
def test_where_names_a_declared_result_and_a_value_of_its_type(where):
    assert problem_of(workflow({**REQUIRE, "where": where})).code == "where"


def test_where_needs_an_output_schema():
    assert problem_of(workflow({"call": "mail.send", "where": {"sent": True}})).code == "where"


@pytest.mark.parametrize(
    "wrong",
    [
        {"call": "a.b", "within": "soon"},
        {"call": "a.b", "within": "0s"},
        {"call": "a.b", "same": ["a..b"]},
        {"call": "a.b", "where": {"": 1}},
        {"call": "a.b", "where": {"x": None}},
        {"call": "a.b", "scope": "galaxy"},
        {"call": "a.b", "sane": ["x"]},
    ],
)
def test_a_malformed_requirement_is_refused(wrong):
    with pytest.raises(ValidationError):
        Require.model_validate(wrong)


def test_a_workflow_without_rules_is_refused():
    with pytest.raises(ValidationError):
        WorkflowSection.model_validate({"key": "id", "rules": []})


LABELLED = Answers(labels=frozenset({Label.INCOMPLETE, Label.STALE}))


@pytest.mark.parametrize(
    ("accept", "labels", "allowed"),
    [
        ([], (), True),
        ([], ("incomplete",), False),
        ([], ("stale",), False),
        (["stale"], ("stale",), True),
        (["stale"], ("incomplete", "stale"), False),
        (["incomplete", "stale"], ("incomplete", "stale"), True),
    ],
)
def test_an_answer_with_a_label_that_is_declared_counts_only_where_it_is_accepted(accept, labels, allowed):
    tools = [replace(one, answers=LABELLED) if one.name == "fraud.check" else one for one in TOOLS]
    bundle = compiled(workflow({**REQUIRE, "accept": accept}), tools)
    [source] = [source for source in bundle.sources if source.name == "workflows.w"]
    name = source.text.partition("context.prior has ")[2].partition(" ")[0]
    decision = ask(bundle, PAY, PAYMENT, facts(**{name: step(labels=labels)}))
    assert decision.allowed is allowed
    assert allowed or "an answer labelled" in decision.message


def test_a_tool_of_which_no_labels_are_declared_is_asked_for_none():
    [source] = compile_workflows({"w": workflow(REQUIRE)}, TOOLS)
    assert "labels" not in source.text
