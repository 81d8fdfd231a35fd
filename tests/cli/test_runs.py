"""`toolgate runs`: the steps of a piece of work, and what becomes of one in doubt."""

from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Succeeded, Unknown
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import CountingIds
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, answer

LOST = ConnectorFault("no answer", code="timeout")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def pay(house: House, *answers: Any, number: int = 0) -> Any:
    """Check and pay through a gateway of its own; return how the payment ended."""

    async def work(store: SqliteStore) -> Any:
        durable: Any = store
        ids = CountingIds()
        for _ in range(100 * number):
            ids.new("call")
        gate = Gate(PERMIT_ALL, PRECONDITION, store=durable, ids=ids)
        gate.servers["fraud"].calls.append(answer({"result": "passed"}))
        gate.servers["payments"].calls += answers
        if number == 0:
            await gate.run("fraud_check", run="job")
        return (await gate.run("payments_pay", run="job")).outcome

    return house.store(work)


def doubtful(house: House) -> str:
    """Leave a payment in doubt; return its id."""
    assert isinstance(pay(house, LOST), Unknown)
    [run] = [each for each in house.json("runs", "list") if each["in_doubt"]]
    [step] = [each for each in house.json("runs", "show", run["run"]) if each["outcome"].startswith("unknown")]
    return str(step["call"])


def test_a_run_is_shown_step_by_step_with_what_to_do_about_doubt(house: House) -> None:
    call = doubtful(house)
    [run] = house.json("runs", "list", "--owner", "payer")
    assert (run["calls"], run["in_doubt"]) == (2, 1)
    steps = house.json("runs", "show", run["run"])
    assert [(each["n"], each["tool"]) for each in steps] == [(1, "fraud.check"), (2, "payments.pay")]
    assert f"toolgate runs settle {call}" in house.run("runs", "show", run["run"]).output
    assert "no runs" in house.run("runs", "list", "--owner", "nobody").output


def test_a_repeat_of_a_call_in_doubt_is_not_in_doubt_itself(house: House) -> None:
    first = doubtful(house)
    assert isinstance(pay(house, number=1), Unknown)
    [run] = house.json("runs", "list", "--owner", "payer")
    [*_, again] = [each["call"] for each in house.json("runs", "show", run["run"])]
    shown = house.run("runs", "show", run["run"]).output
    assert (f"settle {first}" in shown, f"settle {again}" in shown) == (True, False)
    refused = house.run("runs", "settle", again, "succeeded")
    assert (refused.exit_code, f"it was not sent, since {first} was before it" in refused.output) == (1, True)


def test_a_payment_settled_as_made_is_not_made_again_and_its_repeat_is_answered(house: House) -> None:
    call = doubtful(house)
    told = house.run(
        "runs", "settle", call, "succeeded", "--note", "seen at the bank", "--result", '{"receipt": "r_9"}'
    )
    assert told.exit_code == 0
    outcome = pay(house, number=1)
    assert isinstance(outcome, Succeeded)
    assert (outcome.replayed_from, outcome.result["structuredContent"]) == (call, {"receipt": "r_9"})
    assert "seen at the bank" in outcome.result["content"][0]["text"]
    assert house.run("verify").exit_code == 0
    [line] = [each for each in house.json("trace", "list") if each["call"] == call]
    assert line["outcome"] == "succeeded"


def test_a_payment_settled_as_not_made_can_be_made_with_the_same_check(house: House) -> None:
    call = doubtful(house)
    assert house.run("runs", "settle", call, "failed").exit_code == 0
    assert isinstance(pay(house, answer({"receipt": "r_1"}), number=1), Succeeded)
    assert house.run("verify").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("call_0", "succeeded"), "no call"),
        (("{call}", "perhaps"), "succeeded or failed"),
        (("{call}", "succeeded", "--result", "{"), "not JSON"),
    ],
)
def test_what_cannot_be_settled_says_why(house: House, arguments: tuple[str, ...], said: str) -> None:
    call = doubtful(house)
    refused = house.run("runs", "settle", *(each.format(call=call) if "{call" in each else each for each in arguments))
    assert (refused.exit_code, said in refused.output) == (1, True)


def test_what_was_settled_is_in_doubt_no_more(house: House) -> None:
    call = doubtful(house)
    house.run("runs", "settle", call, "failed")
    refused = house.run("runs", "settle", call, "succeeded")
    assert (refused.exit_code, "not in doubt" in refused.output) == (1, True)


def test_a_run_nobody_opened_is_not_there(house: House) -> None:
    refused = house.run("runs", "show", "run_x")
    assert (refused.exit_code, "toolgate runs list" in refused.output) == (1, True)


def calls(house: House, *tools: str, number: int, run: str | None = None) -> list[str]:
    """Make calls through a gateway of its own; return what their runs were, or why they were refused."""

    async def work(store: SqliteStore) -> list[str]:
        durable: Any = store
        ids = CountingIds()
        for _ in range(1000 * number):
            ids.new("call")
        gate = Gate(store=durable, ids=ids)
        await gate.pauses.refresh()
        ended = [await gate.run(tool, run=run) for tool in tools]
        return [
            each.call.facts.run.id if each.call.has("facts") else str(getattr(each.outcome, "error", None))
            for each in ended
        ]

    return house.store(work)


def test_a_broken_off_run_is_resumed_by_an_operator_and_its_agent_need_not_know(house: House) -> None:
    [run] = set(calls(house, "payments_pay", number=1, run="job"))
    told = house.run("runs", "resume", run)
    assert (told.exit_code, "attempt 2" in told.output) == (0, True)
    assert calls(house, "payments_pay", "payments_pay", number=2) == [run, run]
    steps = house.json("runs", "show", run)
    assert len(steps) == 3
    assert [each["attempts"] for each in house.json("runs", "list")] == [2]


def test_a_run_is_paused_and_goes_on_where_it_was(house: House) -> None:
    [run] = calls(house, "payments_pay", number=1, run="job")
    assert house.run("runs", "pause", run, "--reason", "lunch").exit_code == 0
    assert "lunch" in calls(house, "payments_pay", number=2, run="job")[0]
    assert house.run("runs", "unpause", run).exit_code == 0
    assert "not paused" in house.run("runs", "unpause", run).output
    house.run("runs", "pause", run)
    assert "where it was paused" in house.run("runs", "resume", run).output
    assert calls(house, "payments_pay", number=3, run="job") == [run]
    house.run("runs", "pause", run)
    assert "attempt 2" in house.run("runs", "resume", run, "--again").output
    assert house.json("pause") == []


def test_a_cancelled_run_takes_no_call_and_nothing_more_is_done_with_it(house: House) -> None:
    [run] = calls(house, "payments_pay", number=1, run="job")
    assert house.run("runs", "cancel", run, "--reason", "wrong account").exit_code == 0
    assert "cancelled by an operator" in calls(house, "payments_pay", number=2, run="job")[0]
    assert [each["status"] for each in house.json("runs", "list")] == ["cancelled"]
    for command in ("resume", "pause", "cancel"):
        refused = house.run("runs", command, run)
        assert (refused.exit_code, "is cancelled" in refused.output) == (1, True)
    assert house.run("verify").exit_code == 0


def test_a_run_that_is_not_there_is_not_handled(house: House) -> None:
    for command in ("resume", "pause", "cancel"):
        refused = house.run("runs", command, "run_0")
        assert (refused.exit_code, "toolgate runs list" in refused.output) == (1, True)


def test_what_is_done_to_a_run_is_told_to_programs_too_and_so_is_what_is_refused(house: House, tmp_path: Path) -> None:
    call = doubtful(house)
    [run] = [each["run"] for each in house.json("runs", "list", "--owner", "payer")]
    settled = house.json("runs", "settle", call, "failed")
    assert (settled["call"], settled["outcome"]) == (call, "failed")
    for deed in ("pause", "unpause", "resume", "pause", "export", "cancel"):
        where = ("-o", str(tmp_path / "run.jsonl")) if deed == "export" else ()
        told = house.json("runs", deed, run, *where)
        assert (told["run"], run in told["message"]) == (run, True)
    for refused in (("pause", "run_no"), ("settle", call, "maybe"), ("export", "run_no"), ("clear-taint", run)):
        why = ("--why", "none") if refused[0] == "clear-taint" else ()
        assert {"error", "message", "hint"} == house.json("runs", *refused, *why).keys()


def test_a_run_is_listed_under_the_name_that_its_agent_gave_it_and_found_by_that(house: House) -> None:
    pay(house, answer({}))
    [run] = house.json("runs", "list")
    assert (run["name"], "KEY" in house.run("runs", "list").output) == ("job", False)
    assert run["run"] in house.json("runs", "show", "job")["hint"]
    assert house.json("runs", "show", "other")["hint"] == "list them: toolgate runs list"
