"""`make test-clients`: real agent SDKs list and call through a real gateway, each in its own environment.

`ARGS="fastmcp typescript"` runs the clients with one of these words in their names.
Environments are kept in `.clients/` beside the project, so that only the first run installs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.live.running import ROOT, payments_gateway

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".clients"
README = ROOT / "examples" / "readme"


@dataclass(frozen=True, slots=True)
class Agent:
    """One client: what to install, words apart, and the script that uses it: its own, or that of one it is `like`."""

    name: str
    requirement: str
    like: str = ""

    @property
    def scripts(self) -> list[Path]:
        """The scripts that list and call: ours, and the README's where it has one for this client."""
        return [
            path for path in (HERE / f"with_{self.like or self.name}.py", README / f"{self.name}.py") if path.exists()
        ]


CLIENTS = [
    Agent("mcp_2_3", "mcp==2.3.*"),
    Agent("mcp_1_30", "mcp==1.30.*"),
    Agent("mcp_1_9", "mcp==1.9.* pydantic<2.12"),
    Agent("openai_agents", "openai-agents==0.24.*"),
    Agent("langchain", "langchain-mcp-adapters==0.3.*"),
    Agent("pydantic_ai", "pydantic-ai-slim[mcp]==2.68.*"),
    Agent("fastmcp", "fastmcp==4.1.*"),
    Agent("fastmcp_2", "fastmcp==2.14.*", like="fastmcp"),
    Agent("agent_framework", "agent-framework-core==1.23.* mcp==2.3.* tenacity"),
    Agent("strands", "strands-agents==1.62.*"),
    Agent("google_adk", "google-adk[mcp]==2.13.*"),
    Agent("llama_index", "llama-index-tools-mcp==0.6.*"),
    Agent("semantic_kernel", "semantic-kernel[mcp]==1.45.*"),
    Agent("smolagents", "smolagents[mcp] mcp<2 websockets"),
    Agent("autogen", "autogen-ext[mcp] mcp<2"),
    Agent("mcp_use", "mcp-use==1.7.*"),
    Agent("haystack", "mcp-haystack==2.1.*"),
    Agent("griptape", "griptape==1.13.* mcp==2.3.*"),
    Agent("dspy", "dspy==3.4.* mcp==2.3.*"),
    Agent("beeai", "beeai-framework==0.1.* mcp<2"),
    Agent("agno", "agno==3.1.* fastmcp>=4,<5"),
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


def rust_program() -> Path:
    """Return the program on the Rust SDK, built where anything of it has changed."""
    package = ["--manifest-path", HERE / "rust_package" / "Cargo.toml", "--target-dir", ENVIRONMENTS / "rust"]
    print("  building …", flush=True)
    subprocess.run(["cargo", "build", "--quiet", *package], check=True)
    return ENVIRONMENTS / "rust" / "debug" / "toolgate-rust-client"


def passed(name: str, command: Sequence[str | Path], folder: str, env: Mapping[str, str]) -> bool:
    """Run one client and say how it went."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder, env=env)
    print(f"  {'FAILED' if done.returncode else 'ok    '} {name}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr)
    return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Run:
    """One client to be run with one script: what it is called, and its command but for the URL and the token."""

    name: str
    command: Callable[[], Sequence[str | Path]]
    more: Sequence[str] = ()


def runs_of(folder: str) -> list[Run]:
    """Return every run there is; a command installs what it needs."""
    python = [
        Run(f"{client.name}: {client.requirement}, {script.name}", partial(_on_python, client, script))
        for client in CLIENTS
        for script in client.scripts
    ]
    rust = [Run("rust: rmcp 3.11", lambda: [rust_program()])] if shutil.which("cargo") else []
    ours = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m"]
    return [
        *python,
        *rust,
        Run(
            "inspector 2.12, HTTP and stdio, every era",
            lambda: [*ours, "tests.clients.with_inspector"],
            [f"{folder}/gateway.yaml"],
        ),
        Run(
            "typescript: SDK 1.10, 1.32 and 2.4, AI SDK 2.0, LangChain.js 1.1, mcp-remote 0.15",
            lambda: [*ours, "tests.clients.with_typescript"],
        ),
    ]


def _on_python(client: Agent, script: Path) -> list[str | Path]:
    return [python_of(client), script]


def main(words: Sequence[str]) -> int:
    """Run the clients that the words choose, without any all of them; 0 when all could do what they must."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="toolgate-clients-") as folder:
        every = runs_of(folder)
        runs = [run for run in every if not words or any(word in run.name for word in words)]
        if not runs:
            print(f"No client is called {' or '.join(words)}. There are:", *(run.name for run in every), sep="\n  ")
            return 2
        with payments_gateway(Path(folder)) as gateway:
            url, token = f"{gateway.url}/mcp", gateway.token("payer")
            env = {**os.environ, "TOOLGATE_URL": url, "TOOLGATE_TOKEN": token}
            for run in runs:
                failed += not passed(run.name, [*run.command(), url, token, *run.more], folder, env)
    print(f"{len(runs) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
