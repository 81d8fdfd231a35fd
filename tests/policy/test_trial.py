"""Texts from people are read in a process of their own before the gateway reads them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.policy import LoadOptions, PolicyLoadError, PolicySource, Trial, sources_under
from tests.policy.acme import PERMIT_ALL, PRECONDITION, TOOLS

GOOD = [PolicySource("good.cedar", f"{PERMIT_ALL}\n{PRECONDITION}")]
OTHER = [PolicySource("other.cedar", PERMIT_ALL)]
PACKS = Path(__file__).parents[2] / "policies"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "policies.good"


def child(*statements: str) -> Sequence[str]:
    """Return a program that does this in place of reading the texts."""
    return (sys.executable, "-c", "\n".join(("import os, sys, time", *statements)))


def held(trial: Trial, texts: Sequence[PolicySource] = GOOD) -> str:
    """Return what the trial has against texts, or nothing."""
    try:
        trial.hold(texts, TOOLS, LoadOptions())
    except PolicyLoadError as error:
        [problem] = error.problems
        assert problem.code == "harmful"
        return str(problem)
    return ""


def test_what_can_be_read_passes_and_so_does_what_is_merely_wrong(kept: Path) -> None:
    assert held(Trial(kept)) == ""
    broken = [
        PolicySource("broken.cedar", 'permit (principal, action, resource) when { nonsense };\n@id("x") forbid ((')
    ]
    assert held(Trial(kept), broken) == ""


def test_a_trial_remembers_what_was_good_without_its_file(kept: Path) -> None:
    trial = Trial(kept)
    assert held(trial) == ""
    kept.unlink()
    assert held(trial) == ""
    assert not kept.exists()


def test_every_starter_policy_passes(kept: Path) -> None:
    assert held(Trial(kept), sources_under(PACKS)) == ""


def test_a_text_that_kills_its_reader_is_refused_at_the_place_it_had_come_to(kept: Path) -> None:
    died = child("print('bad.cedar:7', flush=True)", "os.kill(os.getpid(), 11)")
    assert "bad.cedar:7:1: harmful: reading it ends the process that does (SIGSEGV)" in held(Trial(kept, command=died))
    assert not kept.exists()


def test_a_text_that_is_never_read_to_its_end_is_refused(kept: Path) -> None:
    hangs = ("/bin/sh", "-c", "echo bad.cedar:9; exec sleep 600")
    assert "bad.cedar:9:1: harmful: it takes longer than 2 s" in held(Trial(kept, deadline_s=2, command=hangs))
    alarmed = child("import signal", "os.kill(os.getpid(), signal.SIGALRM)")
    assert "it takes longer than 20 s" in held(Trial(kept, command=alarmed))


def test_the_reader_ends_itself_should_nobody_wait_for_it_any_more() -> None:
    reader = subprocess.Popen([sys.executable, "-m", "gateway.policy.trial", "0.2"], stdin=subprocess.PIPE)
    with reader:
        assert reader.wait(30) == -signal.SIGALRM


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (child("sys.exit(3)"), "policies: harmful: reading it ends the process that does (exit code 3)"),
        (child("print('nowhere')", "sys.exit(1)"), "nowhere: harmful"),
        (("/no/such/program",), "no process can be started"),
    ],
)
def test_what_could_not_be_tried_is_refused_too(kept: Path, command: Sequence[str], says: str) -> None:
    assert says in held(Trial(kept, command=command))


def test_what_was_good_is_not_tried_again_not_even_by_the_next_process(kept: Path) -> None:
    trial = Trial(kept)
    assert held(trial) == ""
    useless = child("sys.exit(1)")
    assert held(Trial(kept, command=useless)) == ""
    assert held(Trial(kept, command=useless), OTHER) != ""
    assert held(Trial(kept, command=useless), [*GOOD, *OTHER]) != ""


def test_nothing_is_tried_where_people_wrote_nothing(kept: Path) -> None:
    assert held(Trial(kept, command=child("sys.exit(1)")), []) == ""


@pytest.mark.parametrize("spoilt", ["others may write it", "it cannot be written"])
def test_a_memory_that_cannot_be_trusted_or_kept_only_costs_another_trial(kept: Path, spoilt: str) -> None:
    assert held(Trial(kept)) == ""
    if spoilt == "others may write it":
        kept.chmod(0o666)
        assert held(Trial(kept, command=child("sys.exit(1)"))) != ""
    else:
        assert held(Trial(kept / "below a file"), OTHER) == ""


def test_the_reader_is_not_shown_what_is_none_of_its_business(kept: Path) -> None:
    os.environ["TRIAL_TEST_SECRET"] = "s3cret"
    try:
        assert held(Trial(kept, command=child("sys.exit('TRIAL_TEST_SECRET' in os.environ)"))) == ""
    finally:
        del os.environ["TRIAL_TEST_SECRET"]
