"""`toolgate runs export` and `import`: a run goes on under another gateway, once it is at rest under the first."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.model.errors import ConnectorFault
from gateway.model.outcome import Succeeded, Unknown
from gateway.pipeline.runner import Ended
from gateway.store.sqlite import SqliteStore
from tests.cli.house import House
from tests.fixtures.clock import CountingIds
from tests.pipeline.gate import PERMIT_ALL, PRECONDITION, Gate, answer

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
    assert (written.exit_code, "It stays paused here" in written.output) == (0, True)
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
    assert [each["outcome"] for each in steps] == ["succeeded (imported)"] * 2 + ["succeeded"] * 2
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
    assert two.export(run).exit_code == 0
    taken = two.export(run)
    assert (taken.exit_code, "unwritable" in taken.output) == (2, True)
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
