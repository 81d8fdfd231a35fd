"""`toolgate runs rollback`: take back what a run did, as far as it can be taken back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from gateway.cli.acting import As, acting_on_run
from gateway.cli.output import DENIED, FAILED, Refused, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from
from gateway.cli.running import NOT_UP, Running, running

__all__ = ["rollback"]

_LONG_S: Final = 3600.0
_PENDING: Final = frozenset({"waiting", "denied"})


def rollback(  # noqa: PLR0913, PLR0917 - each option is one a person may want
    run: Annotated[str, typer.Argument(help="The run's id; `toolgate runs list` shows them.")],
    after: Annotated[int, typer.Option(min=0, help="Keep the run's first calls, as many as this.")] = 0,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be undone, and what would stay.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    person: As = "",
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Undo a run, last call first: each call with an effect by its compensation (`tools: undo`), under the policies.

    Stops at the first compensation that does not succeed. Repeat it to go on: nothing is undone twice.
    """
    loaded = loaded_from(config, as_json=as_json)
    by = acting_on_run(loaded, person, "rollback", run, as_json=as_json)
    gateway = running(loaded)
    if gateway is None:
        fail_with(NOT_UP, as_json=as_json)
    said = {"by": by, "after": after}
    if plan or not (yes or as_json):
        planned = _ask(gateway, run, {**said, "plan": True}, as_json)
        emit(planned, _lines(planned), as_json=as_json)
        if plan or not any(step["state"] == "to undo" for step in planned["steps"]):
            raise typer.Exit
        typer.confirm("Undo these?", abort=True)
    _conclude(_ask(gateway, run, said, as_json), as_json)


def _ask(gateway: Running, run: str, said: Mapping[str, Any], as_json: bool) -> Mapping[str, Any]:
    told: Mapping[str, Any] | None = gateway.ask(f"/-/runs/{run}/rollback", said, _LONG_S)
    if told is None:
        fail_with(NOT_UP, as_json=as_json)
    if "error" in told:
        fail_with(Refused(told["error"], told.get("message", "")), as_json=as_json)
    return told


def _conclude(report: Mapping[str, Any], as_json: bool) -> NoReturn:
    stopped, lines = report["stopped"], _lines(report)
    if stopped:
        lines.append(f"stopped at #{stopped['call']}: {stopped['tool']} is {stopped['outcome']}: {stopped['why']}")
        lines.append("what was undone stays undone; repeat the command to go on")
    emit(report, lines, as_json=as_json)
    if stopped:
        raise typer.Exit(DENIED if stopped["outcome"] in _PENDING else FAILED)
    raise typer.Exit(0 if report["complete"] else FAILED)


def _lines(report: Mapping[str, Any]) -> list[str]:
    steps: Sequence[Mapping[str, Any]] = report["steps"]
    return table([_row(step) for step in steps]) or ["the run has no call with an effect there"]


def _row(step: Mapping[str, Any]) -> dict[str, str]:
    by = f"{step['by']} {json.dumps(step['arguments'], ensure_ascii=False)}" if "by" in step else step.get("why", "")
    return {"n": str(step["n"]), "call": step["call"], "tool": step["tool"], "state": step["state"], "how": by}
