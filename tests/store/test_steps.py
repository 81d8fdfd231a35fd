"""Looking steps up: the same on every store, with an index and without."""

from typing import Any

import pytest

from gateway.model.facts import PriorScope, StepStatus
from gateway.store.ports import Store
from tests.store.making import T0, ending, intent, lookup, record, step


async def found(store: Store, *values: tuple[str, Any], **f: Any) -> str | None:
    asked = lookup(values=values, **f)
    answer = (await store.steps([asked]))[0]
    return None if answer is None else answer.call_id


async def test_a_step_comes_back_with_all_that_was_recorded(store: Store) -> None:
    await store.claim(intent("c1", "fraud.check", {"payment_id": "p-1", "n": {"x": 1}}, on_behalf_of="ann"))
    await store.finish(ending("c1", output={"risk": "low", "score": 2**70}))
    step_ = (await store.steps([lookup(values=[("payment_id", "p-1")])]))[0]
    assert step_ is not None
    assert (step_.call_id, step_.tool, step_.agent, step_.run_id) == ("c1", "fraud.check", "billing", "run_1")
    assert (step_.status, step_.started_at_ms, step_.at_ms) == (StepStatus.SUCCEEDED, T0, T0 + 1000)
    assert (step_.on_behalf_of, step_.consumed_by) == ("ann", None)
    assert step_.arguments == {"payment_id": "p-1", "n": {"x": 1}}
    assert step_.output == {"risk": "low", "score": 2**70}


async def test_what_is_to_be_known_of_an_answer_comes_back_with_its_step(store: Store) -> None:
    await store.claim(intent("c1", "fraud.check", {}))
    await store.finish(ending("c1", body={"result": {}, "labels": ["incomplete", "stale"]}))
    step_ = (await store.steps([lookup()]))[0]
    assert step_ is not None
    assert step_.labels == ("incomplete", "stale")


async def test_a_step_in_flight_is_found_as_executing(store: Store) -> None:
    await store.claim(intent("c1", "fraud.check", {}))
    step_ = (await store.steps([lookup()]))[0]
    assert step_ is not None
    assert (step_.status, step_.at_ms, step_.output, step_.on_behalf_of) == (StepStatus.EXECUTING, T0, None, None)


@pytest.mark.parametrize("status", [StepStatus.FAILED, StepStatus.UNKNOWN])
async def test_only_a_step_that_succeeded_has_an_output(store: Store, status: StepStatus) -> None:
    await store.claim(intent("c1", "fraud.check", {}))
    await store.finish(ending("c1", status, output={"risk": "low"}))
    step_ = (await store.steps([lookup()]))[0]
    assert step_ is not None
    assert (step_.status, step_.output) == (status, None)


@pytest.mark.parametrize("body", [{}, {"result": 5}, {"result": {"structuredContent": [1]}}, {"result": {}}])
async def test_an_output_is_an_object_or_nothing(store: Store, body: dict[str, Any]) -> None:
    await store.claim(intent("c1", "fraud.check", body={"no": "arguments"}))
    await store.finish(ending("c1", body=body))
    step_ = (await store.steps([lookup()]))[0]
    assert step_ is not None
    assert (step_.output, step_.arguments) == (None, {})


async def test_the_latest_started_step_counts_whatever_became_of_it(store: Store) -> None:
    await step(store, "c1", {"payment_id": 7})
    await store.claim(intent("c2", "fraud.check", {"payment_id": 7}, at_ms=T0 - 5))
    await store.finish(ending("c2", StepStatus.FAILED))
    assert await found(store, ("payment_id", 7)) == "c2"


async def test_reads_and_refusals_are_no_steps(store: Store) -> None:
    await store.record(record("c1", tool="fraud.check", body={"arguments": {"payment_id": 7}}))
    assert await found(store, ("payment_id", 7)) is None


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("kept", "asked", "same"),
    [
        (7, 7, True),
        (7, "7", False),
        ("7", 7, False),
        (250, 250.0, True),
        (250.0, 250, True),
        (0.1, 0.1, True),
        (True, 1, False),
        (1, True, False),
        (True, True, True),
        (False, 0, False),
        (False, False, True),
        ("true", True, False),
        (None, "", False),
        ("a\u0000b", "a\u0000b", True),
        ("a\u0000b", "a", False),
        ('it\'s "so" é 🙂', 'it\'s "so" é 🙂', True),
        (2**63, 2**63, True),
        (2**63, 2**63 + 1, False),
        (-(2**70), -(2**70), True),
        (10**400, 10**400, True),
        (2**53 + 1, float(2**53), False),
        ([7], 7, False),
        ({"x": 7}, 7, False),
    ],
)
async def test_values_compare_as_json(store: Store, kept: Any, asked: Any, same: bool, indexed: bool) -> None:
    if indexed:
        await store.index_steps("fraud.check", ("v",))
    await step(store, "c1", {"v": kept})
    assert (await found(store, ("v", asked)) is not None) is same


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    "path", ["plain", "a.b.c", "with space", "it's", 'a"b', "back\\slash", "tab\there", "é", "$.x", "[0]"]
)
async def test_a_path_names_nested_properties(store: Store, path: str, indexed: bool) -> None:
    if indexed:
        await store.index_steps("fraud.check", (path,))
    nested: Any = 7
    for name in reversed(path.split(".")):
        nested = {name: nested}
    await step(store, "c1", nested)
    assert await found(store, (path, 7)) == "c1"
    assert await found(store, (path, 8)) is None


async def test_a_path_into_something_that_is_no_object_finds_nothing(store: Store) -> None:
    await step(store, "c1", {"a": [1], "b": "text"})
    assert await found(store, ("a.0", 1)) is None
    assert await found(store, ("b.x", 1)) is None
    assert await found(store, ("c.d", 1)) is None


async def test_every_value_has_to_hold(store: Store) -> None:
    await store.index_steps("fraud.check", ("payment_id", "amount"))
    await step(store, "c1", {"payment_id": 7, "amount": 250})
    await step(store, "c2", {"payment_id": 7, "amount": 300})
    assert await found(store, ("payment_id", 7), ("amount", 250)) == "c1"
    assert await found(store, ("amount", 300), ("payment_id", 7)) == "c2"
    assert await found(store, ("payment_id", 7), ("amount", 1)) is None
    assert await found(store, ("payment_id", 7)) == "c2"


@pytest.mark.parametrize("indexed", [None, (), ("v",)])
@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (PriorScope.RUN, "run_id"),
        (PriorScope.SESSION, "session"),
        (PriorScope.AGENT, "agent"),
        (PriorScope.USER, "on_behalf_of"),
    ],
)
async def test_a_scope_ends_at_its_owner(
    store: Store, scope: PriorScope, field: str, indexed: tuple[str, ...] | None
) -> None:
    if indexed is not None:
        await store.index_steps("fraud.check", indexed)
    values = [(path, 1) for path in indexed or ()]
    await step(store, "c1", {"v": 1}, **{field: "mine"})
    await step(store, "c2", {"v": 1}, **{field: "theirs"})
    assert await found(store, *values, scope=scope, owner="mine") == "c1"
    assert await found(store, *values, scope=scope, owner="nobody") is None
    assert await found(store, *values, tool="other.tool", scope=scope, owner="mine") is None


@pytest.mark.parametrize("scope", list(PriorScope))
async def test_nobody_owns_nothing(store: Store, scope: PriorScope) -> None:
    await step(store, "c1", {}, session="", on_behalf_of="")
    assert await found(store, scope=scope, owner="") is None


async def test_steps_that_started_too_early_do_not_count(store: Store) -> None:
    await step(store, "c1", {"v": 1}, at_ms=T0)
    assert await found(store, ("v", 1), since_ms=T0) == "c1"
    assert await found(store, ("v", 1), since_ms=T0 + 1) is None


async def test_lookups_are_answered_in_order(store: Store) -> None:
    for number in range(3):
        await step(store, f"c{number}", {"v": number})
    answers = await store.steps([lookup(values=[("v", number)]) for number in (2, 9, 0)])
    assert [None if a is None else a.call_id for a in answers] == ["c2", None, "c0"]
    assert await store.steps([]) == []


async def test_an_index_made_late_finds_what_came_before(store: Store) -> None:
    await step(store, "c1", {"v": 1})
    await store.index_steps("fraud.check", ("v",))
    await store.index_steps("fraud.check", ("v",))
    assert await found(store, ("v", 1)) == "c1"


async def test_a_tool_may_have_a_name_full_of_quotes(store: Store) -> None:
    name = 'it\'s; DROP TABLE events --"x"'
    await store.index_steps(name, ("v",))
    await step(store, "c1", {"v": 1}, tool=name)
    assert await found(store, ("v", 1), tool=name) == "c1"
    assert await store.verify() == 2


async def test_a_key_is_looked_up_exactly(store: Store) -> None:
    await store.claim(intent("c1", step_key="k"))
    assert await store.recorded("billing", "payments.pay", "K") is None
    assert await store.recorded("other", "payments.pay", "k") is None
    assert await store.recorded("billing", "payments.refund", "k") is None
