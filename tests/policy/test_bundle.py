"""What a bundle remembers changes no decision, and is bounded."""

import gc
from dataclasses import replace
from weakref import ref

from gateway.model.identity import Identity
from gateway.policy import decide, decision_input
from gateway.policy.outlook import Outlook
from tests.policy.acme import PAY, PAYMENT, PERMIT_ALL, PRECONDITION, ask, facts, load, step


def test_a_bundle_that_has_seen_thousands_of_agents_decides_like_a_fresh_one() -> None:
    seen, fresh = load(PERMIT_ALL, PRECONDITION), load(PERMIT_ALL, PRECONDITION)
    for number in range(2100):
        seen.situation(seen.request(Identity("payer", "jwt", "jwt:1", teams=(f"team-{number}",)), PAY))
    for known in (facts(), facts(fraud=step())):
        assert ask(seen, PAY, PAYMENT, known) == ask(fresh, PAY, PAYMENT, known)
    assert ask(seen, PAY, PAYMENT, facts(fraud=step())).allowed


def test_a_question_that_stays_the_same_is_answered_once_and_another_bundle_answers_for_itself() -> None:
    allowing, denying = load(PERMIT_ALL), load()
    agent = Identity("payer", "token", "t")
    given = decision_input(allowing, agent, PAY, PAYMENT, facts())
    assert given.lasting
    assert given is decision_input(allowing, agent, PAY, {**PAYMENT, "amount": 7}, facts())
    assert decide(allowing, given) is decide(allowing, given)
    assert (decide(allowing, given).allowed, decide(denying, given).allowed) == (True, False)
    assert decide(allowing, replace(given, lasting=False)) == decide(allowing, given)


def test_of_very_many_lasting_questions_not_all_answers_are_kept_and_each_is_right() -> None:
    bundle = load(PERMIT_ALL)
    given = decision_input(bundle, Identity("payer", "token", "t"), PAY, PAYMENT, facts())
    asked = [replace(given) for _ in range(4100)]
    assert all(decide(bundle, each) == decide(bundle, given) for each in asked)
    assert len(bundle.decided) < len(asked)


def test_of_very_many_callers_none_is_kept_for_ever_and_each_is_answered() -> None:
    bundle = load(PERMIT_ALL)
    callers = [Identity("payer", "token", f"t{number}") for number in range(1030)]
    assert all(bundle.situation_of(one, PAY) is bundle.situation_of(one, PAY) for one in callers)
    assert len(bundle._asked) < len(callers)


def test_a_bundle_that_is_swapped_goes_with_its_last_user_and_waits_for_no_collection() -> None:
    """The collector looks through everything once in many hundred swaps, and a server can cause many."""
    agent = Identity("payer", "token", "t")
    gc.disable()
    try:
        bundle = load(PERMIT_ALL, PRECONDITION)
        ask(bundle, PAY, PAYMENT, facts())
        assert bundle.outlook(agent, PAY) is not Outlook.NEVER
        assert bundle.outlook_on(agent, "resources/read", "payments", "file:///a") is Outlook.NEVER
        kept = ref(bundle), ref(bundle.situation_of(agent, PAY))
        del bundle
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()


def test_a_question_about_the_time_is_asked_anew() -> None:
    bundle = load(PERMIT_ALL.replace(";", ' when { context.base.now < datetime("2100-01-01") };'))
    given = [decision_input(bundle, Identity("payer", "token", "t"), PAY, PAYMENT, facts()) for _ in range(2)]
    assert given[0] is not given[1]
    assert not given[0].lasting


SURE = """
@id("sure")
forbid (principal, action, resource)
when { context.base has confidence && context.base.confidence.lessThan(decimal("0.8")) };
"""
SEEN = PERMIT_ALL.replace(";", " when { context.base.unmodelled.isEmpty() };")


def test_what_an_agent_says_of_its_certainty_is_asked_anew_and_nothing_else_is() -> None:
    bundle, agent = load(PERMIT_ALL, SURE), Identity("payer", "token", "t")
    given = decision_input(bundle, agent, PAY, PAYMENT, facts())
    assert given.lasting
    assert given is decision_input(bundle, agent, PAY, {**PAYMENT, "amount": 7}, facts())
    unsure = decision_input(bundle, agent, PAY, PAYMENT, replace(facts(), confidence="0.5"))
    assert not unsure.lasting
    assert [decide(bundle, one).allowed for one in (given, unsure, given)] == [True, False, True]


def test_arguments_that_policies_cannot_see_are_asked_about_anew_and_those_they_can_are_not() -> None:
    bundle, agent = load(SEEN), Identity("payer", "token", "t")
    given = decision_input(bundle, agent, PAY, PAYMENT, facts())
    assert given.lasting
    assert given is decision_input(bundle, agent, PAY, {**PAYMENT, "amount": 7}, facts())
    hidden = decision_input(bundle, agent, PAY, {**PAYMENT, "surprise": 1}, facts())
    assert hidden.context["base"]["unmodelled"] == ["/surprise"]
    assert [decide(bundle, one).allowed for one in (given, hidden, given)] == [True, False, True]
