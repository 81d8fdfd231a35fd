"""`allow:` lists compile to Cedar that says the same."""

import pytest

from gateway.model.operation import ACTION_OF, ASKS, operation
from gateway.policy import AgentEntity, Bundle, LoadOptions, PolicyLoadError, ServerEntity, compile_allow, may_ask
from gateway.policy.lint import check
from tests.policy.acme import AGENTS, CHECK, LIST, MAIL, PAY, PAYER, PAYMENT, TOOLS, ask

OFFERED = frozenset(ACTION_OF) - ASKS
PARAMS = {
    "uri": "file:///a",
    "name": "greet",
    "ref": {"type": "ref/resource", "uri": "file:///{path}"},
}


def methods(*patterns):
    """Return the operations an allow list permits, of the servers files and mail."""
    bundle = Bundle.load(compile_allow({"payer": patterns}), TOOLS, AGENTS)
    asked = [operation(server, method) for server in ("files", "mail") for method in sorted(ACTION_OF)]
    return {one.name for one in asked if ask(bundle, one, PARAMS).allowed}


def of(server, names):
    return {f"{server}.{name}" for name in names}


@pytest.mark.parametrize(
    ("patterns", "callable_tools"),
    [
        (["*"], TOOLS),
        (["fraud.check", "*"], TOOLS),
        (["payments.*"], (PAY, LIST)),
        (["payments.pay"], (PAY,)),
        (["*.send", "fraud.check"], (CHECK, MAIL)),
        (["payments.p*y", "nobody.knows"], (PAY,)),
        (["payments"], ()),
        ([], ()),
    ],
)
def test_an_allow_list_allows_exactly_what_its_patterns_match(patterns, callable_tools):
    bundle = Bundle.load(compile_allow({"payer": patterns}), TOOLS, AGENTS)
    arguments = {**PAYMENT, "to": [], "text": ""}
    assert tuple(one for one in TOOLS if ask(bundle, one, arguments).allowed) == callable_tools


def test_an_allow_list_is_for_its_agent_alone():
    bundle = Bundle.load(compile_allow({"reader": ["*"]}), TOOLS, AGENTS)
    assert not ask(bundle, LIST, {}, who=PAYER).allowed


def test_an_allow_list_has_stable_ids_and_reads_as_cedar():
    [source] = compile_allow({"payer": ["fraud.*", "payments.l*", "payments.pay"]})
    assert source.name == "agents.payer.allow"
    assert source.text == (
        '@id("allow.payer")\n'
        'permit (principal == Gateway::Agent::"payer", action in [Gateway::Action::"call_tool", '
        'Gateway::Action::"read_resource", Gateway::Action::"get_prompt", Gateway::Action::"complete"], resource)\n'
        "when {\n"
        '  resource in Gateway::Server::"fraud"\n'
        "};\n"
        "\n"
        '@id("allow.payer/tools")\n'
        'permit (principal == Gateway::Agent::"payer", action in Gateway::Action::"call_tool", resource)\n'
        "when {\n"
        '  resource.name like "payments.l*" ||\n'
        '  resource == Gateway::Tool::"payments.pay"\n'
        "};\n"
    )


def test_a_long_allow_list_becomes_several_policies():
    bundle = Bundle.load(compile_allow({"payer": [f"t.n{n}" for n in range(120)] + ["payments.list"]}), TOOLS, AGENTS)
    names = [policy.id for policy in bundle.policies]
    assert names == ["allow.payer/tools", "allow.payer/tools.2", "allow.payer/tools.3"]
    assert ask(bundle, LIST, {}).policies == ("allow.payer/tools.3",)
    bundle = Bundle.load(compile_allow({"payer": [f"s{n}.*" for n in range(60)]}), TOOLS, AGENTS)
    assert [policy.id for policy in bundle.policies] == ["allow.payer", "allow.payer.2"]
    assert ask(bundle, operation("s9", "resources/read"), PARAMS).policies == ("allow.payer.2",)


@pytest.mark.parametrize("agent", ['quo"te', "back\\slash", "new\nline", "été", "a`b"])
def test_an_agents_name_cannot_break_out_of_its_policy(agent):
    sources = compile_allow({agent: ["*"]})
    if agent in {"new\nline", "a`b"}:
        with pytest.raises(PolicyLoadError, match="@id"):
            Bundle.load(sources, TOOLS, [AgentEntity(agent)])
    else:
        [policy] = Bundle.load(sources, TOOLS, [AgentEntity(agent)]).policies
        assert policy.id == f"allow.{agent}"


@pytest.mark.parametrize("pattern", ["", "a b", 'a"b', "a\\b"])
def test_a_pattern_that_is_no_tool_name_is_refused(pattern):
    with pytest.raises(PolicyLoadError, match=r"agents\.payer\.allow: pattern"):
        compile_allow({"payer": [pattern]})


@pytest.mark.parametrize(
    ("patterns", "permitted"),
    [
        (["*"], of("files", OFFERED) | of("mail", OFFERED)),
        (["*.*", "files.resources/read"], of("files", OFFERED) | of("mail", OFFERED)),
        (["files.*"], of("files", OFFERED)),
        (["files.*", "files.prompts/get", "mail.prompts/get"], of("files", OFFERED) | {"mail.prompts/get"}),
        (["files.read_*", "f*.*", "files.resources", "files.a/*", "mail.send"], set()),
        (["files.resources/read"], {"files.resources/read", "files.resources/subscribe"}),
        (["files.resources/*"], {"files.resources/read", "files.resources/subscribe"}),
        (["files.prompts/get"], {"files.prompts/get"}),
        (["*.prompts/get"], {"files.prompts/get", "mail.prompts/get"}),
        (["files.completion/complete"], {"files.completion/complete"}),
        (["files.elicitation/create"], {"files.elicitation/create"}),
        (
            ["files.elicitation/*", "mail.sampling/createMessage"],
            {"files.elicitation/create", "mail.sampling/createMessage"},
        ),
        (["*.roots/list"], {"files.roots/list", "mail.roots/list"}),
        (["mail.*", "files.roots/list"], of("mail", OFFERED) | {"files.roots/list"}),
    ],
)
def test_an_allow_list_permits_documents_and_prompts_of_whole_servers_and_each_method_by_name(patterns, permitted):
    assert methods(*patterns) == permitted


@pytest.mark.parametrize("method", sorted(ASKS))
@pytest.mark.parametrize("patterns", [["*"], ["*.*"], ["files.*"], ["files.**"], ["*.*/*"], ["files.*/*"], ["*/*"]])
def test_what_a_server_asks_of_a_client_is_permitted_only_by_its_name(patterns, method):
    bundle = Bundle.load(compile_allow({"payer": patterns}), TOOLS, AGENTS)
    assert not ask(bundle, operation("files", method), {}).allowed
    assert may_ask(bundle, PAYER, "files") == frozenset()


def test_a_pattern_for_everything_is_one_policy():
    [source] = compile_allow({"payer": ["fraud.check", "*"]})
    assert source.text == (
        '@id("allow.payer")\n'
        'permit (principal == Gateway::Agent::"payer", action in [Gateway::Action::"call_tool", '
        'Gateway::Action::"read_resource", Gateway::Action::"get_prompt", Gateway::Action::"complete"], resource);\n'
    )


def test_a_method_that_is_named_reads_as_cedar():
    [source] = compile_allow({"payer": ["mail.elicitation/create", "mail.prompts/get", "*.completion/complete"]})
    assert source.text.split("\n\n") == [
        '@id("allow.payer/get_prompt")\n'
        'permit (principal == Gateway::Agent::"payer", action == Gateway::Action::"get_prompt", resource)\n'
        'when {\n  resource in Gateway::Server::"mail"\n};',
        '@id("allow.payer/complete")\n'
        'permit (principal == Gateway::Agent::"payer", action == Gateway::Action::"complete", resource);',
        '@id("allow.payer/elicit")\n'
        'permit (principal == Gateway::Agent::"payer", action == Gateway::Action::"elicit", resource)\n'
        'when {\n  resource == Gateway::Server::"mail"\n};\n',
    ]


@pytest.mark.parametrize("pattern", ["fi*.resources/read", "*s.elicitation/*"])
def test_a_method_of_servers_that_are_named_in_part_is_refused(pattern):
    with pytest.raises(PolicyLoadError, match=r"agents\.payer\.allow: pattern.*part of a server"):
        compile_allow({"payer": [pattern]})


@pytest.mark.parametrize("pattern", ["docs.*", "docs.resources/read", "docs.elicitation/create", "*.prompts/get", "*"])
def test_permits_of_more_than_tools_are_not_taken_for_ones_that_match_no_tool(pattern):
    assert check(Bundle.load(compile_allow({"payer": [pattern]}), TOOLS, AGENTS)) == ()


def test_a_pattern_that_matches_no_tool_is_pointed_at():
    codes = [one.code for one in check(Bundle.load(compile_allow({"payer": ["docs.read_*"]}), TOOLS, AGENTS))]
    assert codes == ["never_true"]


def test_a_server_that_is_not_configured_is_pointed_at_where_the_servers_are_known():
    sources = compile_allow({"payer": ["paymnts.*", "docs.resources/read", "docz.elicitation/create"]})
    known = Bundle.load(sources, TOOLS, AGENTS, LoadOptions(servers=(ServerEntity("payments"), ServerEntity("docs"))))
    assert [(one.code, one.fix) for one in check(known)] == [
        ("unknown_entity", "did you mean 'payments'?"),
        ("unknown_entity", "did you mean 'docs'?"),
    ]
    assert check(Bundle.load(sources, TOOLS, AGENTS)) == ()
