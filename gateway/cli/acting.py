"""Who a command acts for: the operator of this machine, or a person, and then the policies decide."""

import getpass
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from gateway.cli.loaded import Loaded
from gateway.cli.output import DENIED, Refused, fail_with
from gateway.cli.place import with_store
from gateway.cli.policy import rules_of
from gateway.model.clock import SystemClock
from gateway.model.decision import Decision
from gateway.model.facts import Facts, RunRef
from gateway.pipeline.rules import Rules
from gateway.policy import may_do, on_environment, on_run, on_scope
from gateway.store.ports import EventKind, Record, Store

__all__ = ["As", "acting", "acting_on_run", "acting_on_scope"]

As = Annotated[
    str,
    typer.Option(
        "--as",
        help="The person who does it, one of `people:`: the policies decide what they may, and nothing here checks "
        "that it is you. Without it you do it, as the operator.",
    ),
]
_NO_RUN = RunRef("", "", "")


def acting(loaded: Loaded, person: str, *, as_json: bool = False) -> str:
    """Return who is on record for a command that changes the gateway: policies on the action `admin` let people."""
    environment = loaded.config.server.environment
    return _decided(loaded, person, ("admin", lambda rules: [on_environment(environment)], _NO_RUN), as_json)


def acting_on_scope(loaded: Loaded, person: str, scope: str, *, as_json: bool = False) -> str:
    """Return who is on record for stopping a scope or letting it go on: policies on the action `pause` let people."""
    kind, _, name = scope.partition(":")
    if kind == "run":
        return acting_on_run(loaded, person, "pause", name, as_json=as_json)
    environment = loaded.config.server.environment
    deed = ("pause", lambda rules: on_scope(rules.bundle, scope, environment), _NO_RUN)
    return _decided(loaded, person, deed, as_json)


def acting_on_run(loaded: Loaded, person: str, action: str, run_id: str, *, as_json: bool = False) -> str:
    """Return who is on record for something done to a run: policies on `settle`, `resume`, `rollback` let people."""
    run = with_store(loaded, lambda store: store.find_run(run_id), as_json=as_json) if person else None
    if person and run is None:
        hint = "list them: toolgate runs list"
        fail_with(Refused("unknown_run", f"there is no run {run_id!r}", hint), as_json=as_json)
    found = run or _NO_RUN
    return _decided(loaded, person, (action, lambda rules: [on_run(rules.bundle, found)], found), as_json)


_Deed = tuple[str, Callable[[Rules], Iterable[Sequence[Mapping[str, Any]]]], RunRef]
"""The action, what it is done to, and the run that is about."""


def _decided(loaded: Loaded, person: str, deed: _Deed, as_json: bool) -> str:
    if not person:
        return f"os:{getpass.getuser()}"
    rules = rules_of(loaded, as_json=as_json)
    known = rules.people.get(person)
    if known is None:
        refused = Refused("unknown_person", f"nobody is called {person!r}", "add them under `people:`")
        fail_with(refused, DENIED, as_json=as_json)
    action, resources, run = deed
    facts = Facts(SystemClock().now_ms(), run, environment=loaded.config.server.environment)
    decision = may_do(rules.bundle, known, action, resources(rules), facts)
    if not decision.allowed:
        _refuse(loaded, person, (action, run), decision, as_json)
    return person


def _refuse(loaded: Loaded, person: str, about: tuple[str, RunRef], decision: Decision, as_json: bool) -> NoReturn:
    """Put the refusal on record, and say it."""
    action, run = about
    body = {
        "what": f"{action} refused",
        "by": person,
        "policies": list(decision.policies),
        "bundle": decision.bundle,
        "message": decision.message,
    }
    record = Record("", SystemClock().now_ms(), run.id, run.owner.partition("/")[0], "", "", body, EventKind.ADMIN)

    async def work(store: Store) -> None:
        await store.record(record)

    with_store(loaded, work, as_json=as_json)
    hint = f"a policy on the action {action} lets people"
    fail_with(Refused("denied", decision.message, hint), DENIED, as_json=as_json)
