"""`gateway.lock`: the schemas a person pinned. Committed like any lock file."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.codec import CodecError, digest, parse
from gateway.model.tool import Effect

__all__ = ["Lock", "LockError", "Pin", "pin_digest"]

_PINNED_FIELDS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


class LockError(ValueError):
    """gateway.lock cannot be read; the text says where and what to do."""


def pin_digest(definition: Mapping[str, Any]) -> str:
    """Return the SHA-256 of everything in a definition that can change what an agent does with the tool."""
    return digest({name: definition[name] for name in _PINNED_FIELDS if definition.get(name) is not None})


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of one tool. `effect` is what its hints were taken to mean when it was pinned.

    `reviewed` says that a person looked at this very definition, hints and all; else it was pinned because it was the
    first that was seen.
    """

    version: int
    digest: str
    effect: Effect
    definition: Mapping[str, Any] = field(repr=False)
    reviewed: bool = False

    @classmethod
    def of(
        cls,
        definition: Mapping[str, Any],
        *,
        version: int = 1,
        effect: Effect | None = None,
        reviewed: bool = False,
    ) -> "Pin":
        """Pin `definition` as it is now; without `effect` by what the server hints."""
        return cls(version, pin_digest(definition), effect or _hinted_effect(definition), definition, reviewed)


def _hinted_effect(definition: Mapping[str, Any]) -> Effect:
    """Read the MCP annotations with the specification's defaults: not read-only, destructive."""
    hints = definition.get("annotations")
    if not isinstance(hints, Mapping):
        return Effect.WRITE
    return Effect.READ if hints.get("readOnlyHint") is True else Effect.WRITE


@dataclass(frozen=True, slots=True)
class Lock:
    """Every pin, by server and the server's own tool name; `kept` are older versions that agents are held at.

    `decided` are the servers that were there from the beginning, or that a person has decided about since; none in a
    lock of before there were any.
    """

    servers: Mapping[str, Mapping[str, Pin]] = field(default_factory=dict)
    kept: Mapping[str, Mapping[str, Mapping[int, Pin]]] = field(default_factory=dict)
    decided: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Read the file; a missing one is an empty lock.

        Raises:
            LockError: unreadable, malformed, or a digest that is not its definition's (edited by hand).
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise LockError(f"{path}: {error.strerror}") from None
        try:
            document = parse(raw)
            servers = {
                server: {tool: _read_pin(entry) for tool, entry in tools.items()}
                for server, tools in document["servers"].items()
            }
            kept = {server: _read_kept(tools) for server, tools in document.get("kept", {}).items()}
            decided = frozenset(map(str, document.get("decided", ())))
        except (CodecError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise LockError(
                f"{path}: not a lock file ({error}); restore it from version control or run `toolgate schema lock`"
            ) from None
        return cls(servers, kept, decided)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        kept = {server: told for server, tools in sorted(self.kept.items()) if (told := _written_kept(tools))}
        document = {
            "version": 1,
            "servers": {
                server: {tool: _written_pin(pin) for tool, pin in sorted(tools.items())}
                for server, tools in sorted(self.servers.items())
            },
            **({"kept": kept} if kept else {}),
            **({"decided": sorted(self.decided)} if self.decided else {}),
        }
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".gateway.lock.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(document, out, indent=1, ensure_ascii=False)
                out.write("\n")
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def with_server(self, server: str, pins: Mapping[str, Pin]) -> "Lock":
        """Return this lock with the server's pins replaced."""
        return replace(self, servers={**self.servers, server: pins})

    def begun_with(self, servers: Iterable[str]) -> "Lock":
        """Return the lock of a gateway that begins with these servers.

        Of an empty one they are decided about, by whoever wrote them down first; of one that says nothing of it, those
        that it knows.
        """
        return self if self.decided else self.deciding(self.servers or servers)

    def deciding(self, servers: Iterable[str]) -> "Lock":
        """Return this lock with a person's decision about these servers."""
        return replace(self, decided=self.decided.union(servers))

    def undecided(self, servers: Iterable[str]) -> list[str]:
        """Return which of these servers nobody has decided about."""
        return sorted(set(servers) - self.begun_with(servers).decided)

    def keeping(self, server: str, tool: str, pin: Pin) -> "Lock":
        """Return this lock with a version of a tool kept beside the present one."""
        return self._with_kept(server, tool, {**self.kept.get(server, {}).get(tool, {}), pin.version: pin})

    def forgetting(self, server: str, tool: str, version: int) -> "Lock":
        """Return this lock without a version that was kept."""
        versions = self.kept.get(server, {}).get(tool, {})
        return self._with_kept(server, tool, {number: pin for number, pin in versions.items() if number != version})

    def _with_kept(self, server: str, tool: str, versions: Mapping[int, Pin]) -> "Lock":
        return replace(self, kept={**self.kept, server: {**self.kept.get(server, {}), tool: versions}})


def _read_pin(entry: Mapping[str, Any]) -> Pin:
    reviewed = entry.get("reviewed") is True
    pin = Pin(int(entry["version"]), str(entry["digest"]), Effect(entry["effect"]), entry["definition"], reviewed)
    if pin_digest(pin.definition) != pin.digest:
        raise ValueError(f"the digest of {pin.definition.get('name')!r} is not that of its definition")
    return pin


def _read_kept(tools: Mapping[str, Any]) -> dict[str, dict[int, Pin]]:
    """Read versions from the names they stand under, `pay@1`."""
    found: dict[str, dict[int, Pin]] = {}
    for name, entry in tools.items():
        tool, _, version = name.rpartition("@")
        pin = _read_pin(entry)
        if not tool or str(pin.version) != version:
            raise ValueError(f"{name!r} is not the name of a version such as pay@1")
        found.setdefault(tool, {})[pin.version] = pin
    return found


def _written_kept(tools: Mapping[str, Mapping[int, Pin]]) -> dict[str, Any]:
    found = [(tool, version, pin) for tool, versions in tools.items() for version, pin in versions.items()]
    return {f"{tool}@{version}": _written_pin(pin) for tool, version, pin in sorted(found, key=lambda each: each[:2])}


def _written_pin(pin: Pin) -> dict[str, Any]:
    told = {"version": pin.version, "digest": pin.digest, "effect": pin.effect.value, "definition": pin.definition}
    return {**told, "reviewed": True} if pin.reviewed else told
