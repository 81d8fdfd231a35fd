"""Calls that wait for people: what the gateway keeps in memory for each."""

import sys
import tempfile
from pathlib import Path

from tests.overhead.load import Target
from tests.overhead.processes import drive, resident_mib
from tests.overhead.stand import HERE, configure, issue_token, spawn, start_gateway, stop

__all__ = ["waiting_kib"]

_WAITING = 12_000
_MORE = 4000
_CONNECTIONS = 16
_CONFIG = """
people: { bob@example.com: { roles: [leads] } }
approvals: { wait_s: 0 }
"""
_POLICY = """
@id("write.asks") @obligation("approval:leads")
forbid (principal, action == Gateway::Action::"echo.write", resource)
unless { context.base has approval && context.base.approval.argsMatch &&
         context.base.approval.by in Gateway::Role::"leads" };
@id("write.who-approves")
permit (principal in Gateway::Role::"leads", action == Gateway::Action::"approve",
        resource == Gateway::Tool::"echo.write");
"""


def waiting_kib() -> float:
    """Return how much resident memory each further call takes that waits, where thousands do: caches have filled up."""
    with tempfile.TemporaryDirectory(prefix="toolgate-waiting-") as made:
        home = Path(made)
        server, port = spawn(sys.executable, str(HERE / "downstream.py"))
        try:
            configure(home, {"echo": port})
            with (home / "gateway.yaml").open("a", encoding="utf-8") as config:
                config.write(_CONFIG)
            (home / "policies" / "asking.cedar").write_text(_POLICY, encoding="utf-8")
            gateway, gateway_port = start_gateway(home)
            try:
                target = Target(gateway_port, "echo_write", issue_token(home), answer="needs_approval")
                drive(target, _CONNECTIONS, _WAITING, "waiting")
                before = resident_mib(gateway.pid)
                drive(target, _CONNECTIONS, _MORE, "more")
                return max(0.0, resident_mib(gateway.pid) - before) * 1024 / _MORE
            finally:
                stop(gateway)
        finally:
            stop(server)
