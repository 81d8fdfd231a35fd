"""What is counted of a call, by how it ended."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault, LimitFault, OutcomeUnknown, RequestFault
from gateway.model.outcome import Denied, Failed, Outcome, Succeeded, Unknown, Waiting
from gateway.telemetry.calls import CallCounts
from tests.ledger.making import DECISION, T0, asked, decided

ONCE = [{"n": 1, "code": "ok"}]


def samples(counts: CallCounts) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in counts.families():
        for sample in family.samples:
            found.setdefault(family.name + sample.suffix, []).append((sample.labels, sample.value))
    return found


@pytest.mark.parametrize(
    ("outcome", "sent", "ended", "code"),
    [
        (Succeeded({}), True, "succeeded", ""),
        (Succeeded({"isError": True}), True, "tool_error", ""),
        (Succeeded({}, replayed_from="call_0"), False, "replayed", ""),
        (Denied(DECISION), False, "denied", "denied"),
        (Denied(DECISION, "approval_denied"), False, "denied", "approval_denied"),
        (Waiting("apr_1", "wait", 3.0, "apr_1"), False, "waiting", "needs_approval"),
        (Waiting("call_0", "wait", 3.0), False, "waiting", "in_progress"),
        (Failed(RequestFault("no", code="looping")), False, "refused", "looping"),
        (Failed(LimitFault("no", code="budget_exceeded")), False, "refused", "budget_exceeded"),
        (Failed(ConnectorFault("no", code="unavailable")), False, "failed", "unavailable"),
        (Failed(RequestFault("no", code="cancelled")), True, "failed", "cancelled"),
        (Unknown(OutcomeUnknown("who knows")), True, "unknown", "outcome_unknown"),
    ],
)
def test_a_call_is_counted_by_how_it_ended(outcome: Outcome, sent: bool, ended: str, code: str) -> None:
    counts = CallCounts(T0)
    slots: dict[str, Any] = {"attempts": ONCE} if sent else {}
    counts.count(decided(**slots), outcome, T0 + 40)
    labels = {"agent": "billing", "tool": "payments.pay", "outcome": ended, "code": code}
    assert samples(counts)["toolgate_calls_total"] == [(labels, 1)]
    assert len(samples(counts).get("toolgate_call_duration_seconds_count", [])) == sent


def test_time_and_attempts_are_those_of_calls_for_which_a_server_was_asked() -> None:
    counts = CallCounts(T0)
    twice = [{"n": 1, "code": "unavailable"}, {"n": 2, "code": "ok"}]
    for took_ms in (5, 6, 100_000):
        counts.count(decided(attempts=twice), Succeeded({}), T0 + took_ms)
    found = samples(counts)
    below = {labels["le"]: count for labels, count in found["toolgate_call_duration_seconds_bucket"]}
    assert (below["0.005"], below["0.01"], below["60.0"], below["+Inf"]) == (1, 2, 2, 3)
    assert found["toolgate_call_duration_seconds_count"] == [({"tool": "payments.pay"}, 3)]
    assert found["toolgate_call_duration_seconds_sum"] == [({"tool": "payments.pay"}, 100.011)]
    assert {labels["code"]: count for labels, count in found["toolgate_attempts_total"]} == {"unavailable": 3, "ok": 3}


def test_what_was_never_known_has_no_name() -> None:
    counts = CallCounts(T0)
    counts.count(asked(), Failed(RequestFault("who?", code="unknown_tool")), T0)
    [(labels, _)] = samples(counts)["toolgate_calls_total"]
    assert (labels["agent"], labels["tool"]) == ("", "")


def test_there_are_only_so_many_combinations_of_labels() -> None:
    counts = CallCounts(T0, most=1)
    for _ in range(2):
        counts.count(decided(attempts=ONCE), Succeeded({}), T0)
        counts.count(decided(attempts=ONCE), Succeeded({"isError": True}), T0)
    found = [(labels["tool"], labels["outcome"], count) for labels, count in samples(counts)["toolgate_calls_total"]]
    assert found == [("", "tool_error", 2), ("payments.pay", "succeeded", 2)]
