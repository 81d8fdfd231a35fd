"""Turning what hosts start into a `gateway.yaml`, with the secrets taken out of it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.hosts import HostFile
from gateway.config.model import OWN_SERVERS

__all__ = ["DEFAULT_POLICY", "Import", "import_hosts"]

_TAKEN: Final = ("type", "command", "args", "env", "cwd", "url", "headers")
_TYPES: Final = frozenset({"stdio", "http", "streamable-http", "streamableHttp", "sse"})
_SOUNDS_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|AUTH|COOKIE|DSN", re.IGNORECASE)
_LOOKS_SECRET: Final = re.compile(
    r"\b(?:sk-[\w-]{8,}|sk_(?:live|test)_\w{8,}|gh[opsu]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{8,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_SCHEME: Final = re.compile(r"((?:Bearer|Basic|Token|ApiKey)\s+)(.+)", re.IGNORECASE | re.DOTALL)
_QUERY: Final = re.compile(r"([?&][^=&#]*(?:key|token|secret|pass|auth)[^=&#]*=)([^&#]+)", re.IGNORECASE)
_FLAG: Final = re.compile(r"(--?[\w-]*(?:key|token|secret|pass|auth|dsn)[\w-]*)(=.+)?", re.IGNORECASE | re.DOTALL)
_SHORTEST: Final = 4

DEFAULT_POLICY: Final = """\
// What agents may do, in Cedar: https://docs.cedarpolicy.com
// Nothing is allowed unless a policy permits it, and a forbid always wins. `allow:` and `workflows:` in gateway.yaml
// compile to policies of their own: see them with `toolgate policy show`. Write here what they cannot say.
"""


@dataclass(frozen=True, slots=True)
class Import:
    """What importing comes to. `secrets` go to the secret store; `left` says what stays with the host, and why."""

    text: str = field(repr=False)
    servers: tuple[str, ...]
    moved: Mapping[str, tuple[str, ...]]
    secrets: Mapping[str, str] = field(repr=False)
    left: tuple[str, ...]


def import_hosts(files: Sequence[HostFile], owner: str) -> Import:
    """Return a configuration with every server of these hosts, and each host as an agent that may use its own."""
    taking = _Taking()
    moved = {file.host.name: taking.host(file) for file in files}
    agents = {name: sorted(set(names.values())) for name, names in moved.items()}
    return Import(
        _render(taking.servers, agents, owner),
        tuple(taking.servers),
        {name: tuple(names) for name, names in moved.items()},
        taking.secrets,
        tuple(taking.left),
    )


class _Taking:
    def __init__(self) -> None:
        self.servers: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, str] = {}
        self.left: list[str] = []

    def host(self, file: HostFile) -> dict[str, str]:
        """Take what can be taken; return the host's name of each server → ours."""
        names: dict[str, str] = {}
        for name, section in file.others.items():
            why = _why_not(section)
            if why:
                self.left.append(f"{file.host.title}: {name} stays as it is: {why}")
                continue
            dropped = sorted(set(section) - {*_TAKEN, "disabled"})
            if dropped:
                self.left.append(f"{file.host.title}: {name}: not taken over: {', '.join(dropped)}")
            names[name] = self._add(name, {key: section[key] for key in _TAKEN if key in section})
        return names

    def _add(self, name: str, section: dict[str, Any]) -> str:
        ours = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:28] or "server"
        clean = self._without_secrets(ours, section)
        candidates = (ours, *(f"{ours}-{number}" for number in range(2, 1000)))
        free = next(each for each in candidates if each not in OWN_SERVERS and self.servers.get(each, clean) == clean)
        self.servers[free] = clean
        return free

    def _without_secrets(self, server: str, section: dict[str, Any]) -> dict[str, Any]:
        clean = dict(section)
        if clean.get("type") == "streamableHttp":
            clean["type"] = "streamable-http"
        for block in ("env", "headers"):
            if isinstance(clean.get(block), dict):
                clean[block] = {key: self._value(server, key, value) for key, value in clean[block].items()}
        if isinstance(clean.get("args"), list):
            clean["args"] = self._arguments(server, clean["args"])
        if isinstance(clean.get("url"), str):
            clean["url"] = _QUERY.sub(lambda m: m[1] + self._keep(server, "url_key", m[2]), clean["url"])
        return clean

    def _value(self, server: str, key: str, value: Any) -> Any:
        if not isinstance(value, str) or "${" in value:
            return value
        if scheme := _SCHEME.fullmatch(value):
            return scheme[1] + self._keep(server, key, scheme[2])
        if _SOUNDS_SECRET.search(key) and len(value) >= _SHORTEST:
            return self._keep(server, key, value)
        return self._by_look(server, key, value)

    def _arguments(self, server: str, arguments: list[Any]) -> list[Any]:
        clean: list[Any] = []
        flag = ""
        for argument in arguments:
            if not isinstance(argument, str) or "${" in argument:
                clean.append(argument)
                flag = ""
                continue
            found = _FLAG.fullmatch(argument)
            if found and found[2]:
                clean.append(f"{found[1]}={self._keep(server, found[1], found[2][1:])}")
            elif flag and not argument.startswith("-") and len(argument) >= _SHORTEST:
                clean.append(self._keep(server, flag, argument))
            else:
                clean.append(self._by_look(server, "key", argument))
            flag = found[1] if found and not found[2] else ""
        return clean

    def _by_look(self, server: str, key: str, text: str) -> str:
        return _LOOKS_SECRET.sub(lambda match: self._keep(server, key, match[0]), text)

    def _keep(self, server: str, key: str, value: str) -> str:
        """Keep a secret and return the reference to it; one value under one name, however often it is used."""
        if len(value) < _SHORTEST:
            return value  # the secret store takes none so short: it could not be told from ordinary text
        plain = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_") or "secret"
        mine = f"{re.sub(r'[^a-z0-9]+', '_', server.lower())}_{plain}"
        candidates = (plain, mine, *(f"{mine}_{number}" for number in range(2, 1000)))
        name = next(each for each in candidates if self.secrets.get(each, value) == value)
        self.secrets[name] = value
        return "${secret:" + name + "}"


def _why_not(section: Any) -> str:
    if not isinstance(section, dict):
        return "it is not an object"
    if section.get("disabled") is True:
        return "it is disabled"
    if section.get("type", "stdio") not in _TYPES:
        return f"servers of type {section['type']} are not supported"
    if not isinstance(section.get("command"), str) and not isinstance(section.get("url"), str):
        return "it has neither a command nor a url"
    return ""


def _render(servers: Mapping[str, Mapping[str, Any]], agents: Mapping[str, Sequence[str]], owner: str) -> str:
    lines = [
        "# Toolgate. Check it with: toolgate config validate    Every field: toolgate config schema",
        "version: 1",
        "",
        "server:",
        "  listen: 127.0.0.1:8750         # agents that speak HTTP: http://127.0.0.1:8750/mcp",
        "  store: sqlite:///gateway.db    # the ledger: every call, decision and outcome",
        "",
        "# The servers behind the gateway, as hosts write them. ${secret:name} comes from: toolgate secret list",
        "mcpServers:" if servers else "mcpServers: {}",
    ]
    for name, section in servers.items():
        lines += [f"  {_key(name)}:", *(f"    {key}: {_flow(value)}" for key, value in section.items())]
    lines += [
        "",
        "# What you know of a tool and its server does not say: read, write or irreversible; how to undo it; …",
        "tools: {}",
        "",
        "# Who may call. Each host acts as an agent of its own; narrow `allow` to the tools it needs.",
        "agents:" if agents else "agents: {}",
    ]
    for name, allowed in agents.items():
        lines += [
            f"  {name}:",
            f"    owner: {_flow(owner)}",
            "    auth: {local: true}    # this machine's stdio bridge, for this user only",
            f"    allow: {_flow([f'{server}.*' for server in allowed])}",
        ]
    return "\n".join([*lines, "", "policies: [./policies]", ""])


def _key(name: str) -> str:
    """Return a key as text even where YAML would take it for a number, a boolean or null."""
    is_word = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and name.lower() not in {"true", "false", "null"}
    return name if is_word else json.dumps(name)


def _flow(value: Any) -> str:
    """Return JSON, which is YAML but for a few characters it would take for line breaks."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)
