"""The files in which MCP hosts name the servers they start: finding, reading and rewriting them."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["ENTRY", "Host", "HostFile", "HostFileError", "backups", "find_hosts", "read_host", "restored", "write_host"]

ENTRY: Final = "toolgate"
"""What our own server is called in a host's file."""
_SERVERS: Final = "mcpServers"


class HostFileError(ValueError):
    """A host's file cannot be used, and was left as it is. The text says which, where and why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A program that starts MCP servers, and the file it reads them from. `name` is what it is called as an agent."""

    name: str
    title: str
    path: Path


@dataclass(frozen=True, slots=True)
class HostFile:
    """A host's file as read: `text` as it is, `data` what it says."""

    host: Host
    text: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)

    @property
    def servers(self) -> Mapping[str, Any]:
        """Every server the host starts, ours included."""
        servers = self.data.get(_SERVERS, {})
        return servers if isinstance(servers, dict) else {}

    @property
    def others(self) -> dict[str, Any]:
        """The servers that are not ours."""
        return {name: section for name, section in self.servers.items() if name != ENTRY}

    def with_servers(self, servers: Mapping[str, Any]) -> str:
        """Return the file's text with these servers instead, everything else in it kept."""
        return json.dumps({**self.data, _SERVERS: dict(servers)}, indent=2, ensure_ascii=False) + "\n"


def find_hosts(home: Path, folder: Path, platform: str, environ: Mapping[str, str]) -> list[Host]:
    """Return the hosts whose files exist, on this `platform` (as sys.platform), for this user and project folder."""
    if platform == "darwin":
        desktop = home / "Library/Application Support/Claude"
    elif platform == "win32":
        desktop = Path(environ.get("APPDATA") or home / "AppData/Roaming") / "Claude"
    else:
        desktop = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "Claude"
    known = [
        Host("claude-desktop", "Claude Desktop", desktop / "claude_desktop_config.json"),
        Host("claude-code", "Claude Code (this project)", folder / ".mcp.json"),
        Host("cursor", "Cursor", home / ".cursor/mcp.json"),
        Host("cursor-project", "Cursor (this project)", folder / ".cursor/mcp.json"),
    ]
    return [host for host in known if host.path.is_file()]


def read_host(host: Host) -> HostFile:
    """Read a host's file.

    Raises:
        HostFileError: it cannot be read, or is not the JSON object a host takes (comments and the like included).
    """
    try:
        text = host.path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HostFileError(f"{host.path}: cannot be read: {error}") from None
    try:
        data = json.loads(text, object_pairs_hook=_unique) if text.strip() else {}
    except json.JSONDecodeError as error:
        raise HostFileError(f"{host.path}:{error.lineno}:{error.colno}: is not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise HostFileError(f"{host.path}: is not valid JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get(_SERVERS, {}), dict):
        raise HostFileError(f"{host.path}: holds no object `{_SERVERS}`")
    return HostFile(host, text, data)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"`{twice}` is in it twice")
    return built


def write_host(host: Host, text: str, day: str = "") -> Path | None:
    """Replace a host's file, at once and with its mode kept; with `day` (2026-11-21), after a backup named for it,
    which is for this user alone.

    Returns the backup. Raises `HostFileError`; the file is then as it was.
    """
    path = host.path.resolve()
    try:
        backup = _free_name(path, day) if day else None
        if backup is not None:
            backup.touch(mode=0o600)  # it has what was in the file, secrets and all
            shutil.copyfile(path, backup)
        draft = path.with_name(f".{path.name}.toolgate")
        draft.touch(mode=0o600)
        shutil.copymode(path, draft)
        draft.write_text(text, "utf-8")
        os.replace(draft, path)
    except OSError as error:
        raise HostFileError(f"{path}: cannot be rewritten: {error}") from None
    return backup


def _free_name(path: Path, day: str) -> Path:
    names = (f"{path.name}.{day}", *(f"{path.name}.{day}-{number}" for number in range(2, 1000)))
    return next(path.with_name(name) for name in names if not path.with_name(name).exists())


def backups(host: Host) -> list[Path]:
    """Return the backups of a host's file, newest first."""
    path = host.path.resolve()
    shape = re.compile(re.escape(path.name) + r"\.(\d{4}-\d\d-\d\d)(?:-(\d+))?")
    found = [
        (match[1], int(match[2] or 1), each) for each in path.parent.iterdir() if (match := shape.fullmatch(each.name))
    ]
    return [each for _, _, each in sorted(found, reverse=True)]


def restored(now: HostFile, backup: HostFile) -> str:
    """Return the file as it was before us: the servers of the backup, and what was added or changed since, kept."""
    servers = {**backup.others, **now.others}
    if {**now.data, _SERVERS: None} == {**backup.data, _SERVERS: None} and servers == backup.servers:
        return backup.text
    return now.with_servers(servers)
