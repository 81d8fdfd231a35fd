"""`toolgate runs export` and `import`: a run goes on under another gateway, once it is at rest under the first."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.moved import Export, exported, let_go_on
from gateway.model.errors import ConnectorFault, RequestFault
from gateway.model.outcome import Succeeded, Unknown
from gateway.pipeline.runner import Ended
from gateway.store.ports import Event, EventFilter, PauseRecord
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import CountingIds, FakeClock
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, answer


def events_of(run: str) -> Callable[[SqliteStore], Awaitable[list[Event]]]:
    async def read(store: SqliteStore) -> list[Event]:
        return [event async for event in store.events(EventFilter(run_id=run))]

    return read


LOST = ConnectorFault("no answer", code="timeout")


class Two:
    """Two gateways, each in its folder."""

    def __init__(self, path: Path) -> None:
        for name in ("there", "here"):
            (path / name).mkdir()
        self.there, self.here = (House.with_policies(path / name) for name in ("there", "here"))
        self.file = path / "run.jsonl"
        self.key = path / "jwks.json"
        self.key.write_text(self.there.run("evidence", "key").output)

    def pay(self, house: House, *answers: Any, number: int = 0) -> tuple[Ended, int]:
        """Check and pay in the job; return how the payment ended, and how much the servers were asked."""

        async def work(store: SqliteStore) -> tuple[Ended, int]:
            durable: Any = store
            ids = CountingIds()
            for _ in range(100 * number):
                ids.new("call")
            gate = Gate(PERMIT_ALL, *([] if number else [PRECONDITION]), store=durable, ids=ids)
            gate.servers["fraud"].calls.append(answer({"result": "passed"}))
            gate.servers["payments"].calls += answers
            attempt = f"attempt {number}"
            await gate.run("fraud_check", run="job", attempt=attempt)
            ended = await gate.run("payments_pay", run="job", attempt=attempt)
            return ended, sum(len(server.asked) for server in gate.servers.values())

        return house.store(work)

    def run_there(self) -> str:
        [run] = self.there.json("runs", "list")
        return str(run["run"])

    def export(self, run: str) -> Any:
        return self.there.run("runs", "export", run, "-o", str(self.file))

    def taken(self) -> Any:
        return self.here.run("runs", "import", str(self.file), "--key", str(self.key))


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_a_paused_run_goes_on_under_another_gateway(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    early = two.export(run)
    assert (early.exit_code, f"toolgate runs pause {run}" in early.output) == (1, True)
    assert two.there.run("runs", "pause", run).exit_code == 0
    written = two.export(run)
    assert (written.exit_code, "It does not go on here any more" in written.output) == (0, True)
    assert two.file.stat().st_mode & 0o777 == 0o600
    [pause] = two.there.store(lambda store: store.pauses())
    made_ms = json.loads(two.file.read_bytes().splitlines()[1])["asked"]["made_ms"]
    assert made_ms - pause.since_ms >= 2000  # by then every gateway on the ledger knows of the pause
    taken = two.taken()
    assert (taken.exit_code, f"toolgate runs resume {run}" in taken.output) == (0, True)
    ended, done = two.pay(two.here, number=3)
    assert isinstance(ended.outcome, Succeeded)
    assert ended.outcome.result["structuredContent"] == {"receipt": "r_1"}
    assert done == 0  # nothing was asked of any server
    steps = two.here.json("runs", "show", run)
    assert [each["outcome"] for each in steps] == [
        *["succeeded (imported)"] * 2,
        *["succeeded (from the record)"] * 2,
    ]
    assert two.here.json("verify")["ok"] is True
    [spent] = [two.here.json("budget", "--since", "2001-01-01")["costs"]]
    assert spent == []
    again = two.taken()
    assert (again.exit_code, "is on record here already" in again.output) == (1, True)
    back = two.there.run("runs", "import", str(two.file), "--key", str(two.key))
    assert (back.exit_code, "is on record here already" in back.output) == (1, True)


def test_a_run_with_doubts_is_not_exported(two: Two) -> None:
    ended, _ = two.pay(two.there, LOST)
    assert isinstance(ended.outcome, Unknown)
    run = two.run_there()
    two.there.run("runs", "pause", run)
    refused = two.export(run)
    assert (refused.exit_code, f"toolgate runs settle {ended.call.id}" in refused.output) == (1, True)
    assert not two.file.exists()


def test_what_is_no_run_of_that_gateway_is_not_imported(two: Two, tmp_path: Path) -> None:
    assert "There is no run 'run_none'" in two.export("run_none").output
    unreadable = two.taken()
    assert (unreadable.exit_code, "unreadable" in unreadable.output) == (2, True)
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    two.file.write_text("somebody else's")
    taken = two.export(run)
    assert (taken.exit_code, "unwritable" in taken.output) == (2, True)
    two.file.unlink()
    assert two.export(run).exit_code == 0
    text = two.file.read_text()
    two.file.write_text(text.replace("r_1", "r_2"))
    altered = two.taken()
    assert (altered.exit_code, "no_proof: line " in altered.output) == (1, True)
    two.file.write_text(text)
    good = two.key.read_text()
    two.key.write_text(two.here.run("evidence", "key").output)
    foreign = two.taken()
    assert (foreign.exit_code, "no_proof" in foreign.output) == (1, True)
    two.key.write_text("{")
    assert two.taken().exit_code == 2
    two.key.write_text(good)
    config = (two.here.path / "gateway.yaml").read_text()
    two.here.configure(config.replace("payer:", "payee:"))
    stranger = two.taken()
    assert (stranger.exit_code, "unknown_agent" in stranger.output) == (1, True)
    two.here.configure(config.replace("sqlite:///gateway.db", "memory:"))
    nowhere = two.taken()
    assert (nowhere.exit_code, "no_ledger" in nowhere.output) == (1, True)
    two.here.configure(config)
    assert two.here.json("runs", "list") == []
    assert two.taken().exit_code == 0


def test_a_person_imports_only_where_the_policies_let_them(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    two.export(run)
    two.here.adds("people:\n  bob: {}\n")
    refused = two.here.run("runs", "import", str(two.file), "--key", str(two.key), "--as", "bob")
    assert (refused.exit_code, two.here.json("runs", "list")) == (3, [])


def test_a_run_that_was_exported_goes_on_here_only_where_a_person_says_why(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    assert two.there.run("runs", "export", run, "-o", str(two.file), "--to", "the other house").exit_code == 0
    [pause] = two.there.store(lambda store: store.pauses())
    assert pause.reason.startswith("it goes on elsewhere: os:")
    for command in (["unpause", f"run:{run}"], ["runs", "unpause", run], ["runs", "resume", run]):
        refused = two.there.run(*command)
        said = refused.output.replace("\n", " ")
        assert (refused.exit_code, "exported it as exp_" in said, "to the other house" in said) == (1, True, True)
    two.there.run("runs", "pause", run, "--reason", "another")  # is no way around it
    again = two.there.run("runs", "resume", run, "--again")
    assert (again.exit_code, f'toolgate runs unpause {run} --force "WHY"' in again.output) == (1, True)
    taken = two.there.run("runs", "unpause", run, "--force", "the file was lost")
    assert (taken.exit_code, two.there.store(lambda store: store.pauses())) == (0, [])
    told = [json.loads(event.body) for event in two.there.store(events_of(run)) if event.kind == "admin"]
    [back] = [body for body in told if body.get("what") == "run taken back"]
    assert (back["reason"], back["by"].startswith("os:"), back["export"].startswith("exp_")) == (
        "the file was lost",
        True,
        True,
    )
    two.there.run("runs", "pause", run)
    assert two.there.run("runs", "resume", run).exit_code == 0  # as any other run
    assert two.there.json("verify")["ok"] is True


@pytest.mark.parametrize("name", ["another.jsonl", "none/another.jsonl"])
def test_a_run_that_was_exported_is_not_exported_to_a_second_place(two: Two, name: str) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    assert two.export(run).exit_code == 0
    another = two.file.parent / name
    refused = two.there.run("runs", "export", run, "-o", str(another))
    said = refused.output.replace("\n", " ")
    assert (refused.exit_code, "exported it as exp_" in said, another.exists()) == (1, True, False)
    assert two.there.run("runs", "unpause", run).exit_code == 1
    assert two.there.run("runs", "unpause", run, "--force", "the file was lost").exit_code == 0
    two.there.run("runs", "pause", run)
    assert two.there.run("runs", "export", run, "-o", str(two.file.parent / "another.jsonl")).exit_code == 0


def test_a_run_that_was_exported_for_one_gateway_is_taken_in_by_no_other(two: Two, tmp_path: Path) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    none = two.there.json("runs", "export", run, "-o", str(two.file), "--for", str(two.file))
    assert (none["error"], two.file.exists()) == ("unreadable", False)
    no_key = tmp_path / "no.json"
    no_key.write_text('{"keys": []}', encoding="utf-8")
    assert two.there.json("runs", "export", run, "-o", str(two.file), "--for", str(no_key))["error"] == "key"
    meant = tmp_path / "here.jwks.json"
    meant.write_text(two.here.run("evidence", "key").output, encoding="utf-8")
    assert two.there.run("runs", "export", run, "-o", str(two.file), "--for", str(meant)).exit_code == 0
    (tmp_path / "third").mkdir()
    third = House.with_policies(tmp_path / "third")
    refused = third.run("runs", "import", str(two.file), "--key", str(two.key))
    assert (refused.exit_code, "was exported for the gateway with the key" in refused.output) == (1, True)
    assert third.json("runs", "list") == []
    assert two.taken().exit_code == 0


def test_a_run_whose_file_could_not_be_written_is_still_here(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()
    two.there.run("runs", "pause", run)
    two.file.write_text("somebody else's")
    assert two.export(run).exit_code == 2
    assert two.there.run("runs", "unpause", run).exit_code == 0


def test_a_pause_that_ends_while_the_run_is_exported_is_put_back(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    run = two.run_there()

    class Racing(SqliteStore):
        async def end_pause(self, pause: PauseRecord) -> bool:
            ended = await super().end_pause(pause)
            ref = await self.find_run(run)
            assert ref is not None
            await self.record(exported(ref, Export("exp_1", "os:op", "there"), pause.since_ms))
            return ended

    async def race() -> list[PauseRecord]:
        store = Racing(two.there.path / "gateway.db", FakeClock())
        await store.open()
        try:
            await store.put_pause(PauseRecord(f"run:{run}", 1, "os:op"))
            with pytest.raises(RequestFault, match="os:op exported it as exp_1 to there"):
                await let_go_on(store, run, PauseRecord(f"run:{run}", 2, "os:other"))
            return await store.pauses()
        finally:
            await store.close()

    assert [pause.scope for pause in asyncio.run(race())] == [f"run:{run}"]


def test_a_run_is_forked_and_what_was_done_behind_that_is_named(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    source = two.run_there()
    told = two.there.json("runs", "fork", source, "--at", "1")
    assert [(one["n"], one["tool"], one["effect"], one["keyed"]) for one in told["done_there"]] == [
        (2, "payments.pay", "irreversible", False)
    ]
    said = two.there.run("runs", "fork", source, "--at", "1").output.replace("\n", " ")
    assert "warning: call 2 was made there: irreversible payments.pay, succeeded" in said
    assert "made in the fork, it is done AGAIN" in said
    assert two.there.json("runs", "fork", source, "--at", "2")["done_there"] == []
    runs = {each["run"]: each for each in two.there.json("runs", "list")}
    assert (runs[told["run"]]["calls"], runs[told["run"]]["attempts"], runs[source]["calls"]) == (0, 2, 2)
    assert two.there.json("verify")["ok"] is True
    assert f"a fork of {source}, whose first calls" in two.there.run("runs", "show", told["run"]).output


def test_a_fork_goes_on_under_another_gateway(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    source = two.run_there()
    forked = two.there.json("runs", "fork", source, "--at", "2")["run"]
    two.there.run("runs", "pause", forked)
    assert two.there.run("runs", "export", forked, "-o", str(two.file)).exit_code == 0
    taken = two.taken()
    assert (taken.exit_code, f"{forked} of payer is here with 0 calls, behind 2 of {source}" in taken.output) == (
        0,
        True,
    )

    async def work(store: SqliteStore) -> Any:
        durable: Any = store
        gate = Gate(PERMIT_ALL, store=durable)
        ended = await gate.run("payments_pay", run=forked)
        return ended.outcome, sum(len(server.asked) for server in gate.servers.values())

    outcome, done = two.here.store(work)
    assert isinstance(outcome, Succeeded)
    assert (outcome.result["structuredContent"], done) == ({"receipt": "r_1"}, 0)
    assert f"a fork of {source}, whose first calls" in two.here.run("runs", "show", forked).output
    assert two.here.json("verify")["ok"] is True
    assert two.there.run("runs", "fork", source, "--at", "1").exit_code == 0  # that is where it was


def test_no_run_is_forked_that_is_not_there_or_not_so_long(two: Two) -> None:
    assert "There is no run 'run_none'" in two.there.run("runs", "fork", "run_none", "--at", "1").output
    two.pay(two.there, answer({"receipt": "r_1"}))
    source = two.run_there()
    long = two.there.run("runs", "fork", source, "--at", "3")
    assert (long.exit_code, "has 2 calls: fork it behind one of 1 to 2" in long.output) == (1, True)
    assert two.there.run("runs", "fork", source, "--at", "0").exit_code == 2
    two.there.adds("people:\n  bob: {}\n")
    assert two.there.run("runs", "fork", source, "--at", "1", "--as", "bob").exit_code == 3
    two.there.configure((two.there.path / "gateway.yaml").read_text().replace("sqlite:///gateway.db", "memory:"))
    assert "no_ledger" in two.there.run("runs", "fork", source, "--at", "1").output


def test_a_person_forks_where_the_policies_let_them(two: Two) -> None:
    two.pay(two.there, answer({"receipt": "r_1"}))
    source = two.run_there()
    two.there.adds("people:\n  bob: { roles: [operators] }\n")
    (two.there.path / "policies" / "3.cedar").write_text(
        '@id("may") permit (principal in Gateway::Role::"operators", action == Gateway::Action::"admin", resource);'
    )
    assert two.there.run("runs", "fork", source, "--at", "1", "--as", "bob").exit_code == 0
    told = [json.loads(event.body) for event in two.there.store(events_of(source)) if event.kind == "admin"]
    assert [body["by"] for body in told] == ["bob"]
