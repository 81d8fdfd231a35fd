"""The command line. A command is loaded when it is asked for, so that each starts as fast as what it needs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import typer

__all__ = ["COMMANDS", "app", "build"]

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("gateway.cli.init:init", "Import the MCP servers of a host behind the gateway; --undo gives them back."),
    "up": ("gateway.cli.up:up", "Serve agents until stopped; changed files take effect at once."),
    "status": ("gateway.cli.status:status", "Is it up, and how are its servers?"),
    "doctor": ("gateway.cli.doctor:doctor", "Check the configuration, the files and every server."),
    "config": ("gateway.cli.config:commands", "Check and show the configuration."),
    "agents": ("gateway.cli.agents:commands", "The agent inventory."),
    "token": ("gateway.cli.token:commands", "API tokens: one per agent, stored as a digest only."),
    "secret": ("gateway.cli.secret:commands", "The encrypted secret store."),
    "credential": ("gateway.cli.credential:commands", "What the gateway shows to the servers behind it."),
    "pause": ("gateway.cli.pause:pause", "Stop everything, a team, an agent, a server, a tool or a run."),
    "unpause": ("gateway.cli.pause:unpause", "Let it go on."),
    "approvals": ("gateway.cli.approvals:commands", "Calls that wait for a person: list, show, approve, deny, edit."),
    "autonomy": ("gateway.cli.autonomy:commands", "What agents have earned to do without being asked; accept it."),
    "budget": ("gateway.cli.budget:budget", "Budgets: limits, spent, reserved, left; what the record saved."),
    "facts": ("gateway.cli.facts:facts", "What agents keep, by whom, and what proves it."),
    "policy": ("gateway.cli.policy:commands", "The policies: check, test, explain, show."),
    "access": ("gateway.cli.access:commands", "Review what agents may do against what they did; certify it."),
    "explain": ("gateway.cli.explain:explain", "What would be decided of a call, and why, without calling."),
    "schema": ("gateway.cli.schema:commands", "Pinned schemas: gateway.lock."),
    "connector": ("gateway.cli.connector:commands", "Connectors: begin one, test it, list those installed."),
    "trace": ("gateway.cli.trace:commands", "Question the ledger: who did what, decided by what."),
    "events": ("gateway.cli.events:commands", "Events told to other systems: how far, and again."),
    "runs": ("gateway.cli.runs:commands", "Runs: their steps; resume, pause, cancel; settle what is in doubt."),
    "replay": ("gateway.cli.replay:replay_calls", "Decide recorded calls again; the decisions must be the same."),
    "simulate": ("gateway.cli.simulate:simulate", "Decide recorded calls by other policies, and list what changes."),
    "evidence": ("gateway.cli.evidence:commands", "Evidence bundles that verify with the public key alone."),
    "verify": ("gateway.cli.verify:verify", "Check that the ledger's hash chain holds."),
    "stdio": (
        "gateway.cli.line:stdio",
        "Speak MCP on standard input and output, for a host that starts its servers itself.",
    ),
}
"""Command → where it is, and what `--help` says of it. `commands` returns a `typer.Typer` of subcommands;
all else is the command's function."""


def build() -> "typer.Typer":
    """Return the command line as an application that tests can invoke."""
    from gateway.cli.line import build as built  # typer, which `up` does without

    return built()


def app() -> None:
    """Run the command line."""
    build()(prog_name="toolgate")
