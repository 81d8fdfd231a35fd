"""`toolgate policy`: check, test, explain and show what decides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import build_rules, policy_trial, read_policies
from gateway.catalog.lock import Lock, LockError
from gateway.cli.explain import conclude
from gateway.cli.loaded import Loaded
from gateway.cli.output import FAILED, USAGE, Refused, emit, fail_with, fail_with_problems, say, table
from gateway.cli.place import AsJson, ConfigPath, home_of, loaded_from, with_store
from gateway.config import GatewayConfig
from gateway.ledger.entries import given_in
from gateway.ledger.trace import call_events
from gateway.model.identity import Identity
from gateway.model.problem import Problem
from gateway.pipeline.rules import Rules
from gateway.policy import (
    PolicyLoadError,
    explain,
    from_json,
    lowered,
    matrix,
)
from gateway.policy.cases import CaseFile, read_cases, run_cases
from gateway.policy.lint import check
from gateway.policy.unanswered import unanswered
from gateway.policy.unguarded import unguarded
from gateway.store.bodies import load
from gateway.store.ports import Store

__all__ = ["commands", "identities", "rules_of"]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate policy`."""
    group = typer.Typer(help="The policies: check, test, explain, show.", no_args_is_help=True)
    group.command("check")(check_policies)
    group.command("test")(run_cases_in)
    group.command("explain")(explain_call)
    group.command()(show)
    group.command("matrix")(show_matrix)
    return group


def rules_of(loaded: Loaded, *, as_json: bool = False) -> Rules:
    """Return the rules the files describe, or say what is wrong with them and exit with 1."""
    home = home_of(loaded)
    try:
        lock = Lock.read(home.lock)
        return build_rules(loaded.config, read_policies(loaded.config, home, lock, policy_trial(home)), lock, {})
    except LockError as error:
        fail_with(Refused("lock", str(error)), as_json=as_json)
    except PolicyLoadError as error:
        if as_json:
            fail_with_problems(error, as_json=True)
        fail_with(Refused("policy_error", str(error), _unpinned_hint(home.lock)))


def _unpinned_hint(lock: Path) -> str:
    return "" if lock.exists() else "no tool is pinned yet: run `toolgate up` or `toolgate schema lock` once"


def _unseen(server: str) -> Problem:
    why = f"no tool of {server} is pinned yet, so nothing was said of any"
    return Problem("gateway.yaml", 0, 0, "not_pinned", why, "run `toolgate up` or `toolgate schema lock` once.")


def check_policies(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Validate strictly; refuse what can do harm that nothing takes back, and point at what is probably a mistake."""
    loaded = loaded_from(config, as_json=as_json)
    rules = rules_of(loaded, as_json=as_json)
    pinned = {tool.server for tool in rules.bundle.tools.values()}
    unseen = [_unseen(name) for name in loaded.config.mcpServers if name not in pinned]
    asked = unanswered(rules.bundle, tuple(rules.people.values()))
    warnings, errors = [*check(rules.bundle), *asked, *unseen], unguarded(rules.bundle)
    lines = [str(problem) for problem in (*errors, *warnings)]
    stands = f"{len(errors)} tool(s) unguarded" if errors else "ok"
    lines.append(
        f"{len(rules.bundle.policies)} policies: {stands}" + (f", {len(warnings)} warning(s)" if warnings else "")
    )
    told = {"errors": [str(problem) for problem in errors], "warnings": [str(problem) for problem in warnings]}
    emit({"ok": not errors, **told}, lines, as_json=as_json)
    if errors:
        raise typer.Exit(FAILED)


def run_cases_in(
    files: Annotated[list[Path], typer.Argument(help="Files of cases, YAML or JSON.")],
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Decide the cases in FILES and compare with what they expect."""
    rules = rules_of(loaded_from(config, as_json=as_json), as_json=as_json)
    results = [(file, result) for file in files for result in run_cases(rules.bundle, _cases(file, as_json))]
    failed = [(file, result) for file, result in results if not result.passed]
    lines = [f"{file}: {result.case.it}: {result.why}" for file, result in failed]
    lines.append(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    data = [
        {"file": str(file), "case": result.case.it, "got": result.got, "why": result.why} for file, result in results
    ]
    emit(data, lines, as_json=as_json)
    if failed:
        raise typer.Exit(FAILED)


def _cases(file: Path, as_json: bool) -> CaseFile:
    try:
        return read_cases(str(file), file.read_text(encoding="utf-8"))
    except OSError as error:
        fail_with(Refused("unreadable", f"{file}: {error.strerror}"), USAGE, as_json=as_json)
    except PolicyLoadError as error:
        fail_with(Refused("cases", str(error)), as_json=as_json)


def explain_call(
    call: Annotated[str, typer.Argument(help="The id of a recorded call, as in `toolgate trace list`.")],
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Say why a recorded call would be allowed or denied by the policies as they are now."""
    loaded = loaded_from(config, as_json=as_json)
    rules = rules_of(loaded, as_json=as_json)

    async def work(store: Store) -> Mapping[str, Any] | None:
        events = await call_events(store, call)
        found = (given_in(load(event.body.encode())) for event in events)
        return next((given for given in found if given), None)

    given = with_store(loaded, work, as_json=as_json)
    if given is None:
        hint = "see `toolgate trace list`; a call refused before it was decided has nothing to explain"
        fail_with(Refused("unknown_call", f"no decided call has the id {call!r}", hint), as_json=as_json)
    conclude(explain(rules.bundle, from_json(given)).described(), as_json=as_json)


def show(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Print every policy in force as Cedar, also what `allow:`, `workflows:` and temporal clauses compile to."""
    bundle = rules_of(loaded_from(config, as_json=as_json), as_json=as_json).bundle
    if as_json:
        emit({"digest": bundle.digest, "sources": {s.name: lowered(s) for s in bundle.sources}}, [], as_json=True)
        return
    for line in bundle.text.splitlines():
        say(line)


def identities(config: GatewayConfig) -> list[Identity]:
    """Return every agent as the configuration describes it; what a token of its own says besides is not known here."""
    return [
        Identity(name, "matrix", "", owner=agent.owner, teams=tuple(agent.teams), roles=tuple(agent.roles))
        for name, agent in config.agents.items()
    ]


def show_matrix(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show which agent may call which tool: always, conditional, needs_approval or never."""
    loaded = loaded_from(config, as_json=as_json)
    rules = rules_of(loaded, as_json=as_json)
    found = matrix(rules.bundle, identities(loaded.config), rules.catalog.tools())
    rows = [
        {"tool": tool.name, **{agent: str(outlooks[tool.name]) for agent, outlooks in found.items()}}
        for tool in rules.catalog.tools()
    ]
    emit(found, table(rows), as_json=as_json)
