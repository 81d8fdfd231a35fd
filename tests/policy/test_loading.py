"""What is refused at load, where the message points, and what it says to do."""

import os
import stat

import pytest

from gateway.policy import Bundle, LoadOptions, PolicyLoadError, PolicySource, sources_under
from gateway.policy.schema import OTHER_ACTIONS
from tests.policy.acme import (
    AGENTS,
    INTEGER,
    PAY,
    PAYMENT,
    PERMIT_ALL,
    PRECONDITION,
    STRING,
    TOOLS,
    ask,
    load,
    record,
    tool,
)

PAYING = 'permit (principal, action == Gateway::Action::"payments.pay", resource)'
MAILING = '@id("b") permit (principal, action == Gateway::Action::"mail.send", resource)'


def problems_of(*texts, **more):
    with pytest.raises(PolicyLoadError) as refused:
        load(*texts, **more)
    return refused.value.problems


def codes_of(*texts, **more):
    return [problem.code for problem in problems_of(*texts, **more)]


def test_no_policy_at_all_denies_every_call():
    bundle = load()
    for called in TOOLS:
        decision = ask(bundle, called, PAYMENT)
        assert not decision.allowed
        assert decision.policies == ()
        assert "No policy allows agent payer" in decision.message


def test_a_file_of_comments_is_no_policy():
    assert load("// nothing yet\n").policies == ()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_what_is_no_file_in_a_folder_of_policies_is_named_and_never_read(tmp_path, kind):
    path = tmp_path / "odd.cedar"
    (tmp_path / "good.cedar").write_text("// nothing yet")
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, stat.S_IFSOCK)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    with pytest.raises(PolicyLoadError) as refused:
        sources_under(tmp_path)
    [problem] = refused.value.problems
    assert (problem.file, problem.code, bool(problem.fix)) == (str(path), "not_a_file", True)


def test_a_misspelt_argument_is_found_at_its_line_and_column():
    [problem] = problems_of(f'// one\n@id("a")\n{PAYING}\nwhen {{\n  context.input.amuont == decimal("1.0")\n}};')
    assert (problem.file, problem.line, problem.column, problem.code) == ("1.cedar", 5, 17, "type")
    assert "amuont" in problem.message
    assert problem.fix


def test_reading_an_optional_argument_without_a_test_is_refused_with_the_test_to_write():
    [problem] = problems_of(f'@id("a") {PAYING} when {{ context.input.amount == decimal("1.0") }};')
    assert "has x" in problem.fix


def test_comparing_values_of_two_types_is_refused():
    assert codes_of(f'@id("a") {PAYING} when {{ context.input.payee == 1 }};') == ["type"]


def test_an_unknown_action_is_refused_with_a_suggestion():
    problems = problems_of('@id("a") permit (principal, action == Gateway::Action::"payments.pya", resource);')
    assert "did you mean 'payments.pay'?" in [problem.fix for problem in problems]


def test_an_unlike_action_is_refused_without_a_suggestion():
    problems = problems_of('@id("a") permit (principal, action == Gateway::Action::"zzz", resource);')
    assert "pin the tool, or correct the name." in [problem.fix for problem in problems]


def test_a_syntax_error_is_found_at_its_token():
    [problem] = problems_of(f'@id("a")\n{PAYING}\nwhen {{ context.input.payee = "x" }};')
    assert (problem.code, problem.line) == ("syntax", 3)


def test_a_missing_semicolon_is_a_syntax_error():
    assert codes_of(PERMIT_ALL.rstrip(";")) == ["syntax"]


def test_every_problem_is_told_at_once():
    assert codes_of("permit", f'@id("x") @nonsense("y") {PAYING};') == ["syntax", "annotation"]


def test_a_template_is_refused():
    [problem] = problems_of('@id("a") permit (principal == ?principal, action, resource);')
    assert "slots" in problem.message


def test_two_policies_in_one_statement_are_impossible():
    bundle = load(PERMIT_ALL + '@id("b") forbid (principal, action, resource);')
    assert [policy.id for policy in bundle.policies] == ["all", "b"]


def test_an_id_is_demanded():
    [problem] = problems_of("permit (principal, action, resource);")
    assert problem.code == "annotation"
    assert "@id" in problem.message


def test_an_id_is_unique_across_files_and_the_message_names_the_first():
    [problem] = problems_of(PERMIT_ALL, f"\n\n{PERMIT_ALL}")
    assert (problem.code, problem.file, problem.line) == ("duplicate_id", "2.cedar", 3)
    assert "1.cedar:1" in problem.message


@pytest.mark.parametrize(
    "annotation",
    [
        "@nonsense",
        '@mode("loud")',
        '@prior("fraud fraud.check in run")',
        '@prior("fraud: fraud.check in galaxy")',
        '@prior("in: fraud.check in run")',
        '@prior("__entity: fraud.check in run")',
        '@prior("fraud: fraud.check in run within 0m")',
        '@prior("fraud: fraud.check in run within soon")',
        '@prior("fraud: fraud.check in run use twice")',
        '@prior("f: fraud.check in run; f: mail.send in run")',
        '@remedy("")',
        '@redact("a,,b")',
        '@redact("owner.iban")',
        '@obligation("redact:owner.iban")',
        '@obligation("approval")',
        '@obligation("approval:")',
        '@max_calls("0/run")',
        '@max_calls("10/century")',
    ],
)
def test_a_bad_annotation_is_refused_at_its_place(annotation):
    options = LoadOptions(fulfils=frozenset({"redact", "max_calls", "approval"}))
    [problem] = problems_of(f'@id("a")\n{annotation}\n{PAYING};', options=options)
    assert (problem.code, problem.line) == ("annotation", 2)


@pytest.mark.parametrize("effect", ["permit", "forbid"])
@pytest.mark.parametrize("annotation", ['@redact("email")', '@max_calls("10/run")', '@obligation("log:loudly")'])
def test_an_obligation_nobody_carries_out_is_refused(effect, annotation):
    text = f'@id("a") {annotation} {effect} (principal, action == Gateway::Action::"payments.pay", resource);'
    assert codes_of(text) == ["annotation"]


def test_obligations_of_every_satisfied_permit_come_with_an_allowed_call():
    bundle = load(
        f'@id("a") @redact("email, iban") {PAYING};',
        f'@id("b") @max_calls("10/run") @obligation("log:loudly; log:again") {PAYING};',
        options=LoadOptions(fulfils=frozenset({"redact", "max_calls", "log"})),
    )
    assert set(ask(bundle, PAY, PAYMENT).obligations) == {
        ("redact", "email"),
        ("redact", "iban"),
        ("max_calls", "10/run"),
        ("log", "loudly"),
        ("log", "again"),
    }


def test_a_group_of_actions_takes_in_and_the_message_says_so():
    [problem] = problems_of('@id("a") permit (principal, action == Gateway::Action::"call_tool", resource);')
    assert "`action in" in problem.fix


def test_a_prior_of_an_unknown_tool_is_refused_with_a_suggestion():
    [problem] = problems_of(PRECONDITION.replace("fraud: fraud.check", "fraud: fraud.chek"))
    assert problem.code == "unknown_tool"
    assert problem.fix == "did you mean 'fraud.check'?"


def test_a_remedy_of_an_unknown_tool_is_refused():
    assert codes_of(f'@id("a") @remedy("nobody.knows") {PAYING};') == ["unknown_tool"]


@pytest.mark.parametrize("binding", ["nothing=payment_id", "payment_id=nothing", "to=payment_id", "score.x=payee"])
def test_a_prior_is_bound_by_declared_scalar_arguments(binding):
    text = f'@id("a") @prior("m: mail.send by {binding} in run") {PAYING};'
    assert "prior_binding" in codes_of(text)


def test_a_prior_is_bound_by_arguments_of_one_type():
    assert codes_of(f'@id("a") @prior("f: fraud.check by amount=payee in run") {PAYING};') == ["prior_binding"]


def test_a_policy_with_a_prior_names_its_action():
    [problem] = problems_of('@id("a") @prior("f: fraud.check in run") forbid (principal, action, resource);')
    assert problem.code == "prior_scope"
    assert "call_tool" in problem.fix


def test_one_name_for_two_steps_of_one_tool_is_refused():
    other = '@id("b") @prior("fraud: fraud.check in session") forbid (principal, action, resource);'
    text = other.replace("action,", 'action in Gateway::Action::"call_tool",')
    assert codes_of(PRECONDITION, text) == ["prior_conflict"]


def test_one_name_for_two_steps_of_two_tools_is_fine():
    text = '@id("b") @prior("fraud: fraud.check in session") forbid (principal, action, resource);'
    bundle = load(PRECONDITION, text.replace("action,", 'action == Gateway::Action::"mail.send",'))
    assert bundle.priors_for("mail.send") != bundle.priors_for("payments.pay")


def test_several_steps_in_one_annotation_are_all_looked_up():
    priors = '@prior("f: fraud.check in agent within 1h30m; m: mail.send in user")'
    text = f'@id("a") {priors} {PAYING} when {{ context.prior has m }};'
    found = {query.name: query for query in load(text).priors_for("payments.pay")}
    assert set(found) == {"f", "m"}
    assert found["f"].within_ms == 5_400_000


def test_a_prior_is_known_only_to_the_actions_of_its_policy():
    assert codes_of(PRECONDITION, f"{MAILING} when {{ context.prior has fraud }};") == ["undeclared"]
    assert codes_of(PRECONDITION, f'{MAILING} when {{ context.prior.fraud.status == "ok" }};') == ["type"]


@pytest.mark.parametrize(
    "test",
    ["context.input has amuont", "context.prior has check", "context.base has aproval", "context.base.run has x"],
)
def test_a_has_test_of_what_is_declared_nowhere_is_refused_because_it_would_never_hold(test):
    scope = 'forbid (principal, action in Gateway::Action::"call_tool", resource)'
    [problem] = problems_of(f'@id("a")\n{scope}\nwhen {{ {test} }};')
    assert (problem.code, problem.line) == ("undeclared", 3)


def test_a_has_test_of_what_some_action_of_the_policy_declares_is_fine():
    text = 'forbid (principal, action in Gateway::Action::"call_tool", resource) when { %s };'
    for test in (
        "principal has tier",
        "context.input has amount",
        "context.base has approval",
        "context.base.run.owner has x",
    ):
        load('@id("a")' + text % test)


def test_a_tool_may_not_take_the_name_of_an_action():
    for name in ("call_tool", *OTHER_ACTIONS):
        assert codes_of(tools=[tool(name, record())]) == ["tool_name"]
    assert codes_of(tools=[PAY, PAY]) == ["tool_name"]


def test_an_environment_name_that_cedar_cannot_hold_is_refused():
    assert codes_of(PERMIT_ALL, options=LoadOptions(environments=())) == ["schema"]


def test_the_other_actions_can_be_governed_too():
    text = '@id("{0}") permit (principal, action == Gateway::Action::"{0}", resource) when {{ !context.base.dryRun }};'
    texts = [text.format(name) for name in OTHER_ACTIONS]
    assert len(load(*texts).policies) == len(OTHER_ACTIONS)


def test_the_digest_changes_with_a_policy_and_with_a_schema_and_with_nothing_else():
    one = load(PERMIT_ALL)
    assert load(PERMIT_ALL).digest == one.digest
    assert load(PERMIT_ALL + " ").digest != one.digest
    assert load(PERMIT_ALL, tools=TOOLS[:2]).digest != one.digest
    assert load(PERMIT_ALL, agents=()).digest == one.digest


def test_the_text_shows_every_source_under_its_name():
    sources = [PolicySource("a.cedar", PERMIT_ALL), PolicySource("agents.payer.allow", "// none")]
    assert Bundle.load(sources, TOOLS, AGENTS).text == f"// a.cedar\n{PERMIT_ALL}\n\n// agents.payer.allow\n// none\n"


def test_policy_files_are_found_in_order_below_a_folder(tmp_path):
    (tmp_path / "b.cedar").write_text("// b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.cedar").write_text("// z")
    (tmp_path / "notes.txt").write_text("no policy")
    assert [source.text for source in sources_under(tmp_path)] == ["// z", "// b"]
    assert [source.text for source in sources_under(tmp_path / "b.cedar")] == ["// b"]


def test_a_missing_or_undecodable_policy_file_is_refused(tmp_path):
    (tmp_path / "latin.cedar").write_bytes(b"// \xff")
    for path, reason in ((tmp_path / "none.cedar", "No such file"), (tmp_path, "not UTF-8")):
        with pytest.raises(PolicyLoadError, match=reason):
            sources_under(path)


def test_a_problem_reads_as_place_code_message_and_fix():
    with pytest.raises(PolicyLoadError, match=r"^1\.cedar:1:1: syntax: .*\n  fix: ") as refused:
        load("permit")
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("name", ["a-b", "a b", "été", "a.b", "", "type", "if", 'q"q', "back\\slash", "new\nline"])
def test_an_argument_of_any_name_can_be_read(name):
    literal = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    odd = tool("odd.tool", record(name, **{name: STRING, "id": INTEGER}))
    scope = 'permit (principal, action == Gateway::Action::"odd.tool", resource)'
    text = f'@id("a") {scope} when {{ context.input["{literal}"] == "x" }};'
    bundle = load(text, tools=[odd])
    assert ask(bundle, odd, {name: "x"}).allowed
    assert not ask(bundle, odd, {name: "y"}).allowed


SURE = 'context.base has confidence && context.base.confidence.greaterThan(decimal("0.9"))'


@pytest.mark.parametrize(
    "policy",
    [
        f'@id("a") {PAYING} when {{ {SURE} }};',
        f'@id("a") {PAYING} unless {{ {SURE} }};',
        f'@id("a") {PAYING.replace("permit", "forbid")} unless {{ {SURE} }};',
        f'@id("a") {PAYING.replace("permit", "forbid")} when {{ true }} unless {{ context.base has confidence }};',
    ],
)
def test_an_agents_word_for_its_own_confidence_permits_nothing(policy):
    assert codes_of(policy) == ["lenient"]


def test_an_agents_doubts_may_forbid():
    unsure = 'context.base has confidence && context.base.confidence.lessThan(decimal("0.9"))'
    load(f'@id("a") {PAYING.replace("permit", "forbid")} when {{ {unsure} }};')
