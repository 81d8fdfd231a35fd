"""A wall around a child process, built by bubblewrap: what it may read, write and reach."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator

from connectors.mcp.process import Command
from gateway.connector import ConnectorConfig

__all__ = ["Sandbox", "sandboxed"]

_PROGRAM: Final = "bwrap"
_HINT: Final = "This server has a `sandbox`, which needs bubblewrap: install it (Debian: apt install bubblewrap)."
_LINKED: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS: Final = (  # what programs need of /etc, and no secret is in
    "alternatives",
    "ca-certificates",
    "group",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
)


class Sandbox(ConnectorConfig):
    """What a server may see of this machine besides system programs and libraries: nothing, unless said here."""

    network: Literal["none", "host"] = Field("none", description="`none`: no network at all, not even this machine's.")
    read: tuple[str, ...] = Field((), description="Files and folders it may read, its own program's among them.")
    write: tuple[str, ...] = Field((), description="Files and folders it may change. All else it writes is forgotten.")

    @field_validator("read", "write")
    @classmethod
    def _are_whole_paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        whole = tuple(os.path.normpath(os.path.expanduser(path)) for path in paths)
        for given, path in zip(paths, whole, strict=True):
            if not os.path.isabs(path) or "\0" in path:
                raise ValueError(f"{given!r}: a path begins with / or ~/")
        return whole


def sandboxed(command: Command, rules: Sandbox) -> Command:
    """Return a command that runs `command` behind a wall, and does not start where there is nothing to build one with.

    It has its own process ids, no capabilities, an empty home and /tmp of its own, and ends with its group.
    """
    walls = [*_namespaces(rules), *_system(), *_shown(command, rules)]
    if command.directory is not None:
        walls += ["--chdir", command.directory]
    arguments = (*walls, "--", command.program, *command.arguments)
    return replace(command, program=_PROGRAM, arguments=arguments, directory=None, hint=_HINT)


def _namespaces(rules: Sandbox) -> Iterator[str]:
    yield from ("--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    if rules.network == "none":
        yield "--unshare-net"
    yield from ("--cap-drop", "ALL", "--die-with-parent")


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev")
    yield from ("--tmpfs", "/tmp")  # noqa: S108 - one of its own, which nobody else sees
    for name in _LINKED:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    for name in _SETTINGS:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _shown(command: Command, rules: Sandbox) -> Iterator[str]:
    """Folders before what lies in them, or the folder would hide it."""
    home = command.environment.get("HOME", "")
    shown: list[tuple[str, Sequence[str]]] = [(path, ("--ro-bind", path, path)) for path in rules.read]
    shown += [(path, ("--bind", path, path)) for path in rules.write]
    if os.path.isabs(home) and home not in {*rules.read, *rules.write}:
        shown.append((home, ("--tmpfs", home)))
    for _, words in sorted(shown, key=lambda each: Path(each[0]).parts):
        yield from words
