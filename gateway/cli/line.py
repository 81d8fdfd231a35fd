"""The command line, as typer reads it."""

from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from gateway import __version__
from gateway.cli import COMMANDS
from gateway.cli.examples import EXAMPLES

__all__ = ["build", "stdio"]

_HELPING: Final = "toolgate.helping"
_COMPLETING: Final = frozenset({"install_completion", "show_completion"})


class _Lazy(TyperGroup):
    """Loads a command when it is run; help needs none of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        place, told = COMMANDS[cmd_name]
        if ctx.meta.get(_HELPING):
            return TyperCommand(cmd_name, help=told)
        module, _, name = place.partition(":")
        found = getattr(import_module(module), name)
        if name != "commands":
            return _exemplified(_one_command(cmd_name, found), cmd_name)
        command = get_command(found())
        command.params = [each for each in command.params if each.name not in _COMPLETING]  # it is for the whole line
        command.name = cmd_name
        return _exemplified(command, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        ctx.meta[_HELPING] = True
        super().format_help(ctx, formatter)


def _exemplified(command: Any, path: str) -> Any:
    """Return a command whose help, and that of each of its subcommands, ends with an example."""
    for name, each in getattr(command, "commands", {}).items():
        _exemplified(each, f"{path} {name}")
    if path in EXAMPLES:
        command.epilog = f"Example: {EXAMPLES[path]}"
    return command


def _one_command(name: str, function: Any) -> Any:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name)(function)
    return get_command(single)


def stdio() -> None:
    """Say where the bridge is: gateway/__main__.py runs it before any of this is loaded."""
    raise typer.BadParameter("stdio comes first: toolgate stdio --config PATH --agent NAME")


def build() -> typer.Typer:
    """Return the command line as an application that tests can invoke."""
    toolgate = typer.Typer(
        name="toolgate",
        cls=_Lazy,
        epilog="Start with: toolgate init",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    toolgate.callback()(_root)
    return toolgate


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"toolgate {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Governed hands for AI agents: an MCP gateway with identity, policy and a ledger."""
