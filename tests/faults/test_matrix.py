"""Whatever a server does to a call: the promised answer in time, at most one effect, the next call works, no leak."""

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.house import ATTEMPTS, HTTP, House
from tests.fixtures import http_faults
from tests.live.raw import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OVER_HTTP: dict[str, str] = {
    **dict.fromkeys(
        ("reset_before", "reset_in_headers", "reset_in_body", "close_before", "truncated_body", "truncated_chunks"),
        "unavailable",
    ),
    **dict.fromkeys(("stream_without_answer", "stream_cut_off", "stream_of_junk"), "unavailable"),
    **dict.fromkeys(("stream_of_anothers_answer", "broken", "bad_gateway", "down"), "unavailable"),
    **dict.fromkeys(("request_too_slow", "too_early"), "unavailable"),
    **dict.fromkeys(("too_many", "too_many_until_then", "too_many_for_now"), "put off"),
    **dict.fromkeys(("overloaded", "overloaded_until_then"), "put off"),
    **dict.fromkeys(("too_many_for_an_hour", "overloaded_for_an_hour"), "put off for long"),
    **dict.fromkeys(("hang", "drip", "drip_headers", "drip_events"), "timeout"),
    **dict.fromkeys(("truncated_json", "truncated_json_to_eof", "duplicate_keys", "not_an_object"), "contract_broken"),
    **dict.fromkeys(("foreign_id", "result_and_error", "neither", "a_list"), "contract_broken"),
    **dict.fromkeys(("oversize_declared", "oversize_chunked", "fifty_megabytes", "large_event"), "contract_broken"),
    **dict.fromkeys(("compressed", "bomb", "bomb_unannounced"), "contract_broken"),
    **dict.fromkeys(("comment_flood", "notification_flood", "interim_flood"), "contract_broken"),
    **dict.fromkeys(("many_headers", "large_headers", "endless_header", "two_lengths"), "contract_broken"),
    **dict.fromkeys(("not_http", "bad_chunks", "upgrade", "accepted", "no_content"), "contract_broken"),
    **dict.fromkeys(("redirect", "teapot", "foreign_error"), "rejected"),
    "forbidden": "forbidden",
    "unauthorised": "credential_expired",
    **dict.fromkeys(("to_eof", "chunked", "byte_by_byte", "after_hints", "answered_twice", "goodbye"), "ok"),
    **dict.fromkeys(("streamed", "stream_with_two_answers", "text_id", "in_a_batch", "streamed_in_a_batch"), "ok"),
    **dict.fromkeys(("after_a_byte_order_mark",), "ok"),
}
"""What `tests.fixtures.http_faults` does, and what the gateway makes of it."""

OVER_PIPES: dict[str, str] = {
    **dict.fromkeys(("crash", "close-stdout", "noise"), "unavailable"),
    "hang": "timeout",
    **dict.fromkeys(("truncated", "oversize", "oversize-id-last", "both", "not-an-object"), "contract_broken"),
    **dict.fromkeys(("garbage", "foreign", "duplicate", "half-lines", "last-words"), "ok"),
    **dict.fromkeys(("stderr-flood", "notification-flood", "changed"), "ok"),
}
"""What `tests.fixtures.fault_stdio` does, and what the gateway makes of it."""

OVER_SSE: dict[str, str] = {
    **dict.fromkeys(("reset_before", "reset_in_headers", "reset_in_body", "close_before", "broken"), "unavailable"),
    **dict.fromkeys(("stream_reset", "stream_ended", "stream_cut_in_an_event", "stream_broken"), "unavailable"),
    **dict.fromkeys(("large_event", "comment_flood"), "unavailable"),  # the one stream of all calls is given up
    **dict.fromkeys(("never_answered", "never_accepted", "answered_in_vain", "another_is_answered"), "timeout"),
    **dict.fromkeys(("drip", "drip_headers"), "timeout"),
    **dict.fromkeys(("too_many", "overloaded_until_then"), "put off"),
    "too_many_for_an_hour": "put off for long",
    **dict.fromkeys(("oversize_chunked", "compressed", "many_headers", "not_http", "bad_chunks"), "contract_broken"),
    **dict.fromkeys(("redirect", "teapot"), "rejected"),
    "forbidden": "forbidden",
    "unauthorised": "credential_expired",
    **dict.fromkeys(("notification_flood", "junk_first", "answered_twice"), "ok"),
    **dict.fromkeys(("answered_before_it_is_accepted", "answered_and_never_accepted"), "ok"),
}
"""What `tests.fixtures.sse_faults` and `http_faults` do to the stream and the posts of the SSE transport."""

KINDS = ("read", "pay", "keyed")
MEMORY_KIB = 32 * 1024
DESCRIPTORS = 16


def expected(means: str, kind: str) -> tuple[str, list[str]]:
    """Return how a call ends whose first attempt meets this, and the codes of its attempts."""
    if means == "ok":
        return "ok", ["ok"]
    if means == "put off":
        return "ok", ["unavailable", "ok"]
    if means == "put off for long":
        return "unavailable", ["unavailable"]
    if means in {"unavailable", "timeout"}:
        return ("outcome_unknown", [means]) if kind == "pay" else ("ok", [means, "ok"])
    unread = means == "contract_broken" and kind != "read"
    return ("outcome_unknown" if unread else means), [means]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory(what: str) -> int:
    """This process's memory in KiB: `VmRSS` now, `VmHWM` at the highest."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


@pytest.fixture
def bounded() -> Iterator[None]:
    """The test takes little memory and leaves few descriptors, measured."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest is the present one now
    before, open_before = memory("VmRSS"), descriptors()
    yield
    assert memory("VmHWM") - before < MEMORY_KIB
    assert descriptors() - open_before < DESCRIPTORS


def is_whole(answer: Answer, code: str) -> None:
    """A refusal says what is wrong, what was done, and what to do."""
    refusal = answer.result["_meta"]["io.toolgate/refusal"]
    assert refusal["code"] == code
    assert refusal["done"] == ("unknown" if code == "outcome_unknown" else "nothing")
    assert refusal["retryable"] is (code == "unavailable")
    assert all(refusal[member] for member in ("message", "remedy", "call"))
    assert "Traceback" not in answer.text


@dataclass(frozen=True)
class Case:
    """A call of one kind of tool meets a fault of one meaning; `early` has the effect before it."""

    server: str
    fault: str
    means: str
    kind: str
    early: bool

    @property
    def fair(self) -> bool:
        """Whether the server says the truth: what it puts off it has not done."""
        return not (self.early and (self.kind == "read" or self.means.startswith("put off")))


def cases(server: str, fault: str, means: str) -> list[Case]:
    kinds = ("pay",) if server in {"legacy", "sse"} else KINDS  # eras and transports make no difference to kinds
    made = [Case(server, fault, means, kind, early) for kind in kinds for early in (True, False)]
    return [case for case in made if case.fair]


async def met(home: House, case: Case) -> None:
    """Have one call meet a fault, and look at everything that is promised of it."""
    server, kind, means = case.server, case.kind, case.means
    code, codes = expected(means, kind)
    more = {"bytes": 50_000_000} if case.fault.startswith("oversize") else {}
    more |= {"when": "before"} if case.early else {}
    tool = f"brief_{kind}" if means == "timeout" else kind
    ref, answer = await home.act(server, tool, [case.fault, "ok"], **more)
    assert answer.code == code, answer
    if code != "ok":
        is_whole(answer, code)
    if means == "put off for long":
        assert answer.result["_meta"]["io.toolgate/refusal"]["retryAfter"] == 3600
    noted = home.attempts(ref)
    made = [each["code"] for each in noted]
    assert made[0] == codes[0]
    assert made == codes or (means == "timeout" and len(codes) > 1)  # a busy machine may need a third attempt
    assert home.book(server).attempts(ref) == len(made)
    assert home.book(server).effects(ref) == (kind != "read" and (case.early or len(codes) > 1))
    assert all(each["reason"] or each["code"] == "ok" for each in noted)
    if codes[-1] == "ok":
        assert noted[-1]["bytes"] > 0
        assert noted[-1]["status"] in {"sse": (202, None), "pipes": (None,)}.get(server, (200,))
    assert (await home.act(server, "read", ["ok"]))[1].code == "ok"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("fault", OVER_HTTP)
@pytest.mark.parametrize("server", ["modern", "legacy"])
async def test_a_fault_over_http_has_its_promised_end(home: House, server: str, fault: str) -> None:
    for case in cases(server, fault, OVER_HTTP[fault]):
        await met(home, case)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("fault", OVER_SSE)
async def test_a_fault_over_the_sse_transport_has_its_promised_end(home: House, fault: str) -> None:
    for case in cases("sse", fault, OVER_SSE[fault]):
        await met(home, case)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("fault", OVER_PIPES)
async def test_a_fault_over_pipes_has_its_promised_end(home: House, fault: str) -> None:
    for case in cases("pipes", fault, OVER_PIPES[fault]):
        await met(home, case)


@pytest.mark.parametrize("server", [*HTTP, "pipes"])
async def test_what_fails_twice_and_then_works_is_answered(home: House, server: str) -> None:
    fault = "crash" if server == "pipes" else "broken"
    for kind in ("read", "keyed"):
        ref, answer = await home.act(server, kind, [fault, fault, "ok"], when="before")
        assert (answer.code, home.book(server).attempts(ref)) == ("ok", 3)
        assert home.book(server).effects(ref) == (kind == "keyed")


async def test_what_always_fails_ends_after_as_many_attempts_as_are_configured(home: House) -> None:
    for kind, code in [("read", "unavailable"), ("keyed", "outcome_unknown")]:
        ref, answer = await home.act("modern", kind, ["broken"], when="before")
        is_whole(answer, code)
        assert home.book("modern").attempts(ref) == len(home.attempts(ref)) == ATTEMPTS
        assert {each["status"] for each in home.attempts(ref)} == {500}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("server", [*HTTP, "pipes"])
async def test_a_read_that_hangs_is_answered_by_its_second_attempt_where_that_is_declared(
    home: House, server: str
) -> None:
    hangs = "never_answered" if server == "sse" else "hang"
    ref, answer = await home.act(server, "hedged_read", [hangs, "ok"])
    assert answer.code == "ok"
    assert home.book(server).attempts(ref) == 2
    noted = sorted((each["n"], each["code"], each.get("hedge", False)) for each in home.attempts(ref))
    assert noted == [(1, "cancelled", False), (1, "ok", True)]
    assert (await home.act(server, "read", ["ok"]))[1].code == "ok"


async def test_every_fault_there_is_has_its_promise() -> None:
    there = {
        name
        for name, value in vars(http_faults).items()
        if inspect.iscoroutinefunction(value) and value.__module__ == http_faults.__name__
    }
    # Judged below the gateway, for what they say: tests/connectors/mcp/test_http_faults.py.
    there -= {
        "endless_notifications",
        "nameless_error",
        "odd_error",
        "streamed_and_left_open",
        "created",
        "accepted_and_answered",
    }
    assert there == set(OVER_HTTP)
