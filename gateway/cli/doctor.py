"""`toolgate doctor`: what is wrong, and the command that puts it right."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.app import build_rules, policy_trial, read_policies, undecided_in
from gateway.catalog.lock import Lock, LockError
from gateway.cli.callers import examine_keys, examine_tokens
from gateway.cli.checks import Check
from gateway.cli.loaded import Loaded, load_now
from gateway.cli.output import FAILED, emit
from gateway.cli.place import home_of
from gateway.cli.servers import probe_servers
from gateway.cli.status import opened
from gateway.config import ConfigError, GatewayConfig
from gateway.policy import PolicyLoadError, open_to_any

__all__ = ["Check", "Probe", "doctor", "examine"]

BARE_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""The PATH that hosts started from a desktop have."""


Probe = Callable[[GatewayConfig, Path], Iterable[Check]]
"""Looks at what runs: a live handshake with every server, every credential."""


def doctor(
    config: Annotated[Path, typer.Option(help="The configuration file.")] = Path("gateway.yaml"),
    fix: Annotated[bool, typer.Option("--fix", help="Put right what can be put right without you.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Start no server.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the configuration, the files, and every server as a host would start it."""
    checks = list(examine(config.expanduser().absolute(), fix=fix, probe=None if offline else probe_servers))
    failed = [check for check in checks if not check.ok and not check.warning]
    lines = [line for check in checks for line in _lines(check)]
    emit({"ok": not failed, "checks": [asdict(check) for check in checks]}, lines, as_json=as_json)
    if failed:
        raise typer.Exit(FAILED)


def examine(config: Path, *, fix: bool, probe: Probe | None = None) -> Iterable[Check]:
    """Yield every check of the gateway at `config`; `probe` looks at what runs, once the configuration is valid."""
    try:
        loaded = load_now(config)
    except ConfigError as error:
        for problem in error.problems:
            yield Check("configuration", ok=False, message=str(problem).partition("\n")[0], fix=problem.fix)
        yield from _modes(config.parent / ".toolgate", fix=fix)
        return
    yield Check("configuration", ok=True, message=f"{config} is valid")
    yield from _modes(config.parent / ".toolgate", fix=fix)
    yield from _policies(config.parent, loaded.config)
    yield from _programs(loaded.config)
    yield from _access(loaded)
    yield from examine_tokens(loaded)
    if probe is not None:
        yield from examine_keys(loaded)
        yield from probe(loaded.config, config)


def _modes(folder: Path, *, fix: bool) -> Iterable[Check]:
    """What is in the private folder is for its owner only: keys, secrets, the log."""
    if not folder.is_dir():
        yield Check("private files", ok=True, message=f"{folder} is made by the first toolgate up")
        return
    files = (path for path in sorted(folder.iterdir()) if path.stat().st_size)  # a lock file has nothing to hide
    loose = [path for path in (folder, *files) if path.stat().st_mode & 0o077]
    for path in loose:
        wanted = "700" if path.is_dir() else "600"
        if fix:
            path.chmod(int(wanted, 8))
        message = f"{path} {'could' if fix else 'can'} be used by other users"
        yield Check("private files", ok=fix, message=message, fix="" if fix else f"chmod {wanted} {path}")
    if not loose:
        yield Check("private files", ok=True, message=f"{folder} is for you only")


def _policies(folder: Path, config: GatewayConfig) -> Iterable[Check]:
    for name in config.policies:
        if not (folder / name).exists():
            yield Check(
                "policies", ok=False, message=f"{folder / name} does not exist", fix=f"mkdir -p {folder / name}"
            )


def _access(loaded: Loaded) -> Iterable[Check]:
    """What wildcards open, and to whom; nothing where that cannot be told yet, or the files do not load."""
    home = home_of(loaded)
    if not home.lock.exists():
        return
    try:
        lock = Lock.read(home.lock)
        trial = policy_trial(home)
        rules = build_rules(loaded.config, read_policies(loaded.config, home, lock, trial), lock, {})
    except (LockError, PolicyLoadError):
        return
    new = [each.server for each in undecided_in(loaded.config, lock)]
    for line in opened(open_to_any(rules.bundle), new):
        yield Check("access", ok=True, message=line, warning=" is new: " in line)


def _programs(config: GatewayConfig) -> Iterable[Check]:
    """A host started from a desktop has a bare PATH, and so has the gateway its bridge starts."""
    for name, section in config.mcpServers.items():
        command = section.get("command")
        if not isinstance(command, str):
            continue
        if shutil.which(command) is None:
            yield Check(f"server {name}", ok=False, message=f"`{command}` is not installed or not on PATH")
        elif shutil.which(command, path=BARE_PATH) is None:
            where = shutil.which(command)
            message = f"`{command}` is not on the bare PATH that desktop programs have; it is {where}"
            yield Check(f"server {name}", ok=True, message=message, fix=f"write command: {where}", warning=True)
        else:
            yield Check(f"server {name}", ok=True, message=f"`{command}` is installed")


def _lines(check: Check) -> Iterable[str]:
    mark = "!" if check.warning else "✓" if check.ok else "✗"
    yield f"  {mark} {check.name}: {check.message}"
    if check.fix:
        yield f"      fix: {check.fix}"
