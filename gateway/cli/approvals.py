"""`toolgate approvals`: what agents wait for people to approve, and the people's answer.

Whoever may read the gateway's own folder, its operating-system user, acts here for the person that `--as` names; others
decide over the HTTP API, each with their own token.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.approval.approvals import MOST_LISTED, Wanted
from gateway.approval.shown import laid_out, visible
from gateway.approval.values import Approval, ApprovalRefused
from gateway.cli.durations import span_ms
from gateway.cli.output import DENIED, FAILED, USAGE, Refused, fail_with, more, say, table
from gateway.cli.place import AsJson, ConfigPath, loaded_from, with_store
from gateway.cli.policy import rules_of
from gateway.codec import CodecError, parse
from gateway.model.clock import RandomIds, SystemClock
from gateway.pipeline.approving import Approving, Ground
from gateway.pipeline.desk import Desk, Grant, described
from gateway.pipeline.rules import RulesInForce
from gateway.redaction.redactor import Redactor
from gateway.store.ports import Store

__all__ = ["All", "As", "Before", "Limit", "Why", "commands", "done_with", "moment", "page_of", "tell"]

Id = Annotated[str, typer.Argument(help="The approval's id: apr_… or stn_…")]
As = Annotated[
    str,
    typer.Option(
        "--as",
        help="Who you are: a name under `people:`. The policies decide what they may; that it is you is not checked "
        "here, where whoever can use the gateway's folder can be anybody. It is on record as `local-cli`.",
    ),
]
Why = Annotated[str, typer.Option("--reason", help="Why; kept, and told to the agent when you deny.")]
All = Annotated[bool, typer.Option("--all", help="Those that are over too.")]
Limit = Annotated[int, typer.Option(min=1, help="At most this many.")]
Before = Annotated[str, typer.Option(help="Go on behind this one: the last id of a list that was not all.")]
Work = Callable[[Desk], Awaitable[Any]]
_CONFIG: Final = Path("gateway.yaml")
_REQUIRED: Final[Any] = ...
_NOT_ALLOWED: Final = frozenset({"may_not_approve", "policies_refuse", "unknown_person"})


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate approvals`."""
    group = typer.Typer(help="Calls that wait for a person.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command()(show)
    group.command()(approve)
    group.command()(deny)
    group.command()(withdraw)
    group.command()(edit)
    group.command()(assign)
    standing = typer.Typer(help="Calls like these need nobody, so many of them, until then.", no_args_is_help=True)
    standing.command("list")(list_standing)
    standing.command()(grant)
    standing.command()(revoke)
    group.add_typer(standing, name="standing")
    return group


def list_all(
    everything: All = False,
    limit: Limit = MOST_LISTED,
    before: Before = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, or is approved and not carried out yet; the newest first."""
    _list(config, as_json, Wanted(standing=False, is_open=not everything, limit=limit, before=before))


def show(approval: Id, config: ConfigPath = _CONFIG, as_json: AsJson = False) -> None:
    """Show one whole: who asks, for whom, why, and every argument; nothing is cut or hidden."""
    tell(_done(config, as_json, lambda desk: desk.find(approval)), as_json)


def approve(
    approval: Id, by: As = _REQUIRED, why: Why = "", config: ConfigPath = _CONFIG, as_json: AsJson = False
) -> None:
    """Let the agent make this very call, once."""
    tell(_done(config, as_json, lambda desk: desk.approve(by, approval, why)), as_json)


def deny(
    approval: Id, by: As = _REQUIRED, why: Why = "", config: ConfigPath = _CONFIG, as_json: AsJson = False
) -> None:
    """Refuse it; whoever consented before you."""
    tell(_done(config, as_json, lambda desk: desk.deny(by, approval, why)), as_json)


def withdraw(approval: Id, by: As = _REQUIRED, config: ConfigPath = _CONFIG, as_json: AsJson = False) -> None:
    """Take your own consent back, while it is not used."""
    tell(_done(config, as_json, lambda desk: desk.withdraw(by, approval)), as_json)


def assign(
    approval: Id,
    to: Annotated[str, typer.Option(help="Who is to answer: a name under `people:`.")] = _REQUIRED,
    by: As = _REQUIRED,
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Say which person is to answer. Others who may still can."""
    tell(_done(config, as_json, lambda desk: desk.assign(by, approval, to)), as_json)


def edit(  # noqa: PLR0913, PLR0917 - each is an option
    approval: Id,
    arguments: Annotated[str, typer.Option(help="The arguments instead: JSON, or @FILE.")] = _REQUIRED,
    by: As = _REQUIRED,
    why: Why = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Approve the call with other arguments; the agent is told to make that one. The old question is void."""
    instead = _object(arguments, as_json)
    tell(_done(config, as_json, lambda desk: desk.edit(by, approval, instead, why)), as_json)


def list_standing(
    everything: All = False,
    limit: Limit = MOST_LISTED,
    before: Before = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """List the standing approvals, and how often each was used."""
    wanted = Wanted(standing=True, is_open=not everything, limit=limit, before=before, access=False)
    _list(config, as_json, wanted)


def grant(  # noqa: PLR0913, PLR0917 - each is an option
    agent: Annotated[str, typer.Option(help="Whose calls.")] = _REQUIRED,
    tool: Annotated[str, typer.Option(help='Of which tool, or of which of today\'s tools: "crm.*".')] = _REQUIRED,
    count: Annotated[int, typer.Option(help="How many calls.")] = _REQUIRED,
    within: Annotated[str, typer.Option(help="For how long, such as 8h or 30d.")] = _REQUIRED,
    where: Annotated[list[str], typer.Option(help='What an argument must be: "amount <= 100". Repeat it.')] = [],  # noqa: B006 - typer copies it
    on_behalf_of: Annotated[str, typer.Option(help="Only where the agent acts for this user.")] = "",
    by: As = _REQUIRED,
    why: Why = "",
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Approve calls like these beforehand."""
    until = SystemClock().now_ms() + span_ms(within)
    wanted = Grant(agent, tool, count, until, tuple(where), on_behalf_of, why)
    tell(_done(config, as_json, lambda desk: desk.grant(by, wanted)), as_json)


def revoke(
    approval: Id, by: As = _REQUIRED, why: Why = "", config: ConfigPath = _CONFIG, as_json: AsJson = False
) -> None:
    """End a standing approval now."""
    tell(_done(config, as_json, lambda desk: desk.revoke(by, approval, why)), as_json)


def _done(config: Path, as_json: bool, work: Work) -> Any:
    return done_with(config, as_json, lambda approving: work(approving.desk.through("local-cli")))


def done_with(config: Path, as_json: bool, work: Callable[[Approving], Awaitable[Any]]) -> Any:
    """Return what came of some work with the approvals, or say why it was refused and exit."""
    loaded = loaded_from(config, as_json=as_json)
    rules = RulesInForce(rules_of(loaded, as_json=as_json))

    async def run(store: Store) -> Any:
        ground = Ground(store, rules, SystemClock(), RandomIds(), Redactor(loaded.secrets).record)
        try:
            return await work(Approving(ground, loaded.config.approvals))
        except ApprovalRefused as refused:
            return refused

    done = with_store(loaded, run, as_json=as_json)
    if isinstance(done, ApprovalRefused):
        code = DENIED if done.code in _NOT_ALLOWED else FAILED
        fail_with(Refused(done.code, str(done), _hint(done.code)), code, as_json=as_json)
    return done


def _hint(code: str) -> str:
    return "toolgate approvals list shows what waits" if code in {"unknown_approval", "approval_over"} else ""


def _list(config: Path, as_json: bool, wanted: Wanted) -> None:
    rows = page_of(config, as_json, wanted)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for line in table(_row(row, standing=wanted.standing) for row in rows) or ["nothing"]:
        say(line)


def page_of(config: Path, as_json: bool, wanted: Wanted) -> list[dict[str, Any]]:
    """Return the approvals wanted as they are described; where these are not all, that is said."""
    page = done_with(config, as_json, lambda approving: approving.desk.page(wanted))
    if page.next:
        more(f"these are the newest {wanted.limit}; go on behind them with: --before {page.next}")
    now = SystemClock().now_ms()
    return [described(each, now) for each in page.found]


def _row(told: Mapping[str, Any], *, standing: bool) -> dict[str, str]:
    row = {
        "id": told["id"],
        "state": told["state"],
        "agent": told.get("child") or told["agent"],
        "for": told["on_behalf_of"] or "-",
        "tool": f"{told['tool']} (draft)" if told.get("draft") else told["tool"],
        "until": moment(told["until_ms"]),
        "by": ", ".join(vote["by"] for vote in told["votes"]) or "-",
    }
    if standing:
        return {**row, "used": f"{told['used']} of {told['most']}"}
    late = "overdue" if told["overdue"] else moment(told["due_ms"])
    return {**row, "asks": told["assigned"] or " and ".join(told["who"]) or "-", "due": late}


def tell(approval: Approval, as_json: bool) -> None:
    """Print an approval whole. As JSON every character beyond ASCII is escaped: a terminal shows what is there."""
    told = described(approval, SystemClock().now_ms())
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    arguments = told.pop("arguments", None)
    for name in ("asked", "due", "until"):
        if f"{name}_ms" in told:
            told[name] = moment(told.pop(f"{name}_ms"))
    for name, value in told.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"{name:16} {visible(text)}")
    if arguments is not None:
        say("arguments")
        for line in laid_out(arguments):
            say(f"  {line}")


def moment(at_ms: int) -> str:
    """Return a time as people read it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _object(text: str, as_json: bool) -> Mapping[str, Any]:
    try:
        raw = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        value = parse(raw)
    except (OSError, CodecError, UnicodeEncodeError) as error:
        fail_with(Refused("arguments", f"the arguments cannot be read: {error}"), USAGE, as_json=as_json)
    if not isinstance(value, dict):
        fail_with(Refused("arguments", "the arguments are no JSON object", '{"amount": 100}'), USAGE, as_json=as_json)
    return value
