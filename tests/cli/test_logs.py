"""Log lines: each is one record, without secrets, for people or for programs."""

import json
import os
import subprocess
import sys

from tests.live.running import ROOT

SAYS = """
import logging
from gateway.cli.logs import log_to_stderr
from gateway.redaction.redactor import Redactor
log_to_stderr(Redactor(["s3cret-value"]), {form!r})
logging.getLogger("gateway.x").warning("one\\n2026 INFO two %s \\x1b[31m", "s3cret-value")
try:
    raise ValueError("s3cret-value")
except ValueError:
    logging.getLogger("gateway.y").exception("it failed")
"""


def said(form: str) -> list[str]:
    command = [sys.executable, "-c", SAYS.format(form=form)]
    done = subprocess.run(command, cwd=os.fspath(ROOT), capture_output=True, text=True, check=True)
    assert "s3cret" not in done.stderr
    assert "\x1b" not in done.stderr
    return done.stderr.splitlines()


def test_for_people_what_goes_on_is_indented_so_that_none_passes_for_another() -> None:
    first, second, third, *trace = said("text")
    assert (" WARNING one" in first, second.startswith("    2026 INFO two ")) == (True, True)
    assert " ERROR it failed" in third
    assert all(line.startswith("    ") for line in trace)


def test_for_programs_each_record_is_an_object_on_a_line() -> None:
    warned, failed = (json.loads(line) for line in said("json"))
    assert (warned["level"], warned["logger"]) == ("WARNING", "gateway.x")
    assert warned["message"].startswith("one\n2026 INFO two ")
    assert warned["time"].endswith("+00:00")
    assert "trace" not in warned
    assert failed["message"] == "it failed"
    assert failed["trace"].startswith("Traceback (most recent call last):\n")
