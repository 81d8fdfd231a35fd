"""`toolgate init`: put the gateway between a host and the servers it starts, and take it out again."""

import difflib
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli.output import USAGE, Refused, done, fail_with, say
from gateway.cli.servers import pin_schemas
from gateway.config.hosts import (
    ENTRY,
    Host,
    HostFile,
    HostFileError,
    backups,
    find_hosts,
    read_host,
    restored,
    write_host,
)
from gateway.config.importing import DEFAULT_POLICY, Import, import_hosts
from gateway.credentials.fault import CredentialFault
from gateway.credentials.secrets import SecretStore
from gateway.model.clock import Clock, SystemClock
from gateway.store.private_file import PrivateFileError, write_private

__all__ = ["Pin", "Setup", "init"]

Pin = Callable[[Path], int]
"""Pins the tool schemas of every server of the configuration at a path in gateway.lock; returns how many."""

_MASK: Final = "***"


def init(
    config: Annotated[Path, typer.Option(help="The configuration file to write.")] = Path("gateway.yaml"),
    host_file: Annotated[
        list[Path] | None, typer.Option(help="A host's file to import, instead of looking for them; may be repeated.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    pin: Annotated[bool, typer.Option(help="Start each server once and pin its tool schemas in gateway.lock.")] = True,
    undo: Annotated[bool, typer.Option("--undo", help="Give each host its servers back.")] = False,
) -> None:
    """Import the MCP servers of Claude Desktop, Claude Code or Cursor behind the gateway."""
    setup = Setup(config.expanduser().absolute(), SystemClock(), ask=_ask(yes), pin=pin_schemas if pin else None)
    hosts = [_named(path) for path in host_file] if host_file else _hosts_here()
    if undo and not host_file:
        found = {host.path for host in hosts}
        hosts += [_named(path) for path in setup.imported() if path not in found]
    try:
        if undo:
            setup.take_out(hosts)
        else:
            setup.put_in(hosts)
    except (HostFileError, CredentialFault, PrivateFileError, OSError) as error:
        fail_with(Refused(getattr(error, "code", "host_file"), str(error), "nothing was changed in that file"))


def _hosts_here() -> list[Host]:
    return find_hosts(Path.home(), Path.cwd(), sys.platform, os.environ)


def _named(path: Path) -> Host:
    """Take a file for what its name says; the agent is named for the host."""
    path = path.expanduser().absolute()
    if not path.is_file():
        fail_with(Refused("host_file", f"{path}: there is no such file"), USAGE)
    titles = {
        "claude_desktop_config.json": ("claude-desktop", "Claude Desktop"),
        ".mcp.json": ("claude-code", "Claude Code"),
    }
    name, title = titles.get(path.name, ("host", path.name))
    if path.parent.name == ".cursor":
        name, title = "cursor", "Cursor"
    return Host(name, title, path)


def _ask(yes: bool) -> Callable[[str], bool]:
    def ask(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            fail_with(Refused("unattended", "there is nobody to ask", "repeat with --yes"), USAGE)
        return typer.confirm(f"  {question}", default=True)

    return ask


@dataclass(frozen=True, slots=True)
class Setup:
    """Puts the gateway of one configuration file between hosts and their servers. `pin` is run where it is given."""

    config: Path
    clock: Clock
    ask: Callable[[str], bool]
    pin: Pin | None = None

    def put_in(self, hosts: Sequence[Host]) -> None:
        """Import the servers of these hosts, asking first. Raises `HostFileError`, `CredentialFault`, `OSError`."""
        files = [file for file in map(read_host, hosts) if file.others]
        if not files:
            self._start_empty(hosts)
            return
        plan = import_hosts(files, getpass.getuser())
        rewritten = {file.host.name: self._rewritten(file, plan) for file in files}
        for file in files:
            say(f"  Found  {file.host.title}  {_count(len(file.others), 'server')}  {file.host.path}")
            for line in _diff(file, rewritten[file.host.name], plan):
                say(f"    {line}")
        for why in plan.left:
            say(f"  Note: {why}")
        if not plan.servers:
            fail_with(Refused("nothing_to_import", "none of these servers can be imported"))
        if not self.ask(f"Import {_count(len(plan.servers), 'server')} behind the gateway?"):
            say("  Nothing was changed.")
            return
        self._write(plan)
        for file in files:
            backup = write_host(file.host, rewritten[file.host.name], self._today())
            self._remember(file.host.path)
            done(f"{file.host.title} now starts {_count(1, 'server')}: {ENTRY}  (backup: {backup and backup.name})")
        if plan.secrets:
            say("  The backup has the secrets as they were, readable by you only; toolgate init --undo needs it.")
        say(f"  Next: toolgate up, then restart {' and '.join(file.host.title for file in files)}")

    def _start_empty(self, hosts: Sequence[Host]) -> None:
        if any(ENTRY in read_host(host).servers for host in hosts):
            say("  Nothing to do: every server of your hosts is behind the gateway already.")
            return
        if not self.ask("No host with MCP servers was found. Write an empty configuration?"):
            say("  Nothing was changed.")
            return
        self._write(import_hosts([], getpass.getuser()))
        say(f"  Next: add servers and agents to {self.config}, then toolgate up")

    def _write(self, plan: Import) -> None:
        """Write all that is ours before any host's file is touched: a failure then leaves the hosts as they were."""
        if self.config.exists() and self.config.read_text("utf-8") != plan.text:
            why = f"{self.config} exists and is not what would be written"
            fail_with(Refused("config_exists", why, "add the servers to it by hand, or name a new file with --config"))
        secrets = SecretStore(self.config.parent / ".toolgate", os.environ)
        for name, value in plan.secrets.items():
            secrets.set(name, value)
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(plan.text, "utf-8")
        policy = self.config.parent / "policies/default.cedar"
        if not policy.exists():
            policy.parent.mkdir(exist_ok=True)
            policy.write_text(DEFAULT_POLICY, "utf-8")
        agents = ", ".join(f"'{name}'" for name in plan.moved)
        done(f"wrote {self.config} ({_count(len(plan.servers), 'server')}, agent {agents or 'none'}, {policy.name})")
        if plan.secrets:
            moved = ", ".join(sorted(plan.secrets))
            done(f"moved {_count(len(plan.secrets), 'secret')} into the secret store: {moved}")
        if self.pin is not None:
            done(f"pinned {_count(self.pin(self.config), 'tool schema')} (gateway.lock)")

    def imported(self) -> list[Path]:
        """Return the hosts' files that servers were imported from, wherever they are, as far as they are there."""
        try:
            told = json.loads(self._memory.read_text("utf-8"))
        except (OSError, ValueError):
            return []
        known = [Path(each) for each in told if isinstance(each, str)] if isinstance(told, list) else []
        return [path for path in known if path.is_file()]

    def _remember(self, path: Path) -> None:
        paths = sorted({*map(str, self.imported()), str(path)})
        write_private(self._memory, json.dumps(paths).encode())

    @property
    def _memory(self) -> Path:
        return self.config.parent / ".toolgate/hosts.json"

    def _rewritten(self, file: HostFile, plan: Import) -> str:
        stay = {name: section for name, section in file.others.items() if name not in plan.moved[file.host.name]}
        return file.with_servers({ENTRY: _entry(self.config, file.host.name), **stay})

    def _today(self) -> str:
        return datetime.fromtimestamp(self.clock.now_ms() / 1000, UTC).date().isoformat()

    def take_out(self, hosts: Sequence[Host]) -> None:
        """Give these hosts their servers back from the newest backup. Raises `HostFileError`."""
        ours = [file for file in map(read_host, hosts) if ENTRY in file.servers]
        if not ours:
            say(f"  Nothing to undo: no host starts toolgate that was found, or is known beside {self.config}.")
            say("  Name a host's file with --host-file, or what was written with --config.")
        for file in ours:
            older = next((b for b in (_backup(file.host, path) for path in backups(file.host)) if b.others), None)
            if older is None:
                raise HostFileError(f"{file.host.path}: has no backup beside it")
            text = restored(file, older)
            shown = _masked(text, import_hosts([older], getpass.getuser()))
            for line in _unified(file.text, shown, file.host.path.name):
                say(f"    {line}")
            if self.ask(f"Give {file.host.title} its {_count(len(older.others), 'server')} back?"):
                write_host(file.host, text)
                done(f"{file.host.title} is as it was before toolgate; {self.config.name} and the ledger stay")


def _backup(host: Host, path: Path) -> HostFile:
    return read_host(Host(host.name, host.title, path))


def _entry(config: Path, agent: str) -> dict[str, Any]:
    """Return what a host is to start: absolute paths, because hosts start their servers with a bare PATH."""
    program = Path(sys.executable).with_name("toolgate")
    start = [str(program)] if program.exists() else [sys.executable, "-m", "gateway"]
    arguments = [*start[1:], "stdio", "--config", str(config), "--agent", agent]
    return {"command": start[0], "args": arguments, "env": {"PATH": os.environ.get("PATH", os.defpath)}}


def _diff(file: HostFile, after: str, plan: Import) -> list[str]:
    """Return the change as a person may look at it: what becomes a secret is not shown."""
    return _unified(_masked(file.text, plan), after, file.host.path.name)


def _masked(text: str, plan: Import) -> str:
    for value in sorted(plan.secrets.values(), key=len, reverse=True):
        text = text.replace(value, _MASK)
    return text


def _unified(before: str, after: str, name: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=1)
    return list(lines)[2:]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
