"""The files of hosts: found, read, rewritten and given back."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.config.hosts import Host, HostFileError, backups, find_hosts, read_host, restored, write_host


def host_at(folder: Path, content: Any) -> Host:
    path = folder / "claude_desktop_config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return Host("claude-desktop", "Claude Desktop", path)


@pytest.mark.parametrize(
    ("platform", "where", "environ"),
    [
        ("darwin", "Library/Application Support/Claude", {}),
        ("win32", "Roaming/Claude", {"APPDATA": "Roaming"}),
        ("win32", "AppData/Roaming/Claude", {}),
        ("linux", ".config/Claude", {}),
        ("linux", "xdg/Claude", {"XDG_CONFIG_HOME": "xdg"}),
    ],
)
def test_claude_desktop_is_found_where_each_platform_keeps_it(
    tmp_path: Path, platform: str, where: str, environ: dict[str, str]
) -> None:
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "claude_desktop_config.json").write_text("{}")
    environ = {name: str(tmp_path / value) for name, value in environ.items()}
    assert [host.name for host in find_hosts(tmp_path, tmp_path, platform, environ)] == ["claude-desktop"]


def test_project_and_user_files_of_other_hosts_are_found(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for path in (project / ".mcp.json", project / ".cursor/mcp.json", tmp_path / ".cursor/mcp.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = find_hosts(tmp_path, project, "linux", {})
    assert [host.name for host in found] == ["claude-code", "cursor", "cursor-project"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{\n  "mcpServers": {} "x": 1}', ":2:20: is not valid JSON"),
        ('{"mcpServers": {"a": {}, "a": {}}}', "`a` is in it twice"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "holds no object"),
        ('{"mcpServers": []}', "holds no object"),
    ],
)
def test_a_file_that_is_not_what_a_host_takes_is_refused_with_its_place(
    tmp_path: Path, content: str, says: str
) -> None:
    with pytest.raises(HostFileError, match=says):
        read_host(host_at(tmp_path, content))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    host = host_at(tmp_path, "")
    host.path.write_bytes(b"\xff\xfe")
    with pytest.raises(HostFileError, match="cannot be read"):
        read_host(host)


def test_an_empty_file_starts_no_servers(tmp_path: Path) -> None:
    assert read_host(host_at(tmp_path, "")).servers == {}


def test_rewriting_keeps_everything_else_and_the_mode(tmp_path: Path) -> None:
    host = host_at(tmp_path, {"theme": "dörk", "mcpServers": {"a": {"command": "x"}}})
    host.path.chmod(0o640)
    write_host(host, read_host(host).with_servers({"toolgate": {"command": "t"}}))
    assert json.loads(host.path.read_text()) == {"theme": "dörk", "mcpServers": {"toolgate": {"command": "t"}}}
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claude_desktop_config.json"]


def test_a_linked_file_is_rewritten_where_it_is(tmp_path: Path) -> None:
    real = host_at(tmp_path, "{}").path
    link = tmp_path / "home/link.json"
    link.parent.mkdir()
    link.symlink_to(real)
    write_host(Host("h", "H", link), '{"new": 1}')
    assert link.is_symlink()
    assert real.read_text() == '{"new": 1}'


def test_backups_of_one_day_are_all_kept_and_listed_newest_first(tmp_path: Path) -> None:
    host = host_at(tmp_path, "{}")
    names = [write_host(host, f'{{"v": {n}}}', day) for n, day in enumerate(["2026-11-21", "2026-11-21", "2026-11-20"])]
    (tmp_path / "claude_desktop_config.json.note").write_text("not a backup")
    assert [path.name.removeprefix("claude_desktop_config.json.") for path in backups(host)] == [
        "2026-11-21-2",
        "2026-11-21",
        "2026-11-20",
    ]
    assert names[0] is not None
    assert names[0].read_text() == "{}"


def test_a_file_that_cannot_be_rewritten_is_left_as_it_is(tmp_path: Path) -> None:
    host = Host("h", "H", tmp_path / "gone/file.json")
    with pytest.raises(HostFileError, match="cannot be rewritten"):
        write_host(host, "{}", "2026-11-21")


def test_undoing_gives_back_the_very_bytes_when_nothing_else_changed(tmp_path: Path) -> None:
    text = '{"mcpServers":{"a":{"command":"x"}},   "theme": 1}'
    before = read_host(host_at(tmp_path, text))
    now = read_host(host_at(tmp_path, before.with_servers({"toolgate": {"command": "t"}})))
    assert restored(now, before) == text


def test_undoing_keeps_what_was_added_since(tmp_path: Path) -> None:
    before = read_host(host_at(tmp_path, {"mcpServers": {"a": {"command": "x"}}}))
    now = read_host(host_at(tmp_path, {"theme": 2, "mcpServers": {"toolgate": {}, "new": {"command": "n"}}}))
    assert json.loads(restored(now, before)) == {
        "theme": 2,
        "mcpServers": {"a": {"command": "x"}, "new": {"command": "n"}},
    }
