"""Every block of the README is a file that runs, and every command in it exists."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import build
from tests.installing import python_packages
from tests.live.running import ROOT, Running, environment, payments_gateway

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = list(BLOCK.finditer(README))


def test_the_readme_is_at_most_200_lines() -> None:
    assert len(README.splitlines()) <= 200


def test_every_block_in_a_language_is_a_file_to_the_letter() -> None:
    named = [block for block in BLOCKS if block["language"]]
    assert len(named) >= 4
    for block in named:
        assert block["file"], block["text"][:80]
        assert (ROOT / block["file"]).read_text(encoding="utf-8") == block["text"], block["file"]


def commands() -> list[str]:
    said = [line for block in BLOCKS if not block["language"] for line in block["text"].splitlines()]
    said += re.findall(r"`(toolgate [^`]+)`", README)
    return sorted(
        {" ".join(re.findall(r"[a-z-]+", line.split("--")[0])) for line in said if line.startswith("toolgate")}
    )


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_exists(command: str) -> None:
    words = command.split()[1:3]
    done = CliRunner().invoke(build(), [*words, "--help"])
    if done.exit_code:  # the second word was an argument
        done = CliRunner().invoke(build(), [words[0], "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage" in done.stdout


def test_the_configuration_of_the_readme_is_valid(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes((ROOT / "examples/readme/gateway.yaml").read_bytes())
    (tmp_path / "policies").mkdir()
    gateway = Running(tmp_path, env=environment(FRAUD_TOKEN="fraud-token-0123456789"))
    missing = gateway.command("config", "validate", check=False)
    assert missing.returncode == 1
    assert "toolgate secret set payments_key" in missing.stderr
    command = [sys.executable, "-m", "gateway", "secret", "set", "payments_key"]
    subprocess.run(command, input="payments-key-0123456789", text=True, cwd=tmp_path, env=gateway.env, check=True)
    assert "ok" in gateway.command("config", "validate").stdout


def test_the_client_of_the_readme_lists_checks_and_pays(tmp_path: Path) -> None:
    with payments_gateway(tmp_path) as gateway:
        token = gateway.token("payer")
        done = subprocess.run(
            [sys.executable, ROOT / "examples/readme/mcp_client.py"],
            env={**os.environ, "TOOLGATE_URL": f"{gateway.url}/mcp", "TOOLGATE_TOKEN": token},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "payments_pay" in done.stdout.splitlines()
        assert "r_1" in done.stdout
        listed = json.loads(gateway.command("trace", "list", "--tool", "payments.*", "--since", "1h", "--json").stdout)
        assert [(line["tool"], line["outcome"]) for line in listed] == [("payments.pay", "succeeded")]
        explained = gateway.command("policy", "explain", listed[0]["call"])
        assert "ALLOW" in explained.stdout


class PaymentsApi(BaseHTTPRequestHandler):
    """The API behind the connector of the README; it remembers what it was sent."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, dict(self.headers)))  # type: ignore[attr-defined]
        answer = json.dumps({"receipt": f"r_{body['id']}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def api() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), PaymentsApi)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_connector_of_the_readme_is_loaded_by_its_entry_point_and_pays(tmp_path: Path, api: HTTPServer) -> None:
    package = tmp_path / "packages"
    installed = package / "acme_payments-0.1.0.dist-info"  # what an installer leaves behind
    installed.mkdir(parents=True)
    (package / "acme_payments.py").write_bytes((ROOT / "examples/acme_payments/acme_payments.py").read_bytes())
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-payments\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text("[gateway.connectors]\nacme_payments = acme_payments:Payments\n")
    env = environment(PYTHONPATH=f"{package}{os.pathsep}{ROOT}")
    _pays(Running(tmp_path, env=env), api)


def test_the_connector_of_the_readme_is_installed_into_an_environment_of_its_own_and_pays(
    tmp_path: Path, api: HTTPServer
) -> None:
    if not os.environ.get("CI"):
        pytest.skip("NOT TESTED: the example was not installed, which takes the network (CI=1 does it)")
    try:
        programs = python_packages("acme_payments", ["-e", str(ROOT), str(ROOT / "examples/acme_payments")])
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"NOT TESTED: the example cannot be installed here: {error}")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    running = Running(tmp_path, env=env, python=str(programs / "python"))
    listed = json.loads(running.command("connector", "list", "--json").stdout)["connectors"]
    assert ("acme_payments", "acme-payments") in {(each["connector"], each["package"]) for each in listed}
    _pays(running, api)


def _pays(gateway: Running, api: HTTPServer) -> None:
    """Have a gateway pay over the example's connector, and look at what the API saw."""
    secret = "payments-key-0123456789"
    gateway.env["PAYMENTS_KEY"] = secret
    (gateway.home / "gateway.yaml").write_text(
        f"""version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  acme: {{ connector: acme_payments, base_url: "http://127.0.0.1:{api.server_port}", api_key: "${{env:PAYMENTS_KEY}}" }}
agents: {{ payer: {{ allow: ["acme.*"] }} }}
"""
    )
    gateway.start()
    try:
        token = gateway.token("payer")
        paid = gateway.call(token, "acme_pay", {"payment_id": "p_1", "amount": 250})
        assert paid["structuredContent"] == {"receipt": "r_p_1"}
    finally:
        gateway.stop()
    ((body, headers),) = api.seen  # type: ignore[attr-defined]
    assert body == {"id": "p_1", "amount": 250}
    assert headers["Idempotency-Key"]
    assert headers["Authorization"] == f"Bearer {secret}"
    kept = b"".join(path.read_bytes() for path in gateway.home.glob("gateway.*"))
    assert secret.encode() not in kept
