"""Answers that were too large are read on in by whoever asked, for an hour, and by nobody else."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.catalog.cut import CUT
from gateway.catalog.own_tools import READ_RESULT
from gateway.model.identity import Identity
from gateway.model.outcome import Denied, Failed, Succeeded
from gateway.pipeline.desk import Grant
from gateway.pipeline.kept import Bounds
from gateway.pipeline.rules import Limits
from gateway.pipeline.runner import Ended
from gateway.pipeline.stages.execute import Execute
from tests.pipeline.gate import PAYMENT, PERMIT_ALL, SECRET, Gate, request, rules_of
from tests.pipeline.people import BOB, HOUR, LEADS

LONG = "".join(f"line {number}\n" for number in range(2000))
ONLY_OWN = """
@id("own") permit (principal, action == Gateway::Action::"results.read", resource);
"""


def limited(*policies: str, limit: int = 2048, bounds: Bounds | None = None) -> Gate:
    gate = Gate(*policies)
    results = {name: limit for name in ("payments.list", "payments.pay", "fraud.check")}
    gate.rules.current = replace(gate.rules.current, limits=Limits(results=results))
    if bounds is not None:
        gate.kept.__init__(gate.rules, gate.clock, gate.ids, bounds)  # type: ignore[misc]
    return gate


def long(text: str = LONG, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


async def run(gate: Gate, tool: str, arguments: dict[str, Any], agent: str = "payer", **more: Any) -> Ended:
    return await gate.entry.run(request(tool, arguments, agent, **more))


def result(ended: Ended) -> Any:
    assert isinstance(ended.outcome, Succeeded), ended.outcome
    return ended.outcome.result


def fault(ended: Ended) -> str:
    assert isinstance(ended.outcome, Failed), ended.outcome
    return ended.outcome.error.message


async def cut_one(gate: Gate, text: str = LONG, agent: str = "payer") -> dict[str, Any]:
    gate.servers["payments"].calls.append(long(text))
    note: dict[str, Any] = result(await run(gate, "payments_list", {}, agent))["_meta"][CUT]
    return note


async def read(gate: Gate, handle: str, agent: str = "payer", **asked: int) -> Any:
    return result(await run(gate, "results_read", {"handle": handle, **asked}, agent))["structuredContent"]


async def test_an_answer_that_fits_or_that_nobody_limits_is_the_very_same() -> None:
    gate = limited()
    for tool in ("payments_list", "mail_send"):
        whole = long(LONG if tool == "mail_send" else "short")
        gate.servers[tool.partition("_")[0]].calls.append(whole)
        arguments = {"to": "a"} if tool == "mail_send" else {}
        assert result(await run(gate, tool, arguments)) is whole
    assert len(gate.kept) == 0


async def test_whoever_was_granted_a_call_reads_its_answer_to_the_end_after_the_grant_is_used() -> None:
    gate = limited(
        '@id("granted") permit (principal, action, resource) when { context.base has grant };', ONLY_OWN, LEADS
    )
    gate.rules.current = replace(gate.rules.current, people={"bob": BOB})
    grant = Grant("payer", "payments.list", 1, gate.clock.now_ms() + HOUR, access=True)
    await gate.approving.desk.grant("bob", grant)
    note = await cut_one(gate)
    assert (await read(gate, note["handle"]))["total"] == len(LONG)
    assert isinstance((await run(gate, "payments_list", {})).outcome, Denied)


async def test_reading_on_gives_every_character_once_and_says_when_it_is_over() -> None:
    gate = limited()
    note = await cut_one(gate)
    whole = result(await run(gate, "results_read", {"handle": note["handle"], "length": 7}))
    assert [each["text"] for each in whole["content"]] == [
        LONG[:7],
        f"[Characters 0 to 7 of {len(LONG)}. Read on at offset 7.]",
    ]
    pieces, offset = [LONG[: note["next"]]], note["next"]
    while offset is not None:
        piece = await read(gate, note["handle"], offset=offset)
        assert (piece["offset"], piece["total"], len(piece["text"]) <= 2048) == (offset, len(LONG), True)
        pieces.append(piece["text"])
        offset = piece["next"]
    assert "".join(pieces) == LONG
    assert (await read(gate, note["handle"], offset=len(LONG)))["text"] == ""
    assert "behind its end" in fault(
        await run(gate, "results_read", {"handle": note["handle"], "offset": len(LONG) + 1})
    )


async def test_the_ledger_keeps_the_whole_answer() -> None:
    gate = limited()
    gate.servers["payments"].calls.append(long())
    ended = await run(gate, "payments_list", {})
    [event] = await gate.events(ended.call.id)
    assert LONG.replace("\n", "\\n") in event.body


async def test_what_is_cut_and_what_is_read_on_in_holds_no_secret() -> None:
    gate = limited()
    note = await cut_one(gate, LONG + SECRET)
    end = await read(gate, note["handle"], offset=len(LONG))
    assert SECRET not in end["text"]
    assert end["next"] is None


async def test_nobody_else_reads_it_and_is_told_the_same_as_of_one_that_never_was() -> None:
    gate = limited()
    note = await cut_one(gate)
    theirs = fault(await run(gate, "results_read", {"handle": note["handle"]}, "other"))
    assert theirs == fault(await run(gate, "results_read", {"handle": "res_999"}, "other"))
    assert "Ask for the data again" in theirs
    for identity in (
        Identity("payer", "jwt", "c", on_behalf_of="somebody"),
        Identity("payer", "jwt", "c", issuer="https://other.example"),
    ):
        call = await gate.before(Execute, request("results_read", {"handle": note["handle"]}))
        call.identity = identity
        with pytest.raises(Exception, match="Ask for the data again"):
            await gate.kept.read(call)


async def test_it_is_gone_after_an_hour() -> None:
    gate = limited()
    note = await cut_one(gate)
    gate.clock.passed += 3599
    assert (await read(gate, note["handle"]))["offset"] == 0
    gate.clock.passed += 1
    assert "kept for an hour" in fault(await run(gate, "results_read", {"handle": note["handle"]}))
    assert len(gate.kept) == 0


async def test_old_answers_make_room_whether_or_not_anybody_reads_them() -> None:
    gate = limited()
    await cut_one(gate, agent="other")
    await cut_one(gate)
    gate.clock.passed += 1800
    await cut_one(gate)
    gate.clock.passed += 1800
    await cut_one(gate)
    assert len(gate.kept) == 2


async def test_who_may_no_longer_call_the_tool_may_no_longer_read_its_answers() -> None:
    gate = limited()
    note = await cut_one(gate)
    gate.rules.current = rules_of(ONLY_OWN)
    assert "Ask for the data again" in fault(await run(gate, "results_read", {"handle": note["handle"]}))


async def test_reading_may_be_forbidden_like_any_tool() -> None:
    gate = limited('@id("none") forbid (principal, action == Gateway::Action::"results.read", resource);', PERMIT_ALL)
    note = await cut_one(gate)
    assert not isinstance((await run(gate, "results_read", {"handle": note["handle"]})).outcome, Succeeded)


async def test_each_principal_keeps_so_many_answers_and_loses_its_oldest() -> None:
    gate = limited(bounds=Bounds(answers=2))
    notes = [await cut_one(gate) for _ in range(3)]
    other = await cut_one(gate, agent="other")
    fault(await run(gate, "results_read", {"handle": notes[0]["handle"]}))
    for note in notes[1:]:
        assert (await read(gate, note["handle"]))["total"] == len(LONG)
    assert (await read(gate, other["handle"], "other"))["total"] == len(LONG)


async def test_bytes_are_bounded_for_each_and_for_all_and_who_keeps_most_loses_first() -> None:
    size = len(LONG)
    gate = limited(bounds=Bounds(bytes_each=3 * size, bytes_all=4 * size))
    other = await cut_one(gate, agent="other")
    notes = [await cut_one(gate) for _ in range(3)]
    last = await cut_one(gate, agent="other")
    assert len(gate.kept) == 4
    for note in (other, last):
        await read(gate, note["handle"], "other")
    fault(await run(gate, "results_read", {"handle": notes[0]["handle"]}))


async def test_an_answer_larger_than_anybody_may_keep_is_cut_and_says_that_the_rest_is_lost() -> None:
    gate = limited(bounds=Bounds(bytes_each=1000))
    assert "handle" not in await cut_one(gate)
    assert len(gate.kept) == 0


async def test_an_effect_that_is_repeated_is_answered_from_the_record_and_cut_anew() -> None:
    gate = limited()
    gate.servers["payments"].calls.append(long())
    first = result(await run(gate, "payments_pay", PAYMENT, idempotency_key="k1"))["_meta"][CUT]
    ended = await run(gate, "payments_pay", PAYMENT, idempotency_key="k1")
    again = result(ended)["_meta"][CUT]
    assert ended.outcome.replayed_from  # type: ignore[union-attr]
    assert (again["total"], again["handle"] != first["handle"]) == (first["total"], True)
    assert len(gate.servers["payments"].asked) == 1


async def test_a_question_to_the_client_is_never_cut() -> None:
    gate = limited()
    call = await gate.before(Execute, request("payments_list", {}))
    asked = {"resultType": "input_required", "inputRequests": {"q": LONG}}
    assert gate.kept.fitted(call, asked) is asked


async def test_a_tool_with_an_output_schema_answers_with_the_note_where_the_content_was() -> None:
    gate = limited()
    gate.servers["fraud"].calls.append(long(structuredContent={"result": "passed" + "!" * 5000}))
    cut = result(await run(gate, "fraud_check", PAYMENT))
    assert list(cut["structuredContent"]) == [CUT]
    identity = await gate.listing.identify(request("x", {}).caller, "tools/list")
    listed = {tool["name"]: tool for tool in gate.listing.tools(identity)}
    assert [CUT] in [branch.get("required") for branch in listed["fraud_check"]["outputSchema"]["anyOf"]]
    assert "results_read" in listed


async def test_reading_is_not_offered_where_nothing_is_cut() -> None:
    gate = Gate()
    identity = await gate.listing.identify(request("x", {}).caller, "tools/list")
    assert READ_RESULT.replace(".", "_") not in {tool["name"] for tool in gate.listing.tools(identity)}
