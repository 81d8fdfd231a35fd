"""`toolgate autonomy`: what agents have earned to do without a person's approval, and the person who accepts it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.approvals import As, done_with, tell
from gateway.cli.durations import span_ms
from gateway.cli.output import emit
from gateway.cli.place import AsJson, ConfigPath
from gateway.pipeline.autonomy import Proposal

__all__ = ["commands"]

_CONFIG: Final = Path("gateway.yaml")
_REQUIRED: Final[Any] = ...


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate autonomy`."""
    group = typer.Typer(help="What agents have earned to do without being asked.", no_args_is_help=True)
    group.command()(review)
    group.command()(accept)
    return group


def review(config: ConfigPath = _CONFIG, as_json: AsJson = False) -> None:
    """Show for each agent and tool that people were asked about how often they agreed, and what is proposed."""
    found = [each.told() for each in done_with(config, as_json, lambda approving: approving.autonomy.review())]
    emit(
        found, [line for each in found for line in _lines(each)] or ["people were asked about nothing"], as_json=as_json
    )


def accept(  # noqa: PLR0913, PLR0917 - each is an option
    agent: Annotated[str, typer.Argument(help="Whose calls.")],
    tool: Annotated[str, typer.Argument(help="Of which tool.")],
    by: As = _REQUIRED,
    count: Annotated[int, typer.Option(min=0, help="For fewer calls than proposed.")] = 0,
    within: Annotated[str, typer.Option(help="For less long than proposed, such as 7d.")] = "",
    where: Annotated[list[str], typer.Option(help='What else an argument must be: "amount <= 100".')] = [],  # noqa: B006 - typer copies it
    config: ConfigPath = _CONFIG,
    as_json: AsJson = False,
) -> None:
    """Accept what is proposed: calls like these need nobody, until it is used up, over, or not deserved any more."""
    if within:
        span_ms(within)
    less = Proposal(count, within, tuple(where))
    tell(done_with(config, as_json, lambda approving: approving.autonomy.accept(by, agent, tool, less)), as_json)


def _lines(told: Mapping[str, Any]) -> Iterable[str]:
    level = (
        f"standing approval {told['standing']}, used {told['used']} of {told['most']}"
        if "standing" in told
        else "asked"
    )
    yield f"{told['agent']} {told['tool']}: {level}"
    yield (
        f"  {told['approved']} approved, {told['overridden']} overridden; {told['carried']} carried out, "
        f"{told['failed']} failed or taken back: {told['rate']:.1%}"
    )
    proposal = told["proposal"]
    if proposal is None:
        yield f"  nothing is proposed: {told['why_not']}"
        return
    limits = "".join(f", {condition}" for condition in proposal["where"])
    yield f"  proposed: {proposal['most']} calls in {proposal['lasts']}{limits} without asking"
    yield f"  to accept: toolgate autonomy accept {told['agent']} {told['tool']} --as NAME"
