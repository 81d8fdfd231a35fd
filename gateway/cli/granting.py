"""`toolgate access grant`, `grants` and `revoke`: access that a person opens for a while, and that closes by itself."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.approval.approvals import MOST_LISTED, Wanted
from gateway.cli.approvals import All, As, Before, Limit, Why, done_with, moment, page_of, tell
from gateway.cli.durations import span_ms
from gateway.cli.output import say, table
from gateway.cli.place import AsJson, ConfigPath
from gateway.model.clock import SystemClock
from gateway.pipeline.desk import Grant

__all__ = ["grant", "grants", "revoke"]

_CONFIG: Final = Path("gateway.yaml")
_REQUIRED: Final[Any] = ...


def grant(  # noqa: PLR0913, PLR0917 - each is an option
    agent: Annotated[str, typer.Argument(help="To which agent.")],
    tool: Annotated[str, typer.Argument(help='Which tool, or which of today\'s tools: "crm.*".')],
    count: Annotated[int, typer.Option(help="For how many calls.")] = 1,
    within: Annotated[str, typer.Option(help="For how long, such as 15m or 8h.")] = "1h",
    where: Annotated[list[str], typer.Option(help='What an argument must be: "amount <= 100". Repeat it.')] = [],  # noqa: B006 - typer copies it
    run: Annotated[str, typer.Option(help="Only in this run.")] = "",
    on_behalf_of: Annotated[str, typer.Option(help="Only where the agent acts for this user.")] = "",
    by: As = _REQUIRED,
    why: Why = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Open a tool to an agent that may not call it otherwise, where a policy permits what is granted."""
    until = SystemClock().now_ms() + span_ms(within)
    wanted = Grant(agent, tool, count, until, tuple(where), on_behalf_of, why, access=True, run=run)
    tell(done_with(config, as_json, lambda approving: approving.desk.grant(by, wanted)), as_json)


def grants(
    everything: All = False,
    limit: Limit = MOST_LISTED,
    before: Before = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """List what is open to whom for a while, and how often it was used; the newest first."""
    wanted = Wanted(standing=True, is_open=not everything, limit=limit, before=before, access=True)
    rows = page_of(config, as_json, wanted)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for line in table(_row(row) for row in rows) or ["nothing is open to anybody for a while"]:
        say(line)


def revoke(
    grant: Annotated[str, typer.Argument(help="The grant's id: stn_…")],
    by: As = _REQUIRED,
    why: Why = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Close it now."""
    tell(done_with(config, as_json, lambda approving: approving.desk.revoke(by, grant, why)), as_json)


def _row(told: dict[str, Any]) -> dict[str, str]:
    return {
        "id": told["id"],
        "state": told["state"],
        "agent": told["agent"],
        "for": told["on_behalf_of"] or "-",
        "tool": told["tool"],
        "where": " and ".join(f"{each['path']} {each['op']} {json.dumps(each['value'])}" for each in told["where"])
        or "-",
        "run": told.get("run", "") or "-",
        "until": moment(told["until_ms"]),
        "by": ", ".join(vote["by"] for vote in told["votes"]) or "-",
        "used": f"{told['used']} of {told['most']}",
    }
