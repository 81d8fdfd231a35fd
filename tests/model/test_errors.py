"""The error tree: stable codes, and what the caller can do."""

import pytest

from gateway.model.errors import (
    CODES,
    ConnectorFault,
    GatewayError,
    LedgerTampered,
    LimitFault,
    PolicyFault,
    RequestFault,
    StoreFault,
    fault_of,
)


def test_a_code_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="RequestFault has no code 'timeout'"):
        RequestFault("no", code="timeout")


@pytest.mark.parametrize("code", ["run_cancelled", "in_progress", "outcome_unknown", "internal", "of_a_later_version"])
def test_a_fault_comes_back_from_the_record_as_it_was_or_as_one_nobody_knows(code: str) -> None:
    fault = fault_of(code, "Not now.")
    assert (fault.code, fault.message) == (code if code in CODES else "internal", "Not now.")


def test_every_family_has_a_code_of_its_own_when_none_is_given() -> None:
    assert (GatewayError("g").code, RequestFault("r").code, LimitFault("l").code) == (
        "internal",
        "invalid_arguments",
        "rate_limited",
    )
    assert {GatewayError("g").code, RequestFault("r").code} <= CODES


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("unavailable", True),
        ("timeout", True),
        ("rejected", False),
        ("credential_expired", False),
        ("contract_broken", False),
    ],
)
def test_only_a_server_that_did_not_answer_is_worth_another_try(code: str, retryable: bool) -> None:
    fault = ConnectorFault("c", code=code, retry_after_s=2.0)
    assert (fault.retryable, fault.sent, fault.retry_after_s) == (retryable, True, 2.0)


def test_what_the_gateway_could_not_do_now_it_may_do_later() -> None:
    assert (StoreFault("s").retryable, PolicyFault("p").retryable, RequestFault("r").retryable) == (True, True, False)


def test_the_detail_is_not_in_the_text() -> None:
    assert str(StoreFault("Try later.", detail="disk full")) == "Try later."


def test_a_broken_chain_says_where() -> None:
    broken = LedgerTampered("It does not hold.", seq=7, detail="event 7 was changed")
    assert (broken.seq, broken.code, broken.detail) == (7, "ledger_tampered", "event 7 was changed")
