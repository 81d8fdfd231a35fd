"""`toolgate config`: is it valid, what does it come to, what may be in it."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.loaded import load_config, resolver_for
from gateway.cli.output import emit, fail_with_problems
from gateway.config import ConfigError
from gateway.config import schema as config_schema
from gateway.config import show as show_config

__all__ = ["commands"]

ConfigPath = Annotated[Path, typer.Option(help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate config`."""
    group = typer.Typer(help="Check and show the configuration.", no_args_is_help=True, add_completion=False)
    group.command()(validate)
    group.command()(show)
    group.command()(schema)
    return group


def validate(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Check the configuration and every secret it refers to, without serving."""
    loaded = load_config(config, as_json=as_json).config
    counts = {"servers": len(loaded.mcpServers), "agents": len(loaded.agents), "workflows": len(loaded.workflows)}
    told = ", ".join(f"{count} {name if count != 1 else name[:-1]}" for name, count in counts.items())
    emit({"ok": True, **counts}, [f"{config}: ok ({told})"], as_json=as_json)


def show(config: ConfigPath = Path("gateway.yaml"), as_json: AsJson = False) -> None:
    """Show the configuration as it takes effect, with its defaults and without its secrets."""
    path = config.expanduser().absolute()
    try:
        shown = show_config(path, resolver_for(path, set()))
    except ConfigError as error:
        fail_with_problems(error, as_json=as_json)
    emit(shown, _lines(shown), as_json=as_json)


def schema() -> None:
    """Print the JSON Schema of the configuration, for an editor that completes and checks as you type."""
    emit(config_schema(), [], as_json=True)


def _lines(shown: object) -> list[str]:
    import yaml

    return str(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)).splitlines()
