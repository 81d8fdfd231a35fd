"""A gateway's folder with a history in it, and commands run on it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import build
from gateway.identity.local import load_local_key
from gateway.store.sqlite import SqliteStore
from tests.fixtures.clock import CountingIds, FakeClock
from tests.pipeline.gate import DEFINITIONS, PERMIT_ALL, PRECONDITION, Gate, answer, lock_of

__all__ = ["House"]

T = TypeVar("T")
_CONFIG = """version: 1
server: { listen: "127.0.0.1:0", store: "sqlite:///gateway.db" }
mcpServers:
  fraud: { command: sh }
  payments: { command: sh }
  mail: { command: sh }
tools:
  payments.pay: { effect: irreversible, accept_irreversible: true }
  payments.settle: { effect: write, idempotent: true, idempotency_key: [payment_id] }
agents:
  payer: { owner: finance@acme.example, auth: { token: true, local: true } }
  other: { auth: { local: true } }
policies: [./policies]
"""
_PROBE = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///gateway.db" }}
mcpServers:
  probe:
    command: "{python}"
    args: ["{program}"]
    env: {{ PROBE_DIR: "{folder}", PROBE_ERA: legacy, PYTHONPATH: "{root}" }}
"""
_ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class House:
    """The folder of one gateway."""

    path: Path

    @classmethod
    def with_policies(cls, path: Path, *policies: str) -> "House":
        """Make a folder whose servers were pinned, and whose policies are these."""
        house = cls(path)
        house.configure(_CONFIG)
        lock_of(DEFINITIONS).write(path / "gateway.lock")
        (path / "policies").mkdir()
        for number, text in enumerate(policies or (PERMIT_ALL, PRECONDITION), 1):
            (path / "policies" / f"{number}.cedar").write_text(text, encoding="utf-8")
        return house

    @classmethod
    def with_a_server(cls, path: Path, *tools: Mapping[str, Any]) -> "House":
        """Make a folder with one real server that offers these tools."""
        house = cls(path)
        program = _ROOT / "tests/live/probe_server.py"
        house.configure(_PROBE.format(python=sys.executable, program=program, folder=path, root=_ROOT))
        house.offers(*tools)
        return house

    def configure(self, text: str) -> None:
        """Write gateway.yaml."""
        (self.path / "gateway.yaml").write_text(text, encoding="utf-8")

    def adds(self, text: str) -> None:
        """Add to gateway.yaml."""
        path = self.path / "gateway.yaml"
        self.configure(path.read_text(encoding="utf-8") + text)

    def offers(self, *tools: Mapping[str, Any]) -> None:
        """Let the server offer other tools from now on."""
        (self.path / "tools.json").write_text(json.dumps(tools), encoding="utf-8")

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        """Run a command on this folder."""
        return CliRunner().invoke(build(), [*arguments, "--config", str(self.path / "gateway.yaml")], input=typed)

    def json(self, *arguments: str) -> Any:
        """Run a command and return what it prints for programs."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def store(self, work: Callable[[SqliteStore], Awaitable[T]]) -> T:
        """Do something with the ledger."""

        async def run() -> T:
            key = load_local_key(self.path / ".toolgate" / "local.key")
            store = SqliteStore(self.path / "gateway.db", FakeClock(), key=key)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def calls(self) -> dict[str, str]:
        """Make four calls: a denied payment, a check, the payment, and one of a tool that is not there. Return ids."""

        async def work(store: SqliteStore) -> dict[str, str]:
            durable: Any = store
            gate = Gate(PERMIT_ALL, PRECONDITION, store=durable)
            gate.servers["fraud"].calls.append(answer({"result": "passed"}))
            gate.servers["payments"].calls.append(answer({"receipt": "r_1"}))
            made = {
                "denied": await gate.run("payments_pay"),
                "check": await gate.run("fraud_check"),
                "paid": await gate.run("payments_pay"),
                "nowhere": await gate.run("nowhere", {}, agent="other"),
            }
            return {name: ended.call.id for name, ended in made.items()}

        return self.store(work)

    def more_calls(self, number: int, tool: str = "payments_list") -> None:
        """Make one more call, of a read if not said otherwise, under an id of its own."""

        async def work(store: SqliteStore) -> None:
            durable: Any = store
            ids = CountingIds()
            for _ in range(100 * number):
                ids.new("call")
            await Gate(store=durable, ids=ids).run(tool, {})

        self.store(work)
