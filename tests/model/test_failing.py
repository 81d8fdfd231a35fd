"""Whose failure a call was."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.model.failing import servers_asked

OK, GONE, LATE, NO = ({"code": code} for code in ("ok", "unavailable", "timeout", "rejected"))


@pytest.mark.parametrize(
    ("code", "attempts", "asked"),
    [
        ("", [OK], {"pay": False}),
        ("", [GONE, LATE, OK], {"pay": False}),
        ("unavailable", [GONE, GONE], {"pay": True}),
        ("outcome_unknown", [LATE], {"pay": True}),
        ("unavailable", [], {"pay": True}),  # left alone by its breaker
        ("contract_broken", [OK], {"pay": True}),
        ("rejected", [NO], {"pay": False}),
        ("credential_expired", [{"code": "credential_expired"}], {"pay": False}),
        ("rate_limited", [{"code": "rate_limited"}], {}),
        ("cancelled", [{"code": "cancelled"}], {}),
        ("internal", [{"code": "internal"}], {}),
        ("denied", [], {}),
        ("", [{"n": 0, "code": "shared"}], {"pay": False}),
        ("", [GONE, {"code": "ok", "hedge": True}], {"pay": False}),
    ],
)
def test_a_server_failed_a_call_that_it_left_without_a_usable_answer(
    code: str, attempts: list[Mapping[str, Any]], asked: Mapping[str, bool]
) -> None:
    assert servers_asked("pay.send", code, attempts) == asked


def test_a_server_that_another_had_to_stand_in_for_failed_whether_or_not_it_was_asked() -> None:
    stood_in = {"code": "ok", "fallback": "bank.send"}
    assert servers_asked("pay.send", "", [GONE, stood_in]) == {"pay": True, "bank": False}
    assert servers_asked("pay.send", "", [stood_in]) == {"pay": True, "bank": False}
    gone = {"code": "unavailable", "fallback": "bank.send"}
    assert servers_asked("pay.send", "unavailable", [LATE, gone]) == {"pay": True, "bank": True}
    unusable = {"code": "unusable", "fallback": "bank.send"}
    assert servers_asked("pay.send", "timeout", [LATE, unusable]) == {"pay": True}
