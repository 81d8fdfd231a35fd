"""The six servers that are used directly and through the gateway."""

import base64
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.installing import node, npm_packages, python_packages
from tests.live.real.steps import Plan, Step

__all__ = ["ENVIRONMENT", "NAMES", "Real", "real"]

HERE = Path(__file__).parent
PYTHON_SERVERS = ["mcp-server-fetch==2026.10.24", "mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"]
NAMES = ("everything", "filesystem", "memory", "time", "git", "fetch")
ENVIRONMENT = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG")
"""What the gateway hands down to a server besides what is configured."""

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class Real:
    """One server. It runs in a folder of its own, which `prepare` fills."""

    name: str
    modern: bool
    command: Sequence[str]
    plan: Plan
    variables: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], None] = lambda folder: None
    masks: Sequence[tuple[str, str]] = ()
    """What differs from one moment to the next, as patterns, and what to read in its place."""
    able: bool = False
    """Whether the client can be asked, which makes the server show more."""

    def at(self, folder: Path) -> list[str]:
        """Return the command that runs it on a folder."""
        return [part.replace("{folder}", str(folder)) for part in self.command]

    def env_at(self, folder: Path) -> dict[str, str]:
        """Return the variables that are configured for it."""
        return {name: value.replace("{folder}", str(folder)) for name, value in self.variables.items()}

    def whole_env_at(self, folder: Path) -> dict[str, str]:
        """Return all variables it has, started as the gateway starts it."""
        return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | self.env_at(folder)


def real(name: str, url: str) -> Real:
    """Return one of NAMES, installed; `url` is a web server for those that need one.

    Raises `CalledProcessError`, `TimeoutExpired` where it cannot be installed.
    """
    return _MAKE[name](url)


def _npm(name: str) -> list[str]:
    modules = npm_packages("servers", HERE / "npm_package")
    return [str(node()), str(modules / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js")]


def _pypi(name: str) -> str:
    return str(python_packages("python_servers", PYTHON_SERVERS) / f"mcp-server-{name}")


def _call(tool: str, **given: Any) -> Step:
    return Step("tools/call", {"name": tool, "arguments": given})


def _complete(ref: Mapping[str, Any], name: str, value: str, **known: str) -> Step:
    context = {"context": {"arguments": known}} if known else {}
    return Step("completion/complete", {"ref": ref, "argument": {"name": name, "value": value}, **context})


def _everything(_: str) -> Real:
    prompt = {"type": "ref/prompt", "name": "completable-prompt"}
    resource = {"type": "ref/prompt", "name": "resource-prompt"}
    template = {"type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}"}
    data = "data:text/plain;base64,SGVsbG8="
    plan = Plan(
        first=[
            _call("get-env"),
            _call("trigger-long-running-operation", duration=0.05, steps=2),
            _call("simulate-research-query", topic="x"),
            _call("trigger-url-elicitation", url="https://example.com/x", elicitationId="e1"),
            _call("trigger-url-elicitation", url="https://example.com/x", elicitationId="e2", errorPath=True),
            _call("gzip-file-as-resource", name="a.gz", data=data, outputType="resource"),
            _call("gzip-file-as-resource", name="b.gz", data=data, outputType="resourceLink"),
            _call("gzip-file-as-resource", name="c.gz", data="data:,", outputType="resource"),
        ],
        never=frozenset({"trigger-long-running-operation", "simulate-research-query", "gzip-file-as-resource",
                         "toggle-simulated-logging", "toggle-subscriber-updates"}),
        choices={"url": ["https://example.com/a?b=c", "http://localhost"]},
        last=[
            Step("resources/read", {"uri": "demo://resource/dynamic/text/1"}),
            Step("resources/read", {"uri": "demo://resource/dynamic/blob/7"}),
            Step("resources/read", {"uri": "demo://resource/dynamic/text/no"}),
            Step("resources/read", {"uri": "demo://resource/nowhere"}),
            Step("prompts/get", {"name": "args-prompt", "arguments": {"city": "Zürich", "state": "ZH"}}),
            Step("prompts/get", {"name": "args-prompt", "arguments": {"city": "Bern"}}),
            Step("prompts/get", {"name": "args-prompt", "arguments": {}}),
            Step("prompts/get", {"name": "completable-prompt", "arguments": {"department": "Sales", "name": "Eve"}}),
            Step("prompts/get", {"name": "resource-prompt", "arguments": {"resourceType": "Text", "resourceId": "3"}}),
            Step("prompts/get", {"name": "resource-prompt", "arguments": {"resourceType": "Blob", "resourceId": "4"}}),
            Step("prompts/get", {"name": "resource-prompt", "arguments": {"resourceType": "?", "resourceId": "4"}}),
            _complete(prompt, "department", ""),
            _complete(prompt, "department", "S"),
            _complete(prompt, "name", "", department="Sales"),
            _complete(prompt, "name", "x", department="Support"),
            _complete(resource, "resourceType", "T"),
            _complete(resource, "resourceId", "12"),
            _complete(template, "resourceId", "5"),
            _complete(template, "resourceId", "no"),
        ],
    )  # fmt: skip
    variables = {"NODE_OPTIONS": f"--require {HERE / 'fixed_time.cjs'}"}
    return Real("everything", False, _npm("everything"), plan, variables, able=True)


def _filesystem(_: str) -> Real:
    def prepare(folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "a.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
        (folder / "ü.txt").write_text("héllo 🏦\n", encoding="utf-8")
        (folder / "sub" / "b.md").write_text("# B\n", encoding="utf-8")
        (folder / "pixel.png").write_bytes(PIXEL)

    def at(name: str) -> str:
        return f"{{folder}}/{name}"

    plan = Plan(
        first=[
            _call("list_allowed_directories"),
            _call("list_directory", path="{folder}"),
            _call("directory_tree", path="{folder}", excludePatterns=["sub"]),
            _call("read_text_file", path=at("a.txt"), head=2),
            _call("read_text_file", path=at("a.txt"), tail=1),
            _call("read_text_file", path=at("a.txt"), tail=1, head=1),
            _call("read_text_file", path=at("ü.txt")),
            _call("read_media_file", path=at("pixel.png")),
            _call("read_multiple_files", paths=[at("a.txt"), at("none"), at("sub/b.md")]),
            _call("write_file", path=at("sub/new.txt"), content="new ü\n"),
            _call("edit_file", path=at("a.txt"), edits=[{"oldText": "two", "newText": "2"}], dryRun=True),
            _call("edit_file", path=at("a.txt"), edits=[{"oldText": "two", "newText": "2"}]),
            _call("edit_file", path=at("a.txt"), edits=[{"oldText": "not there", "newText": "2"}]),
            _call("create_directory", path=at("deep/er")),
            _call("move_file", source=at("sub/new.txt"), destination=at("deep/moved.txt")),
            _call("search_files", path="{folder}", pattern="**/*.txt"),
            _call("get_file_info", path=at("a.txt")),
            _call("read_file", path="/etc/hostname"),
        ],
        choices={
            "path": ["{folder}", at("a.txt"), at("sub"), at("ü.txt"), at("sub/made.txt")],
            "source": [at("deep/moved.txt"), at("sub/made.txt")],
            "destination": [at("deep/again.txt"), at("sub/back.txt")],
        },
        last=[
            _call("directory_tree", path="{folder}"),
            _call("list_directory_with_sizes", path="{folder}", sortBy="size"),
        ],
    )
    moment = r"(created|modified|accessed): [^\\\"]*?(?=\\n|\")"
    masks = [(moment, r"\1: (a moment)"), (r"\.[0-9a-f]{32}\.tmp", ".(at random).tmp")]
    return Real("filesystem", False, [*_npm("filesystem"), "{folder}"], plan, {}, prepare, masks)


def _memory(_: str) -> Real:
    entities = [
        {"name": "Ada", "entityType": "person", "observations": ["wrote notes", "ü"]},
        {"name": "Engine", "entityType": "machine", "observations": []},
    ]
    plan = Plan(
        first=[
            _call("read_graph"),
            _call("create_entities", entities=entities),
            _call("create_entities", entities=entities),
            _call("create_relations", relations=[{"from": "Ada", "to": "Engine", "relationType": "programs"}]),
            _call("add_observations", observations=[{"entityName": "Ada", "contents": ["wrote notes", "counts"]}]),
            _call("add_observations", observations=[{"entityName": "Nobody", "contents": ["x"]}]),
            _call("search_nodes", query="ada"),
            _call("open_nodes", names=["Engine", "Nobody"]),
            _call("delete_observations", deletions=[{"entityName": "Ada", "observations": ["ü"]}]),
        ],
        choices={"name": ["Ada", "Bob"], "entityName": ["Ada", "Bob"], "from": ["Ada"], "to": ["Bob", "Engine"]},
        last=[
            _call("read_graph"),
            _call("delete_relations", relations=[{"from": "Ada", "to": "Engine", "relationType": "programs"}]),
            _call("delete_entities", entityNames=["Ada"]),
            Step("resources/read", {"uri": "memory://knowledge-graph"}),
            Step("resources/read", {"uri": "memory://nothing"}),
        ],
    )
    return Real("memory", False, _npm("memory"), plan, {"MEMORY_FILE_PATH": "{folder}/memory.jsonl"})


def _time(_: str) -> Real:
    zones = ["Europe/Zurich", "Asia/Tokyo", "Etc/UTC", "Asia/Kolkata"]
    plan = Plan(
        first=[
            _call("convert_time", source_timezone="Europe/Zurich", time="13:45", target_timezone="Asia/Kathmandu"),
            _call("convert_time", source_timezone="Nowhere", time="13:45", target_timezone="Asia/Tokyo"),
            _call("convert_time", source_timezone="Etc/UTC", time="25:00", target_timezone="Asia/Tokyo"),
        ],
        choices={"timezone": zones, "source_timezone": zones, "target_timezone": zones, "time": ["00:00", "23:59"]},
        generated=6,
    )
    masks = [(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "(a moment)")]
    return Real("time", True, [_pypi("time"), "--local-timezone", "Etc/UTC"], plan, {}, masks=masks)


_AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "1767323045 +0000",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_COMMITTER_DATE": "1767323045 +0000",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def _git(_: str) -> Real:
    def prepare(folder: Path) -> None:
        def git(*given: str) -> None:
            subprocess.run(["git", *given], cwd=folder, check=True, env={**os.environ, **_AUTHOR}, capture_output=True)

        git("init", "-q", "-b", "main")
        (folder / "a.txt").write_text("one\ntwo\n", encoding="utf-8")
        git("add", "a.txt")
        git("commit", "-q", "-m", "First ü")
        (folder / "a.txt").write_text("one\n2\n", encoding="utf-8")
        (folder / "new.txt").write_text("new\n", encoding="utf-8")

    at: dict[str, Any] = {"repo_path": "{folder}"}
    plan = Plan(
        first=[
            _call("git_status", **at),
            _call("git_diff_unstaged", **at),
            _call("git_add", **at, files=["a.txt", "new.txt"]),
            _call("git_diff_staged", **at, context_lines=0),
            _call("git_commit", **at, message="Second 🏦"),
            _call("git_log", **at, max_count=5),
            _call("git_log", **at, start_timestamp="2020-01-01", end_timestamp=None),
            _call("git_show", **at, revision="HEAD"),
            _call("git_diff", **at, target="HEAD~1"),
            _call("git_create_branch", **at, branch_name="side", base_branch="main"),
            _call("git_checkout", **at, branch_name="side"),
            _call("git_branch", **at, branch_type="local"),
            _call("git_reset", **at),
            _call("git_status", repo_path="/nowhere"),
        ],
        choices={
            "repo_path": ["{folder}"],
            "revision": ["HEAD", "main", "nothing"],
            "target": ["main", "side", "HEAD"],
            "branch_name": ["main", "side", "third"],
            "base_branch": ["main"],
            "branch_type": ["local", "remote", "all"],
            "files": [["a.txt"], ["."]],
            "contains": [None],
            "not_contains": [None],
        },
        generated=3,
        last=[_call("git_checkout", **at, branch_name="main"), _call("git_log", **at)],
    )
    return Real("git", True, [_pypi("git"), "--repository", "{folder}"], plan, _AUTHOR, prepare)


def _fetch(url: str) -> Real:
    plan = Plan(
        first=[
            *([_call("fetch", url=f"{url}/page")] if os.environ.get("TOOLGATE_EVERY_DOOR") else []),  # takes seconds
            _call("fetch", url=f"{url}/page", raw=True),
            _call("fetch", url=f"{url}/long", max_length=100, start_index=50),
            _call("fetch", url=f"{url}/json"),
            _call("fetch", url=f"{url}/missing"),
            _call("fetch", url=f"{url}/hidden"),
            Step("prompts/get", {"name": "fetch", "arguments": {"url": f"{url}/long"}}),
            Step("prompts/get", {"name": "fetch", "arguments": {"url": f"{url}/missing"}}),
            Step("prompts/get", {"name": "fetch", "arguments": {}}),
        ],
        choices={"url": [f"{url}/long", f"{url}/json"], "max_length": [10, 200], "start_index": [0, 5]},
    )
    return Real("fetch", True, [_pypi("fetch"), "--allow-private-ips"], plan)


_MAKE: Mapping[str, Callable[[str], Real]] = {
    "everything": _everything,
    "filesystem": _filesystem,
    "memory": _memory,
    "time": _time,
    "git": _git,
    "fetch": _fetch,
}
