"""The starter policies about what agents have read, end to end: injected instructions find no way out."""

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.live.raw import probe_section, probes, received
from tests.live.running import ROOT, Running, environment, refusal

_numbers = count(1)
TOOLS = """
tools:
  "crm.*": { traits: { open_world: false } }
  crm.exact: { effect: read, traits: { classification: 50 } }
  crm.leak: { effect: read, traits: { sink: true } }
  web.echo: { effect: read }
"""


def start(home: Path, pack: str) -> Running:
    """Run a gateway between the web, which anybody writes, and a trusted CRM, under one starter policy."""
    home.mkdir()
    (home / "policies").mkdir()
    name = f"{pack}.cedar"
    (home / "policies" / name).write_text((ROOT / "policies" / name).read_text(encoding="utf-8"), encoding="utf-8")
    crm = probe_section(home / "crm", name="crm").replace(" }\n", ", trust: 60 }\n")
    config = probes(probe_section(home / "web", name="web") + crm, more=f"policies: [policies]\n{TOOLS}")
    (home / "gateway.yaml").write_text(config, encoding="utf-8")
    return Running(home, environment()).start()


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("taint") / "home", "taint-blocks-exfiltration")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("trifecta") / "home", "lethal-trifecta")
    yield running
    assert running.stop() == 0


def tried(running: Running, token: str, tool: str, run: str) -> str:
    """Make a call that was not made before; return `ok`, or why it was refused."""
    result = running.call(token, tool, {"number": next(_numbers)}, run=run)
    return str(refusal(result)["message"]) if result.get("isError") else "ok"


def test_after_an_untrusted_read_nothing_leaves_in_that_run_nor_in_a_new_one_until_a_person_says_so(
    careful: Running,
) -> None:
    token, other = careful.token("payer"), careful.token("payer2")
    assert tried(careful, token, "crm_act", "one") == "ok"
    assert tried(careful, token, "web_echo", "one") == "ok"
    before = len(received(careful.home / "crm"))
    told = tried(careful, token, "crm_act", "one")
    assert "has read untrusted content" in told
    assert "from:web" in told
    for way_out in ("crm_act", "crm_leak", "web_echo"):
        assert "has read untrusted content" in tried(careful, token, way_out, "two"), way_out
    assert len(received(careful.home / "crm")) == before
    assert tried(careful, token, "crm_exact", "two") == "ok"  # reading where nothing leaves goes on
    assert tried(careful, other, "crm_act", "one") == "ok"  # another agent's run of the same name is another run

    careful.kill()
    careful.start()
    for run in ("one", "two", "three"):
        assert "from:web" in tried(careful, token, "crm_act", run)

    listed = careful.command("runs", "list", "--owner", "payer", "--json").stdout
    run = next(one["run"] for one in json.loads(listed) if one["key"].endswith('"one"]'))
    assert "from:web" in careful.command("runs", "taint", run).stdout
    careful.command("runs", "clear-taint", run, "--why", "it was the weather")
    give_up = time.monotonic() + 10
    while tried(careful, token, "crm_act", "one") != "ok":
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert tried(careful, token, "crm_act", "three") == "ok"


def test_private_data_untrusted_content_and_a_way_out_do_not_meet_in_small_steps_over_many_runs(
    lenient: Running,
) -> None:
    token = lenient.token("payer")
    assert tried(lenient, token, "crm_exact", "a") == "ok"
    assert tried(lenient, token, "crm_leak", "b") == "ok"  # private data alone may be sent
    assert tried(lenient, token, "web_echo", "c") == "ok"
    for way_out, run in (("crm_leak", "d"), ("web_echo", "c"), ("web_act", "a")):
        told = tried(lenient, token, way_out, run)
        assert "seen private data and untrusted content" in told, way_out
        assert "private" in told
    assert tried(lenient, token, "crm_act", "d") == "ok"  # writing where nothing leaves goes on
