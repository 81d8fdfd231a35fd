"""`make test-clients`: real agent SDKs list and call through a real gateway, each in its own environment.

Environments are kept in `.clients/` beside the project, so that only the first run installs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.live.running import ROOT, payments_gateway

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".clients"
README = ROOT / "examples" / "readme"


@dataclass(frozen=True, slots=True)
class Agent:
    """One client: what to install, words apart, and the script that uses it."""

    name: str
    requirement: str

    @property
    def scripts(self) -> list[Path]:
        """The scripts that list and call: ours, and the README's where it has one for this client."""
        return [path for path in (HERE / f"with_{self.name}.py", README / f"{self.name}.py") if path.exists()]


CLIENTS = [
    Agent("mcp_2_3", "mcp==2.3.*"),
    Agent("mcp_1_30", "mcp==1.30.*"),
    Agent("openai_agents", "openai-agents==0.24.*"),
    Agent("langchain", "langchain-mcp-adapters==0.3.*"),
    Agent("pydantic_ai", "pydantic-ai-slim[mcp]==2.68.*"),
    Agent("fastmcp", "fastmcp==4.1.*"),
    Agent("agent_framework", "agent-framework-core==1.23.* mcp==2.3.* tenacity"),
    Agent("strands", "strands-agents==1.62.*"),
    Agent("google_adk", "google-adk[mcp]==2.13.*"),
    Agent("llama_index", "llama-index-tools-mcp==0.6.*"),
    Agent("semantic_kernel", "semantic-kernel[mcp]==1.45.*"),
    Agent("smolagents", "smolagents[mcp] mcp<2 websockets"),
    Agent("autogen", "autogen-ext[mcp] mcp<2"),
]


def python_of(client: Agent) -> Path:
    """Return the interpreter of the client's environment, made on first use."""
    folder = ENVIRONMENTS / client.name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if done.exists() and done.read_text(encoding="utf-8") == client.requirement:
        return python
    print(f"  installing {client.requirement} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *client.requirement.split()], check=True)
    else:
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *client.requirement.split()]
        subprocess.run(pip, check=True)
    done.write_text(client.requirement, encoding="utf-8")
    return python


def passed(name: str, command: Sequence[str | Path], folder: str, env: Mapping[str, str]) -> bool:
    """Run one client and say how it went."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder, env=env)
    print(f"  {'FAILED' if done.returncode else 'ok    '} {name}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


def main() -> int:
    """Run every client; 0 when all could list and call, and were told why a call was denied."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="toolgate-clients-") as folder, payments_gateway(Path(folder)) as gateway:
        token = gateway.token("payer")
        url = f"{gateway.url}/mcp"
        env = {**os.environ, "TOOLGATE_URL": url, "TOOLGATE_TOKEN": token}
        runs = [(client, script) for client in CLIENTS for script in client.scripts]
        commands = {f"{client.requirement} {script.name}": [python_of(client), script] for client, script in runs}
        for name, command in commands.items():
            if not passed(name, [*command, url, token], folder, env):
                failed.append(name)
        ours = [sys.executable, "-m"]
        on_node = {
            "inspector 2.12.0, HTTP and stdio, every era": ["tests.clients.with_inspector", f"{folder}/gateway.yaml"],
            "TypeScript SDK 1.32 and 2.4, mcp-remote 0.15": ["tests.clients.with_typescript"],
        }
        for name, (module, *more) in on_node.items():
            if not passed(name, [*ours, module, url, token, *more], folder, {**env, "PYTHONPATH": str(ROOT)}):
                failed.append(name)
    print(f"{len(runs) + len(on_node) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
