"""`toolgate connector`: begin one, check that it keeps the contract, list those that are installed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from gateway.cli.loaded import load_now
from gateway.cli.output import FAILED, USAGE, Refused, done, emit, fail_with, table
from gateway.cli.place import AsJson, ConfigPath
from gateway.cli.scaffold import Names, files_of, names_of
from gateway.config import ConfigError
from gateway.connector import ConnectorFault, ToolCall
from gateway.connector.package import Packaged, in_folder, installed
from gateway.connector.registry import ConnectorLoadError, settings_of
from gateway.connector.testing import ContractBroken, check_connector, check_failures

__all__ = ["commands"]

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, as key=value; instead of the package's own double.")
]


def commands() -> typer.Typer:
    """Return the subcommands of `toolgate connector`."""
    group = typer.Typer(help="Connectors: new, test, list.", no_args_is_help=True)
    group.command()(new)
    group.command("test")(keeps_contract)
    group.command("list")(list_connectors)
    return group


def new(
    name: Annotated[str, typer.Argument(help="What to call it, such as acme-crm.")],
    into: Annotated[Path, typer.Option(help="The folder to make the package's folder in.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a connector that works, with its tests, in a folder of its own: change it to what your API does."""
    try:
        names = names_of(name)
    except ValueError as error:
        fail_with(Refused("name", f"{name}: {error}"), USAGE, as_json=as_json)
    folder = into / names.package
    try:
        folder.mkdir(parents=True)
        written = [_write(folder / path, text) for path, text in files_of(names).items()]
    except FileExistsError:
        fail_with(Refused("exists", f"{folder} exists already", "choose another name, or --into"), as_json=as_json)
    except OSError as error:
        fail_with(Refused("file", f"{folder} cannot be written: {error.strerror}"), as_json=as_json)
    told = {"folder": str(folder), "files": [str(path.relative_to(folder)) for path in written]}
    emit(told, _next(folder, names), as_json=as_json)


def keeps_contract(
    name: Annotated[str, typer.Argument(help="A package's folder, an installed connector, or a configured server.")],
    setting: Settings = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Fail where its package does not say who answers for it, and the like.")
    ] = False,
    config: ConfigPath = Path("gateway.yaml"),
    as_json: AsJson = False,
) -> None:
    """Check that a connector keeps the contract every connector keeps, against a double or the real other side."""
    held: list[str] = []

    def told(promise: str) -> None:
        held.append(promise)
        if not as_json:
            done(promise)

    try:
        found, given = _found(name, config)
        given = _pairs(setting) if setting else given
        asyncio.run(_check(found, given, told))
    except ContractBroken as error:
        fail_with(Refused("contract_broken", f"{name}: {error}", "connectors/README.md"), as_json=as_json)
    except ConnectorFault as fault:
        detail = f" ({fault.detail})" if fault.detail else ""
        fail_with(Refused(fault.code, f"{name}: {fault.message}{detail}"), as_json=as_json)
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        fail_with(Refused("settings", f"{name}: {places}", "give them with --set key=value"), as_json=as_json)
    except (ConnectorLoadError, ConfigError, ValueError) as error:
        fail_with(Refused("connector", str(error), "toolgate connector list"), as_json=as_json)
    missing = found.manifest.missing()
    if complete and missing:
        hint = "[project] in its pyproject.toml: version, maintainers, urls = { Runbook = …, Changelog = … }"
        said = f"{name}: its package does not say: {', '.join(missing)}"
        fail_with(Refused("manifest", said, hint), as_json=as_json)
    data = {"ok": True, "connector": found.name, "held": held, "manifest": asdict(found.manifest), "missing": missing}
    unsaid = [f"its package does not say: {', '.join(missing)}"] if missing else []
    emit(data, [*unsaid, f"{name}: keeps the contract"], as_json=as_json)


def list_connectors(as_json: AsJson = False) -> None:
    """List the connectors that are installed, with their packages and tools."""
    rows = [_row(each) for each in installed().values()]
    shown = [
        {
            "connector": row["connector"],
            "package": f"{row['package']} {row['version']}".strip(),
            "owner": row["owner"] or "-",
            "tools": row["error"] or ", ".join(row["tools"]) or "(from its configuration)",
        }
        for row in rows
    ]
    emit({"connectors": rows}, table(shown), as_json=as_json)
    if any(row["error"] for row in rows):
        raise typer.Exit(FAILED)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _next(folder: Path, names: Names) -> list[str]:
    return [
        f"made {folder}",
        f"  {folder / names.module}.py         the connector",
        f"  {folder / names.module}_double.py  the API behind it, for tests",
        f"next: toolgate connector test {folder}",
    ]


def _found(name: str, config: Path) -> tuple[Packaged, Mapping[str, Any] | None]:
    """Return the connector that `name` means, and its settings where a gateway.yaml has them.

    Raises:
        ConnectorLoadError: there is none.
        ConfigError: `name` would be a server of a configuration that cannot be read.
    """
    if (Path(name) / "pyproject.toml").is_file():
        folder = Path(name).absolute()
        sys.path[:0] = [str(folder), str(folder / "src")]  # as `pip install -e` would
        return next(iter(in_folder(folder).values())), None
    known = installed()
    if name in known:
        return known[name], None
    if config.is_file():
        kind, settings = settings_of(load_now(config).config.mcpServers.get(name, {}))
        if settings and kind in known:
            return known[kind], settings
    raise ConnectorLoadError(f"{name} is no package's folder, no installed connector and no server in {config}")


def _pairs(settings: list[str]) -> Mapping[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(f"--set {wrong[0]}: write key=value")
    return {key: value for key, _, value in pairs}


async def _check(found: Packaged, settings: Mapping[str, Any] | None, told: Any) -> None:
    connector = found.load()
    async with _other_side(found, settings) as (given, sample):
        await check_connector(connector, connector.configure(given, os.environ), sample=sample, told=told)
    double = found.double() if settings is None else None
    if double is not None and "status" in signature(double).parameters:
        await check_failures(connector, double)
        told("failures are told by their kind, from 400 to 503")


@asynccontextmanager
async def _other_side(
    found: Packaged, settings: Mapping[str, Any] | None
) -> AsyncIterator[tuple[Mapping[str, Any], ToolCall | None]]:
    double = None if settings is not None else found.double()
    if double is None:
        yield settings or {}, None
        return
    async with double() as (given, sample):
        yield given, sample


def _row(packaged: Packaged) -> dict[str, Any]:
    tools: list[str] = []
    error = ""
    try:
        tools = sorted(packaged.load().declared)
    except ConnectorLoadError as fault:
        error = str(fault)
    return {
        "connector": packaged.name,
        "package": packaged.package,
        **asdict(packaged.manifest),
        "tools": tools,
        "error": error,
    }
