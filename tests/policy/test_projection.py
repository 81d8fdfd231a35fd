"""The evaluator without a context agrees with Cedar wherever it claims to know."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codec import dump
from gateway.model.identity import Identity
from gateway.policy import AgentEntity, Outlook, matrix, visible
from gateway.policy.cedar import authorize, compile_policies, load_entities, parse
from gateway.policy.projection import UNKNOWN, holds
from tests.policy.acme import AGENTS, CHECK, LIST, MAIL, PAY, PAYER, PERMIT_ALL, TOOLS, load, record, tool

AGENT = AgentEntity("payer", owner="o", teams=("finance",), roles=("r",), tier=2)
BUNDLE = load(agents=[AGENT])
REQUEST = BUNDLE.request(PAYER, MAIL)
WORLD = REQUEST.world()
ENTITIES = load_entities(dump(REQUEST.entities))
CONTEXTS = [{"flag": True, "n": 1}, {"flag": False, "n": 5}, {}]

BOOLEANS = st.sampled_from(
    [
        "true",
        "false",
        "context.flag",
        "context has flag",
        "context.n < 3",
        "resource.readOnly",
        "resource.destructive",
        "principal.attested",
        "principal.nothing",
        "principal has tier",
        "principal has nothing",
        "principal.owner has anything",
        "principal has owner.name",
        'resource.name like "mail.*"',
        'resource.name like "*.s*d"',
        'resource.name like "m*x*"',
        'resource.name like "mail.send"',
        'principal.tier like "x"',
        "principal is Gateway::Agent",
        'principal is Gateway::Agent in Gateway::Team::"finance"',
        'principal is Gateway::Agent in Gateway::Team::"other"',
        "principal is Gateway::User",
        "context.n is Gateway::User",
        "principal.owner is Gateway::User in context.flag",
        'principal in Gateway::Role::"r"',
        'principal in [Gateway::Role::"x", Gateway::Team::"finance"]',
        "principal in 3",
        "principal in [3]",
        'resource in Gateway::Server::"mail"',
        'resource in Gateway::ToolGroup::"inbound"',
        'action in Gateway::Action::"call_tool"',
        'principal.owner == Gateway::User::"o"',
        'principal.owner != Gateway::User::"o"',
        "principal == resource",
        "principal.tier == 2",
        "principal.tier == true",
        "principal.tier != 3",
        "-principal.tier < -1",
        "-9223372036854775808 == -principal.tier",
        "principal.tier + 1 == 3",
        "principal.tier >= 2",
        "principal.tier > context.n",
        "principal.tier <= true",
        "[].isEmpty()",
        "[1, 2].isEmpty()",
        "[1, 2].contains(principal.tier)",
        "[1, 2].contains(true)",
        "[[1]].contains([1])",
        "[1, true].contains(true)",
        "[context.n].contains(1)",
        "{a: 1} == {a: 1}",
        'ip("127.0.0.1").isLoopback()',
        "!principal.tier",
    ]
)


def joined(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, inner, inner).map(lambda parts: "(if {} then {} else {})".format(*parts)),
    )


POLICIES = st.lists(
    st.tuples(st.sampled_from(["when", "unless"]), st.recursive(BOOLEANS, joined, max_leaves=6)), min_size=1, max_size=3
)


@settings(max_examples=300)
@given(POLICIES, st.sampled_from(CONTEXTS))
def test_a_known_verdict_is_cedars_verdict(clauses, context):
    text = "permit (principal, action, resource)" + "".join(f" {word} {{ {condition} }}" for word, condition in clauses)
    policy = parse(text + ";")
    request = {"principal": REQUEST.principal, "action": REQUEST.action, "resource": REQUEST.resource}
    answer = authorize({**request, "context": dump(context).decode()}, compile_policies([policy]), ENTITIES)
    exact = holds(policy, WORLD, exact=True)
    if exact is not None:  # exact: the same answer, and nothing that could fail
        assert (answer.allowed, answer.errors) == (exact, ())
    loose = holds(policy, WORLD, exact=False)
    if loose is not None:  # loose: the same answer, unless it fails
        assert answer.allowed is loose or answer.errors


def test_unknown_is_neither_true_nor_false():
    with pytest.raises(TypeError):
        bool(UNKNOWN)


GROUPED = 'action in Gateway::Action::"call_tool"'


@pytest.mark.parametrize(
    ("policies", "outlook"),
    [
        ([], Outlook.NEVER),
        ([PERMIT_ALL], Outlook.ALWAYS),
        ([f'@id("a") permit (principal, {GROUPED}, resource) when {{ context.base.step < 3 }};'], Outlook.CONDITIONAL),
        (
            [f'@id("a") permit (principal, {GROUPED}, resource) when {{ context.base.dryRun && resource.readOnly }};'],
            Outlook.NEVER,
        ),
        (
            [f'@id("a") permit (principal, {GROUPED}, resource) when {{ context.base.dryRun || !resource.readOnly }};'],
            Outlook.ALWAYS,
        ),
        (
            [
                f'@id("a") permit (principal, {GROUPED}, resource) when '
                "{ if context.base.dryRun then resource.readOnly else resource.readOnly };"
            ],
            Outlook.NEVER,
        ),
        ([PERMIT_ALL, f'@id("a") forbid (principal, {GROUPED}, resource);'], Outlook.NEVER),
        (
            [PERMIT_ALL, f'@id("a") forbid (principal, {GROUPED}, resource) when {{ context.base.dryRun }};'],
            Outlook.CONDITIONAL,
        ),
        (
            [PERMIT_ALL, f'@id("a") forbid (principal, {GROUPED}, resource) when {{ resource.readOnly }};'],
            Outlook.ALWAYS,
        ),
        ([PERMIT_ALL, '@id("a") forbid (principal, action == Gateway::Action::"see", resource);'], Outlook.NEVER),
        ([PERMIT_ALL, f'@id("a") @mode("shadow") forbid (principal, {GROUPED}, resource);'], Outlook.ALWAYS),
        (
            ['@id("a") permit (principal == Gateway::Agent::"payer", action, resource is Gateway::Tool);'],
            Outlook.ALWAYS,
        ),
        (['@id("a") permit (principal == Gateway::Agent::"reader", action, resource);'], Outlook.NEVER),
        (
            ['@id("a") permit (principal is Gateway::Agent in Gateway::Team::"finance", action, resource);'],
            Outlook.ALWAYS,
        ),
        (['@id("a") permit (principal is Gateway::User, action, resource);'], Outlook.NEVER),
        ([f'@id("a") permit (principal, {GROUPED}, resource in Gateway::Server::"mail");'], Outlook.ALWAYS),
        ([f'@id("a") permit (principal, {GROUPED}, resource == Gateway::Tool::"mail.send");'], Outlook.ALWAYS),
        (
            [
                '@id("a") permit (principal, action in [Gateway::Action::"mail.send", Gateway::Action::"fraud.check"],'
                " resource);"
            ],
            Outlook.ALWAYS,
        ),
    ],
)
def test_the_outlook_of_a_tool_that_writes(policies, outlook):
    bundle = load(*policies)
    assert bundle.outlook(PAYER, MAIL) is outlook
    assert visible(bundle, PAYER, MAIL) is (outlook is not Outlook.NEVER)


def test_an_unregistered_agent_sees_nothing():
    assert not visible(load(PERMIT_ALL), Identity("stranger", "token", "t"), MAIL)


def test_an_unknown_tool_and_another_version_of_a_tool_are_not_visible():
    bundle = load(PERMIT_ALL)
    assert not visible(bundle, PAYER, tool("new.tool", record()))
    assert not visible(bundle, PAYER, tool("mail.send", record(), digest="sha256:other"))


def test_the_matrix_has_every_agent_and_tool():
    bundle = load(
        f'@id("reader") permit (principal == Gateway::Agent::"reader", {GROUPED}, resource)'
        " when { resource.readOnly };",
        f'@id("payer") permit (principal == Gateway::Agent::"payer", {GROUPED}, resource)'
        " when { resource.readOnly || context.base.step < 9 };",
    )
    found = matrix(bundle, [Identity(agent.name, "local", "x") for agent in AGENTS], TOOLS)
    reads, writes = (CHECK.name, LIST.name), (PAY.name, MAIL.name)
    assert found["reader"] == dict.fromkeys(reads, Outlook.ALWAYS) | dict.fromkeys(writes, Outlook.NEVER)
    assert found["payer"] == dict.fromkeys(reads, Outlook.ALWAYS) | dict.fromkeys(writes, Outlook.CONDITIONAL)
