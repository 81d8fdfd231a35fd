"""`toolgate runs serve`: what cannot be played back is refused with what to do. What can is in tests/live."""

import socket
from pathlib import Path

import pytest

from gateway.store.ports import Record
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House.with_policies(tmp_path)


def refused(house: House, *arguments: str) -> tuple[int, str]:
    done = house.run("runs", "serve", *arguments)
    return done.exit_code, done.output


def test_a_run_that_is_not_on_record_is_not_played(house: House) -> None:
    code, said = refused(house, "run_none")
    assert (code, "unplayable: no call of a run 'run_none'" in said) == (1, True)
    assert '"error": "unplayable"' in refused(house, "run_none", "--json")[1]


def test_a_file_that_is_no_run_is_not_played(house: House, tmp_path: Path) -> None:
    file = tmp_path / "junk.jsonl"
    for junk in (b"", b"{}", b"\x00\xff" * 999, b'{"evidence":1}\n{"asked":{}}\n', b"[" * 9999):
        file.write_bytes(junk)
        code, said = refused(house, str(file))
        assert (code, "no_proof" in said) == (1, True)
    key = tmp_path / "key.json"
    assert refused(house, str(file), "--key", str(key))[0] == 2
    key.write_text("{")
    assert refused(house, str(file), "--key", str(key))[0] == 2


def test_a_run_whose_policies_are_not_on_record_is_not_played(house: House) -> None:
    decision = {"bundle": "sha256:0", "allowed": True}
    body = {"arguments": {}, "decision": decision, "outcome": "succeeded", "result": {"content": []}}

    async def work(store: SqliteStore) -> None:
        await store.record(Record("call_1", 1, "run_1", "payer", "", "mail.list", body))

    house.store(work)
    code, said = refused(house, "run_1")
    assert (code, "not on record, and so not the tools either" in said) == (1, True)


def test_an_address_that_is_taken_is_refused(house: House) -> None:
    house.calls()
    [run] = [each["run"] for each in house.json("runs", "list") if each["owner"] == "payer"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = refused(house, str(run), "--port", str(taken.getsockname()[1]))
    assert (code, "cannot_serve" in said) == (2, True)


def test_what_would_only_fail_in_the_end_is_refused_in_the_beginning(house: House, tmp_path: Path) -> None:
    code, said = refused(house, "run_1", "--stdio", "nobody")
    assert (code, "unknown_agent: there is no agent 'nobody'" in said) == (1, True)
    code, said = refused(house, "run_1", "--report", str(tmp_path / "nowhere" / "report.json"))
    assert (code, "unwritable" in said) == (2, True)
