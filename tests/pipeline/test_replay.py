"""What is on record can be decided again, by the very policies that decided it."""

from typing import Any

from gateway.codec import digest, dump
from gateway.ledger.bundles import is_as_named, kept_bundle
from gateway.pipeline.replay import Replayed, Verdict, replay
from gateway.policy import bundle_from
from gateway.store.bodies import load
from gateway.store.memory import MemoryStore
from gateway.store.ports import EventFilter, EventKind, Record
from tests.fixtures.clock import FakeClock
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, PRECONDITION, SECRET, Gate, answer, rules_of
from tests.pipeline.people import POLICIES, a_gate, asked

NO_ACME = """
@id("no-acme")
forbid (principal, action == Gateway::Action::"payments.pay", resource) when { context.input.payee == "ACME" };
"""


async def replayed(store: MemoryStore, **wanted: Any) -> list[Replayed]:
    return [one async for one in replay(store, EventFilter(**wanted))]


async def a_day() -> Gate:
    """A refusal, a check, a payment, a read, a call of a tool that is not there, and one that waits for a person."""
    gate = a_gate(*POLICIES, PRECONDITION)
    await gate.run("payments_pay")
    gate.servers["fraud"].calls.append(answer({"result": "passed"}))
    await gate.run("fraud_check")
    await asked(gate)
    await gate.run("payments_list", {"limit": 3})
    await gate.run("nowhere", {})
    await gate.run("mail_send", {"to": "ann"}, agent="other")
    return gate


async def test_every_kind_of_decision_is_made_again_byte_for_byte() -> None:
    gate = await a_day()
    found = await replayed(gate.store)
    assert [one.verdict for one in found] == [Verdict.EQUAL] * 5
    assert {one.recorded["ruling"] for one in found} == {"needs_precondition", "allow", "needs_approval"}
    assert all(dump(one.decided) == dump(one.recorded) for one in found)


async def test_a_replay_asks_no_server_and_writes_nothing() -> None:
    gate = await a_day()
    before, asked_before = len(await gate.events()), {name: len(each.asked) for name, each in gate.servers.items()}
    await replayed(gate.store)
    assert len(await gate.events()) == before
    assert {name: len(each.asked) for name, each in gate.servers.items()} == asked_before


async def test_policies_are_on_record_once_before_the_first_call_they_decided() -> None:
    gate = await a_day()
    gate.rules.current = rules_of(PERMIT_ALL, NO_ACME)
    await gate.run("payments_list", {})
    kept = [(n, event) for n, event in enumerate(await gate.events()) if event.kind is EventKind.BUNDLE_KEPT]
    assert len(kept) == 2
    for number, event in kept:
        named = [n for n, each in enumerate(await gate.events()) if f'"bundle":"{event.call_id}"' in each.body]
        assert named
        assert min(named) > number
        assert is_as_named(load(event.body.encode()))


async def test_policies_that_another_process_put_on_record_are_not_put_there_again() -> None:
    gate = Gate()
    await gate.run("payments_list", {})
    again = Gate(store=gate.store, ids=gate.ids)
    await again.run("payments_list", {})
    kept = [event for event in await gate.events() if event.kind is EventKind.BUNDLE_KEPT]
    assert [event.call_id for event in kept] == [gate.rules.current.bundle.digest]


async def test_a_bundle_comes_back_from_the_record_as_it_was() -> None:
    gate = await a_day()
    bundle = gate.rules.current.bundle
    body = await kept_bundle(gate.store, bundle.digest)
    assert body is not None
    again = bundle_from(body)
    assert (again.digest, again.text, again.prior_indexes) == (bundle.digest, bundle.text, bundle.prior_indexes)


async def test_each_call_is_replayed_by_the_policies_that_decided_it() -> None:
    gate = Gate()
    await gate.run("payments_pay")
    gate.rules.current = rules_of(PERMIT_ALL, NO_ACME)
    await gate.run("payments_pay", {**PAYMENT, "payment_id": "p_18"})
    found = await replayed(gate.store)
    assert [(one.verdict, one.recorded["allowed"]) for one in found] == [(Verdict.EQUAL, True), (Verdict.EQUAL, False)]


async def forged(gate: Gate, **changes: Any) -> Replayed:
    """Put another decision on record than the policies would make, in a ledger of its own."""
    [*_, event] = await gate.events()
    body = load(event.body.encode())
    body["decision"] |= changes
    store = MemoryStore(FakeClock())
    for each in await gate.events():
        if each.kind is EventKind.BUNDLE_KEPT:
            kept = load(each.body.encode())
            await store.record(Record(each.call_id, 0, "", "", "", "", kept, EventKind.BUNDLE_KEPT))
    await store.record(Record("c", 0, "", "payer", "", "payments.pay", body))
    [found] = await replayed(store)
    return found


async def denied() -> Gate:
    gate = Gate(PERMIT_ALL, NO_ACME)
    await gate.run("payments_pay")
    return gate


async def test_a_decision_that_the_policies_do_not_make_is_named_with_what_is_other() -> None:
    found = await forged(await denied(), allowed=True, policies=["permit-all"])
    assert (found.verdict, found.why) == (Verdict.DIFFERS, "another allowed, policies")


async def test_a_decision_that_is_only_said_otherwise_is_the_same() -> None:
    found = await forged(await denied(), message="Not this one.")
    assert (found.verdict, found.why) == (Verdict.REWORDED, "another message")


async def test_a_call_decided_by_policies_that_are_not_on_record_cannot_be_replayed() -> None:
    found = await forged(await denied(), bundle="sha256:gone")
    assert (found.verdict, found.why) == (Verdict.NO_BUNDLE, "no bundle sha256:gone is on record")


async def test_policies_on_record_under_the_name_of_others_decide_nothing() -> None:
    gate = await denied()
    named = gate.rules.current.bundle.digest
    body = dict(await kept_bundle(gate.store, named) or {})
    body["policies"] = [["1.cedar", PERMIT_ALL]]
    store = MemoryStore(FakeClock())
    await store.record(Record(named, 0, "", "", "", "", body, EventKind.BUNDLE_KEPT))
    [*_, event] = await gate.events()
    await store.record(Record("c", 0, "", "payer", "", "payments.pay", load(event.body.encode())))
    [found] = await replayed(store)
    assert (found.verdict, found.why) == (
        Verdict.NO_BUNDLE,
        f"what is on record as the bundle {named} is another",
    )


async def test_policies_that_this_version_does_not_accept_decide_nothing() -> None:
    gate = await denied()
    body = dict(await kept_bundle(gate.store, gate.rules.current.bundle.digest) or {})
    body["policies"] = [["1.cedar", "permit (principal, action, resource) when { context.nonsense };"]]
    body["digest"] = digest({"schema": body["schema"], "policies": body["policies"]})
    store = MemoryStore(FakeClock())
    await store.record(Record(body["digest"], 0, "", "", "", "", body, EventKind.BUNDLE_KEPT))
    [*_, event] = await gate.events()
    told = load(event.body.encode())
    told["decision"]["bundle"] = body["digest"]
    await store.record(Record("c", 0, "", "payer", "", "payments.pay", told))
    [found] = await replayed(store)
    assert found.verdict is Verdict.NO_BUNDLE
    assert "cannot read" in found.why


async def test_a_decision_made_of_a_secret_that_was_not_kept_is_said_to_be_one() -> None:
    gate = Gate(PERMIT_ALL, NO_ACME.replace('"ACME"', f'"{SECRET}"'))
    ended = await gate.run("payments_pay", {**PAYMENT, "payee": SECRET})
    [event] = await gate.events(ended.call.id)
    assert SECRET not in event.body
    [found] = await replayed(gate.store)
    assert (found.verdict, found.recorded["allowed"]) == (Verdict.REDACTED, False)


async def test_a_run_or_a_call_is_replayed_alone() -> None:
    gate = await a_day()
    every = await replayed(gate.store)
    assert [one.event.call_id for one in await replayed(gate.store, call_id=every[2].event.call_id)] == [
        every[2].event.call_id
    ]
    assert len(await replayed(gate.store, tool="payments.*")) == 3
