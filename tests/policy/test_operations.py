"""What is no tool - documents, prompts, what a server asks of the client - is decided like tools, by its own action."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import dump
from gateway.model.decision import Ruling
from gateway.model.identity import Identity
from gateway.model.operation import ACTION_OF, ASKS, operation
from gateway.policy import (
    AgentEntity,
    Outlook,
    decide,
    decision_input,
    explain,
    from_json,
    matrix,
    may,
    may_ask,
    to_json,
    visible,
)
from tests.policy.acme import LIST, PAYER, PERMIT_ALL, PRECONDITION, ask, facts, load, step

READ = operation("files", "resources/read")
GET = operation("files", "prompts/get")
COMPLETE = operation("files", "completion/complete")
PUBLIC = """
@id("public") permit (principal, action == Gateway::Action::"read_resource", resource in Gateway::Server::"files")
when { resource.uri like "file:///public/*" };
"""
READER = Identity("reader", "token", "t")


def permit(action, resource="resource", condition="true", name="yes"):
    scope = f'principal, action == Gateway::Action::"{action}", {resource}'
    return f'@id("{name}") permit ({scope}) when {{ {condition} }};'


def prompt_ref(name):
    return {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": "a", "value": ""}}


def document_ref(uri):
    return {"ref": {"type": "ref/resource", "uri": uri}, "argument": {"name": "a", "value": ""}}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "file:///a"}),
        ("resources/subscribe", {"uri": "file:///a"}),
        ("prompts/get", {"name": "greet", "arguments": {"x": "y"}}),
        ("completion/complete", prompt_ref("greet")),
        ("completion/complete", document_ref("file:///{path}")),
        ("sampling/createMessage", {"messages": []}),
        ("elicitation/create", {"message": "sure?"}),
        ("roots/list", {}),
    ],
)
def test_each_method_is_decided_by_its_own_action_and_no_other(method, params):
    asked = operation("files", method)
    assert ask(load(permit(ACTION_OF[method])), asked, params).policies == ("yes",)
    others = [permit(name, name=name) for name in sorted({*ACTION_OF.values()} - {ACTION_OF[method]})]
    decision = ask(load(PERMIT_ALL, *others), asked, params)
    assert not decision.allowed
    assert ACTION_OF[method] in decision.message


def test_a_document_is_permitted_by_its_uri_and_its_server():
    bundle = load(PUBLIC)
    assert ask(bundle, READ, {"uri": "file:///public/a b.txt".replace(" ", "%20")}).policies == ("public",)
    assert not ask(bundle, READ, {"uri": "file:///private/a"}).allowed
    assert not ask(bundle, operation("other", "resources/read"), {"uri": "file:///public/a"}).allowed


def test_a_prompt_is_permitted_by_its_name():
    bundle = load(permit("get_prompt", 'resource == Gateway::Prompt::"files/greet"'))
    assert ask(bundle, GET, {"name": "greet"}).allowed
    assert not ask(bundle, GET, {"name": "other"}).allowed
    by_name = load(permit("get_prompt", condition='resource.name like "g*"'))
    assert ask(by_name, GET, {"name": "greet"}).allowed
    assert not ask(by_name, GET, {"name": "other"}).allowed


def test_a_completion_is_about_the_prompt_or_the_document_it_refers_to():
    bundle = load(
        permit("complete", 'resource == Gateway::Prompt::"files/greet"'),
        permit("complete", condition='resource is Gateway::Document && resource.uri like "file:///{*"', name="doc"),
    )
    assert ask(bundle, COMPLETE, prompt_ref("greet")).policies == ("yes",)
    assert ask(bundle, COMPLETE, document_ref("file:///{path}")).policies == ("doc",)
    assert not ask(bundle, COMPLETE, prompt_ref("file:///{path}")).allowed
    assert not ask(bundle, COMPLETE, document_ref("greet")).allowed


def test_what_a_server_asks_is_permitted_by_server_and_by_agent():
    who = 'principal in Gateway::Role::"asked", action == Gateway::Action::"elicit"'
    bundle = load(f'@id("yes") permit ({who}, resource == Gateway::Server::"files");')
    asked = Identity("payer", "token", "t", roles=("asked",))
    assert ask(bundle, operation("files", "elicitation/create"), {}, who=asked).allowed
    assert not ask(bundle, operation("files", "elicitation/create"), {}).allowed
    assert not ask(bundle, operation("other", "elicitation/create"), {}, who=asked).allowed
    assert may_ask(bundle, asked, "files") == {"elicitation/create"}
    assert may_ask(bundle, asked, "other") == may_ask(bundle, PAYER, "files") == frozenset()


def test_an_unregistered_agent_is_refused():
    bundle = load(*(permit(action, name=action) for action in sorted({*ACTION_OF.values()})))
    stranger = Identity("stranger", "token", "t")
    decision = ask(bundle, READ, {"uri": "file:///a"}, who=stranger)
    assert decision.errors == ("unknown principal",)
    assert may(bundle, stranger, "resources/read", "files", "file:///a") is Outlook.NEVER
    assert may_ask(bundle, stranger, "files") == frozenset()


@pytest.mark.parametrize("method", ["elicitation/forge", "call_tool", "payments.list", "see", "\ud800", ""])
def test_a_method_that_is_not_governed_is_refused_whatever_the_policies_say(method):
    everything = '@id("all") permit (principal, action, resource);'
    asked = operation("files", method)
    decision = ask(load(everything), asked, {"uri": "file:///a"})
    assert decision.errors == ("unknown action",)
    assert "does not govern" in decision.message
    assert not visible(load(everything), PAYER, asked)


@pytest.mark.parametrize(
    ("asked", "params", "place"),
    [
        (READ, {}, "uri"),
        (READ, {"uri": 3}, "uri"),
        (READ, {"uri": ["file:///public/a"]}, "uri"),
        (READ, {"uri": "file:///public/\udc80"}, "uri"),
        (GET, {"name": None}, "name"),
        (GET, {"name": "\ud800"}, "name"),
        (COMPLETE, {}, "ref"),
        (COMPLETE, {"ref": "greet"}, "ref"),
        (COMPLETE, {"ref": {"type": "ref/other", "name": "greet", "uri": "greet"}}, "ref"),
        (COMPLETE, {"ref": {"type": "ref/prompt", "uri": "greet"}}, "ref"),
        (COMPLETE, {"ref": {"type": ["ref/prompt"], "name": "greet"}}, "ref"),
    ],
)
def test_params_that_name_nothing_exactly_are_refused(asked, params, place):
    bundle = load('@id("all") permit (principal, action, resource);')
    made = decision_input(bundle, PAYER, asked, params, facts())
    decision = decide(bundle, made)
    assert not decision.allowed
    assert decision.errors == (f"cannot be judged: {place}",)
    assert decide(bundle, from_json(to_json(made))) == decision
    assert explain(bundle, made).decision == decision
    dump(to_json(made))  # it can be put on record


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../etc/passwd",
        "file:///public/./a",
        "file:///public/..",
        "file:///public/%2e%2e/etc",
        "file:///public/%2E./etc",
        "file:///public/..%2fetc",
        "file:///public/..%5Cetc",
        "file:///public\\..\\etc",
        "file:///public/..?x",
        "file:///public/.\t./etc",
        "file:///public/a\n",
        "file:///public/%61",
        "file:///public/%7e",
        "FILE:///public/a",
        "file:///public/a b",
    ],
)
def test_a_uri_that_a_server_may_read_as_another_is_refused_where_a_policy_judges_by_it(uri):
    anything = permit("read_resource")
    assert ask(load(PUBLIC, anything), READ, {"uri": uri}).errors == ("cannot be judged: uri",)
    exactly = permit("read_resource", 'resource == Gateway::Document::"files/file:///b"', name="one")
    assert ask(load(exactly, anything), READ, {"uri": uri}).errors == ("cannot be judged: uri",)
    assert may(load(PUBLIC, anything), PAYER, "resources/read", "files", uri) is Outlook.NEVER
    assert ask(load(anything), READ, {"uri": uri}).allowed
    assert may(load(anything), PAYER, "resources/read", "files", uri) is Outlook.ALWAYS


@pytest.mark.parametrize("uri", ["file:///public/a..b/.hidden/...", "file:///public/%20%2F%C3%A9", "file:///public/é"])
def test_an_unusual_uri_that_means_one_thing_is_judged(uri):
    assert ask(load(PUBLIC), READ, {"uri": uri}).allowed


def test_another_agents_policy_about_uris_does_not_restrict_this_one():
    theirs = PUBLIC.replace("principal", 'principal == Gateway::Agent::"reader"')
    bundle = load(theirs, permit("read_resource"))
    assert ask(bundle, READ, {"uri": "file:///a/../b"}).allowed
    assert not ask(bundle, READ, {"uri": "file:///a/../b"}, who=READER).allowed


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(), max_size=40),
    st.sampled_from(["é" * 32768, "a" * 65536, "\x00", "\ud800x", '"*\\', "😀", "../" * 9000, "__entity"]),
)
CORPUS = load(
    PUBLIC,
    permit("get_prompt", condition='resource.name like "*a*b*"'),
    permit("complete", name="complete", condition="context.base.unmodelled.isEmpty()"),
    '@id("no") forbid (principal, action, resource) when { context.base.dryRun };',
)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.sampled_from([READ, GET, COMPLETE]), st.sampled_from(["uri", "name", "ref", "type"]))
def test_hostile_text_never_crashes_and_decides_the_same_from_the_record(text, asked, key):
    params = {key: text, "ref": {"type": text, "uri": text, "name": text}} if key == "type" else {key: text}
    if key == "ref":
        params = {"ref": {"type": "ref/resource", "uri": text}}
    made = decision_input(CORPUS, PAYER, asked, params, facts())
    decision = decide(CORPUS, made)
    assert decide(CORPUS, from_json(to_json(made))) == decision
    assert len(decision.message) < 1000
    dump(to_json(made))
    explain(CORPUS, made)
    outlook = may(CORPUS, PAYER, asked.method, "files", text)
    assert not decision.allowed or outlook is not Outlook.NEVER


def test_the_context_of_an_operation_is_its_base_alone():
    curious = (
        '@id("yes") permit (principal, action, resource) when {'
        " context.base.step == 0 && context.base.unmodelled.isEmpty() "
        " && !(context has input) && !(context has n) && !(context has prior) };"
    )
    known = facts(fraud=step())
    made = decision_input(load(curious, PRECONDITION), PAYER, READ, {"uri": "x", "limit": 1.00001}, known)
    assert made.context.keys() == {"base"}
    assert decide(load(curious, PRECONDITION), made).allowed


def test_a_forbid_on_seeing_hides_and_what_may_be_asked_is_not_about_seeing():
    hidden = '@id("hide") forbid (principal, action == Gateway::Action::"see", resource) when { true };'
    bundle = load(permit("get_prompt", name="a"), permit("elicit", name="b"), hidden)
    assert may(bundle, PAYER, "prompts/get", "files", "greet") is Outlook.NEVER
    assert ask(bundle, GET, {"name": "greet"}).allowed
    assert may_ask(bundle, PAYER, "files") == {"elicitation/create"}


@pytest.mark.parametrize(
    ("condition", "outlook"),
    [
        ("true", Outlook.ALWAYS),
        ("context.base.dryRun", Outlook.CONDITIONAL),
        ('resource.name like "g*"', Outlook.ALWAYS),
        ('resource.name like "x*"', Outlook.NEVER),
    ],
)
def test_what_can_be_hoped_for_from_a_prompt(condition, outlook):
    assert may(load(permit("get_prompt", condition=condition)), PAYER, "prompts/get", "files", "greet") is outlook


def test_a_completion_may_be_hoped_for_where_either_kind_of_reference_may():
    either = load(permit("complete", condition="resource is Gateway::Prompt"))
    assert may(either, PAYER, "completion/complete", "files", "greet") is Outlook.CONDITIONAL
    assert may(load(permit("complete")), PAYER, "completion/complete", "files", "greet") is Outlook.ALWAYS
    assert may(load(), PAYER, "completion/complete", "files", "greet") is Outlook.NEVER


def test_the_matrix_tells_operations_for_any_document_and_prompt():
    bundle = load(
        PUBLIC,
        permit("get_prompt", 'resource == Gateway::Prompt::"files/greet"', name="greet"),
        permit("elicit", 'resource == Gateway::Server::"files"', name="elicit"),
        permit("complete", 'resource in Gateway::Server::"files"', condition="resource has uri", name="complete"),
    )
    methods = sorted(ACTION_OF)
    tools = [operation(server, method) for server in ("files", "other") for method in methods]
    found = matrix(bundle, [PAYER, Identity("stranger", "token", "t")], tools)
    assert {name: one for name, one in found["payer"].items() if one is not Outlook.NEVER} == {
        "files.resources/read": Outlook.CONDITIONAL,
        "files.resources/subscribe": Outlook.CONDITIONAL,
        "files.prompts/get": Outlook.CONDITIONAL,
        "other.prompts/get": Outlook.CONDITIONAL,
        "files.completion/complete": Outlook.CONDITIONAL,
        "files.elicitation/create": Outlook.ALWAYS,
    }
    assert set(found["stranger"].values()) == {Outlook.NEVER}


@pytest.mark.parametrize("method", sorted(ASKS))
def test_nothing_is_asked_of_a_client_unless_a_policy_says_so(method):
    assert not ask(load(PERMIT_ALL), operation("files", method), {}).allowed
    assert may_ask(load(PERMIT_ALL), PAYER, "files") == frozenset()


def test_operations_do_not_make_a_bundle_forget_its_tools():
    bundle = load(PERMIT_ALL, PUBLIC)
    before = bundle.situation(decision_input(bundle, PAYER, LIST, {}, facts()))
    for number in range(2000):
        uri = f"file:///public/{number}{'x' * 8192 if number % 50 == 0 else ''}"
        assert ask(bundle, READ, {"uri": uri}, who=PAYER).allowed
    assert bundle.situation(decision_input(bundle, PAYER, LIST, {}, facts())) is before


def test_teams_and_roles_of_an_agent_count_for_operations_too():
    bundle = load(
        '@id("yes") permit (principal in Gateway::Team::"ops", action == Gateway::Action::"read_resource", resource);',
        agents=[AgentEntity("payer", teams=("ops",)), AgentEntity("reader")],
    )
    assert ask(bundle, READ, {"uri": "x"}).allowed
    assert not ask(bundle, READ, {"uri": "x"}, who=READER).allowed
    assert ask(bundle, READ, {"uri": "x"}, who=Identity("reader", "jwt", "j", teams=("ops",))).allowed


def test_a_document_may_wait_for_an_approval():
    wants = (
        '@id("ask") @obligation("approval:leads") forbid'
        ' (principal, action == Gateway::Action::"read_resource", resource) when { resource.uri like "*secret*" }'
        " unless { context.base has approval && context.base.approval.argsMatch };"
    )
    bundle = load(permit("read_resource"), wants)
    decision = ask(bundle, READ, {"uri": "file:///secret"})
    assert (decision.ruling, decision.obligations) == (Ruling.NEEDS_APPROVAL, (("approval", "leads"),))
    assert may(bundle, PAYER, "resources/read", "files", "file:///secret") is Outlook.NEEDS_APPROVAL
    assert ask(bundle, READ, {"uri": "file:///other"}).allowed


def test_a_refusal_says_what_was_asked_and_repeats_little_of_it():
    refused = ask(load(), READ, {"uri": "file:///" + "x" * 60_000})
    assert "(read_resource 'files/file:///xxx" in refused.message
    assert len(refused.message) < 400
    overflow = "context.base.step + 9223372036854775807 > 0 && context.base.dryRun"
    failing = permit("read_resource", condition=overflow, name="no").replace("permit", "forbid", 1)
    known = replace(facts(), step=1)
    failed = ask(load(permit("read_resource"), failing), READ, {"uri": "file:///" + "x" * 60_000}, known)
    assert failed.errors == ("policy no could not be evaluated",)
    assert len(failed.message) < 400
