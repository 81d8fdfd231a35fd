"""`toolgate trace`: who did what, on whose authority, decided by what."""

import asyncio
import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def test_a_ledger_without_calls_says_so(house: House) -> None:
    assert house.run("trace", "list").output == "no calls\n"
    assert house.json("trace", "list") == []


def test_calls_are_listed_in_order_with_what_decided_them(house: House) -> None:
    ids = house.calls()
    listed = house.json("trace", "list")
    assert [line["call"] for line in listed] == list(ids.values())
    assert [f"{line['outcome']} {line['code']}".strip() for line in listed] == [
        "denied",
        "succeeded",
        "succeeded",
        "failed unknown_tool",
    ]
    assert (listed[0]["policies"], listed[0]["credential"]) == (["pay.requires-fraud-check"], "local:payer")
    text = house.run("trace", "list").output.splitlines()
    assert " ".join(text[0].split()) == "WHEN CALL AGENT FOR OWNER CREDENTIAL TOOL OUTCOME POLICIES APPROVED BY MS"
    assert "2027-01-15 08:00:00.000" in text[1]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--agent", "other"), ["nowhere"]),
        (("--tool", "payments.*"), ["denied", "paid"]),
        (("--tool", "fraud.check"), ["check"]),
        (("--limit", "2"), ["paid", "nowhere"]),
        (("--outcome", "denied"), ["denied"]),
        (("--outcome", "succeeded", "--limit", "1"), ["paid"]),
        (("--outcome", "unknown_tool"), ["nowhere"]),
        (("--outcome", "failed", "--agent", "payer"), []),
        (("--person", "ann"), []),
        (("--since", "2027-01-15T08:00"), ["denied", "check", "paid", "nowhere"]),
        (("--since", "2027-01-15T10:00:00+02:00"), ["denied", "check", "paid", "nowhere"]),
        (("--since", "2027-01-16"), []),
        (("--until", "2027-01-15"), []),
        (("--until", "1d"), []),
    ],
)
def test_a_list_is_narrowed(house: House, arguments: tuple[str, ...], found: list[str]) -> None:
    ids = house.calls()
    assert [line["call"] for line in house.json("trace", "list", *arguments)] == [ids[name] for name in found]


@pytest.mark.parametrize("arguments", [("--since", "yesterday"), ("--until", "2027-13-01"), ("--limit", "0")])
def test_what_is_no_time_or_number_is_a_usage_error(house: House, arguments: tuple[str, ...]) -> None:
    assert house.run("trace", "list", *arguments).exit_code == 2


def test_a_list_of_the_latest_says_that_there_may_be_others(house: House) -> None:
    house.calls()
    cut, whole = house.run("trace", "list", "--limit", "1", "--json"), house.run("trace", "list")
    assert (len(json.loads(cut.stdout)), "there may be others: --limit 10" in cut.stderr) == (1, True)
    assert whole.stderr == ""
    runs = house.run("runs", "list", "--limit", "1")
    assert "these are the latest 1; there may be others" in runs.stderr


def test_one_call_is_shown_whole(house: House) -> None:
    ids = house.calls()
    whole = house.json("trace", "show", ids["paid"])
    assert whole["asked"]["arguments"]["payment_id"] == "p_17"
    assert whole["asked"]["facts"]["priors"]["fraud"]["call_id"] == ids["check"]
    assert whole["ended"]["result"]["structuredContent"] == {"receipt": "r_1"}
    text = house.run("trace", "show", ids["paid"]).output
    assert "asked.arguments" in text
    assert "r_1" in text


def test_a_call_recorded_in_one_piece_is_shown_once(house: House) -> None:
    ids = house.calls()
    assert house.json("trace", "show", ids["denied"])["ended"] == {}
    assert house.run("trace", "show", ids["denied"]).exit_code == 0


def test_a_call_nobody_made_is_unknown(house: House) -> None:
    refused = house.run("trace", "show", "call_none")
    assert (refused.exit_code, "unknown_call" in refused.output) == (1, True)


def test_an_export_has_one_call_a_line_with_its_bodies(house: House) -> None:
    ids = house.calls()
    lines = [json.loads(line) for line in house.run("trace", "export").output.splitlines()]
    assert [line["call_id"] for line in lines] == list(ids.values())
    assert lines[2]["asked"]["arguments"]["payee"] == "ACME"


def test_a_spreadsheet_has_one_call_a_row_without_bodies(house: House) -> None:
    house.calls()
    rows = list(csv.DictReader(io.StringIO(house.run("trace", "export", "--csv", "--agent", "payer").output)))
    assert [row["outcome"] for row in rows] == ["denied", "succeeded", "succeeded"]
    assert "asked" not in rows[0]


@pytest.mark.parametrize("form", ["text", "json"])
async def test_calls_are_followed_as_they_happen(house: House, form: str) -> None:
    await asyncio.to_thread(house.calls)
    command = [sys.executable, "-m", "gateway", "trace", "tail", "--tool", "payments.*"]
    command += ["--json"] if form == "json" else []
    following = await asyncio.create_subprocess_exec(
        *command, "--config", str(house.path / "gateway.yaml"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert following.stdout is not None
    line = asyncio.ensure_future(following.stdout.readline())
    number = 0
    while not line.done():  # it follows from the moment it is ready; until then calls are history
        number += 1
        await asyncio.to_thread(house.more_calls, number)
    told = line.result().decode()
    assert "payments.list" in (json.loads(told).values() if form == "json" else told.split())
    following.send_signal(signal.SIGINT)
    _, complaints = await following.communicate()
    assert (following.returncode, complaints) == (0, b"")


def test_a_ledger_that_cannot_be_read_ends_the_following(house: House) -> None:
    (house.path / "gateway.db").write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    refused = house.run("trace", "tail")
    assert (refused.exit_code, "store_unavailable" in refused.output) == (1, True)


def test_how_long_calls_took_is_shown_by_server_and_tool(house: House) -> None:
    assert house.run("trace", "stats").output == "no server was asked in that time\n"
    house.calls()
    lines = house.run("trace", "stats", "--since", "2027-01-15").output.splitlines()
    assert lines[0].split()[:6] == ["TOOL", "CALLS", "FAILED", "P50", "P95", "P99"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["fraud.*", "1", "0"],
        ["fraud.check", "1", "0"],
        ["payments.*", "1", "0"],
        ["payments.pay", "1", "0"],
    ]
    [server, _] = house.json("trace", "stats", "--since", "2027-01-15", "--tool", "payments.*")
    still = {"p50": 0, "p95": 0, "p99": 0, "longest": 0}
    told = {"of": "payments.*", "calls": 1, "failed": 0, "attempts": 1, "whole": still, "server": still}
    assert server == {**told, "asked": 1, "unmet": 0}


def test_what_could_have_been_left_out_is_listed(house: House) -> None:
    assert "nothing that could have been left out" in house.run("trace", "waste").output
    house.calls()
    assert house.json("trace", "waste", "--since", "2020-01-01") == []
