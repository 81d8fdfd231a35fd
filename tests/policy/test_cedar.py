"""The wrapper around the engine turns what Cedar refuses into errors of its own."""

from dataclasses import replace

import pytest

from gateway.policy.cedar import (
    CedarError,
    compile_policies,
    load_entities,
    load_schema,
    parse,
    parse_many,
    pst,
    validate,
)
from gateway.policy.need import need_of
from gateway.policy.projection import World, holds

PERMIT = "permit (principal, action, resource);"


@pytest.mark.parametrize("text", ["", "// nothing", PERMIT + PERMIT, "permit"])
def test_only_one_policy_is_parsed_at_a_time(text):
    with pytest.raises(CedarError):
        parse(text)


def test_policies_keep_the_ids_they_are_given():
    assert str(parse_many({"a": PERMIT, "b": PERMIT})).count("permit") == 2


def test_nodes_that_form_no_policy_are_refused():
    slot = replace(parse(PERMIT), principal=pst.ScopeEq(pst.Slot("principal")))
    with pytest.raises(CedarError):
        compile_policies([slot])


@pytest.mark.parametrize("raw", [b"{", b"[{}]", b'[{"uid": 1, "attrs": {}, "parents": []}]'])
def test_entities_that_are_none_are_refused(raw):
    with pytest.raises(CedarError):
        load_entities(raw)


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(CedarError):
        load_schema({"": []})


def test_validation_speaks_in_cedars_words():
    schema = load_schema({"": {"entityTypes": {}, "actions": {}}})
    assert any(
        "unrecognized action" in problem
        for problem in validate('permit (principal, action == Action::"x", resource);', schema)
    )


def need(condition):
    return need_of(parse(f"permit (principal, action, resource) when {{ {condition} }};"))


def test_what_lies_inside_other_expressions_is_read_too():
    found = need("(if context has a then context.b else {c: context.d.e}).c has f && [context.g].contains(principal.h)")
    assert sorted(found.parts) == ["a", "b", "d", "g"]
    assert (found.parts["a"].whole, found.parts["b"].whole) == (False, True)
    assert found.reads(["d", "e", "deeper"])
    assert not found.reads(["d", "x"])
    assert not found.reads(["x", "y"])


def test_a_whole_value_and_its_part_are_one_need():
    found = need("context.a.b == 1 && context.a == context.a")
    assert found.prune({"a": {"b": 1, "c": 2}, "d": 3}) == {"a": {"b": 1, "c": 2}}


def test_an_entity_in_two_groups_of_one_group_is_in_all_of_them():
    uids = {name: {"type": "T", "id": name} for name in "abcd"}
    parents = {"a": "bc", "b": "d", "c": "d", "d": ""}
    entities = [
        {"uid": uids[name], "attrs": {}, "parents": [uids[one] for one in above]} for name, above in parents.items()
    ]
    world = World.of((uids["a"], uids["a"], uids["a"]), entities)
    for group in "abcd":
        assert holds(
            parse(f'permit (principal, action, resource) when {{ principal in T::"{group}" }};'), world, exact=True
        )


def test_an_attribute_of_a_kind_the_evaluator_does_not_know_is_unknown():
    uid = {"type": "T", "id": "t"}
    world = World.of((uid, uid, uid), [{"uid": uid, "attrs": {"tags": ["a"]}, "parents": []}])
    assert (
        holds(parse('permit (principal, action, resource) when { principal.tags.contains("a") };'), world, exact=True)
        is None
    )
