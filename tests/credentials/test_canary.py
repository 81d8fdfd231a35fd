"""Recognisable secrets of every kind go through a whole gateway; nothing that anybody sees or keeps holds one."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gateway.credentials.secrets import SecretStore
from gateway.credentials.vault import Vault
from gateway.redaction.forms import needles
from tests.cli.house import House
from tests.credentials.authority import SECRET, Authority
from tests.credentials.test_kinds import certificate, svid
from tests.live.running import ROOT, Running, environment

HEADER = "canary-header-4eC39HqLyjWDarjtT1"
PRINTED = "canary-printed-4eC39HqLyjWDarjtT"
VARIABLE = "canary-variable-4eC39HqLyjWDarjt"
BEARER = "canary-bearer-4eC39HqLyjWDarjtT1"
MAIL = "canary-mailbox-4eC39HqLyjWDarjtT"
DATABASE = "canary-database-4eC39HqLyjWDarjt"
OUTGOING = "whsec_" + base64.b64encode(b"canary-outgoing-4eC39HqLyjWDarjt").decode()
INCOMING = "canary-incoming-4eC39HqLyjWDarjt"
STORED = {
    "written": HEADER,
    "acme": SECRET,
    "child": VARIABLE,
    "bearer": BEARER,
    "mail": MAIL,
    "database": DATABASE,
    "outgoing": OUTGOING,
    "incoming": INCOMING,
}
CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  written: {{ url: "{mcp}", protocol: legacy, headers: {{ Authorization: "Bearer ${{secret:written}}" }} }}
  printed:
    url: "{mcp}"
    protocol: legacy
    auth: {{ type: command, command: "{python}", args: ["-I", "-S", "{folder}/print.py"] }}
  own:
    url: "{mcp}"
    protocol: legacy
    auth: {{ type: client_credentials, issuer: "{url}", client_id: acme, client_secret: "${{secret:acme}}" }}
  exchanged:
    url: "{mcp}"
    protocol: legacy
    auth: {{ type: token_exchange, issuer: "{url}", client_id: acme, client_secret: "${{secret:acme}}" }}
  filed: {{ url: "{mcp}", protocol: legacy, auth: {{ type: jwt_file, path: "{apart}/svid.jwt" }} }}
  shown:
    url: "https://127.0.0.1:9/mcp"
    auth: {{ type: mtls, cert_file: "{apart}/gateway.crt", key_file: "{apart}/gateway.key" }}
  api:
    connector: http
    base_url: "{url}"
    auth: {{ type: bearer, token: "${{secret:bearer}}" }}
    egress: {{ allow_private: [127.0.0.1] }}
    tools:
      whose:
        description: Say what was shown.
        method: POST
        path: /mcp
        effect: read
        input: {{ type: object, properties: {{ jsonrpc: {{}}, id: {{}}, method: {{}}, params: {{}} }} }}
  mail:
    connector: email
    host: 127.0.0.1
    port: 9
    user: robot
    password: "${{secret:mail}}"
    senders: [robot@acme.example]
    recipients: ["*@acme.example"]
    network: {{ allow_private: [127.0.0.1] }}
  shop: {{ connector: sql, url: "postgresql://agent@127.0.0.1:9/shop", password: "${{secret:database}}" }}
  hooks:
    connector: webhook
    targets:
      deploys: {{ url: "https://127.0.0.1:9/hooks", secret: "${{secret:outgoing}}", data: {{ type: object }} }}
  inbox: {{ connector: inbox, hooks: {{ deals: {{ secret: "${{secret:incoming}}", signed: github }} }} }}
  users: {{ url: "{mcp}", protocol: legacy, auth: {{ type: authorization_code, issuer: "{url}" }} }}
  child:
    command: "{python}"
    args: ["{root}/tests/live/probe_server.py"]
    env: {{ PROBE_DIR: "{folder}", PROBE_ERA: legacy, PYTHONPATH: "{root}", CHILD_KEY: "${{secret:child}}" }}
agents:
  payer: {{ auth: {{ token: true }}, allow: ["*"] }}
"""
HTTP = ("written", "printed", "own", "filed", "users")
ASKED = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t11", "arguments": {}}}


@pytest.fixture
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of other programs, which nobody scans: a token and a private key."""
    folder = tmp_path_factory.mktemp("apart")
    svid(folder / "svid.jwt")
    certificate(folder, "gateway")
    return folder


@pytest.fixture
def house(tmp_path: Path, oauth: Authority, apart: Path) -> Iterator[Running]:
    filed = (apart / "svid.jwt").read_text()
    oauth.control(takes=[f"Bearer {each}" for each in (HEADER, PRINTED, BEARER, filed)])
    (tmp_path / "print.py").write_text(f"print('{PRINTED[:9]}' + '{PRINTED[9:]}')")  # not to be found by the scan
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "pay", "inputSchema": {"type": "object"}}]))
    text = CONFIG.format(mcp=oauth.mcp, url=oauth.url, folder=tmp_path, apart=apart, root=ROOT, python=sys.executable)
    (tmp_path / "gateway.yaml").write_text(text)
    running = Running(tmp_path, environment())
    for name, value in STORED.items():
        SecretStore(tmp_path / ".toolgate", {}).set(name, value)
    yield running
    if running.process is not None and running.process.poll() is None:
        running.stop()


def connect(running: Running, *options: str) -> str:
    """Run `credential connect` and consent as its user would; return all it printed."""
    command = [
        sys.executable,
        "-m",
        "gateway",
        "credential",
        "connect",
        "users",
        "--no-browser",
        "--port",
        "0",
        *options,
    ]
    with subprocess.Popen(
        command, cwd=running.home, env={**running.env, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("http"):
                httpx2.get(line.strip(), follow_redirects=True).raise_for_status()
        assert process.wait(30) == 0, printed
    return printed


def secrets_of(running: Running, apart: Path) -> set[str]:
    """Everything that must show nowhere: also tokens that were got on the way."""
    own = {(apart / "svid.jwt").read_text(), *(apart / "gateway.key").read_text().splitlines()[1:-1]}
    vault = Vault(running.home / ".toolgate", os.environ)
    kept = {text for name in vault.names() for text in _texts(vault.get(name)) if len(text) > 30 and "//" not in text}
    return {*STORED.values(), PRINTED, *own, *kept}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def scanned(secrets: set[str], content: bytes) -> list[str]:
    return [needle for needle in needles(secrets) if needle.encode() in content]


def commands_over(house: Running) -> list[str]:
    """Return what the operator's commands print of all this, also of single calls."""
    commands = [
        "status",
        "status --json",
        "config show",
        "config validate",
        "trace list --json",
        "trace export",
        f"evidence export {house.home / 'evidence.json'}",
        "secret list",
        "credential list",
        "credential list --json",
        "connector list",
        "connector test written",
        "connector test mail",
        "doctor",
        "policy show",
        "policy check",
        "policy matrix",
        "agents list",
        "runs list",
        "schema diff",
        "verify",
    ]
    calls = {each["tool"]: each["call"] for each in json.loads(House(house.home).run("trace", "list", "--json").output)}
    for tool in ("own.t11", "api.whose", "exchanged.t0", "hooks.send_deploys"):
        commands += [f"trace show {calls[tool]}", f"policy explain {calls[tool]}"]
    return [House(house.home).run(*command.split()).output for command in commands]


def test_no_secret_of_any_kind_shows_anywhere(house: Running, oauth: Authority, apart: Path) -> None:
    said = [connect(house)]
    house.start()
    token = house.token("payer")
    said += [house.rpc(f"{kind}/list", token=token).text for kind in ("tools", "resources", "prompts")]
    for server in HTTP:
        for tool in ("t0", "t11"):  # t11 sends back what it was shown
            said.append(house.rpc("tools/call", {"name": f"{server}_{tool}", "arguments": {}}, token=token).text)
        assert "[redacted]" in said[-1], said[-1]
    said.append(house.rpc("tools/call", {"name": "api_whose", "arguments": ASKED}, token=token).text)
    assert "static ***" in said[-1], said[-1]
    for tool, arguments in (("hooks_send_deploys", {"data": {}}), ("exchanged_t0", {}), ("mail_send", {})):
        said.append(house.rpc("tools/call", {"name": tool, "arguments": arguments}, token=token).text)
        assert '"isError":true' in said[-1] or '"error"' in said[-1], said[-1]
    said.append(httpx2.post(f"{house.url}/hooks/inbox/deals", content=b"{}").text)
    assert "refused" in said[-1], said[-1]
    oauth.control(refuses_all=True, takes=[], revoke_refresh=True)
    oauth.control(rotate=True)
    for server in HTTP:
        said += [
            house.rpc("tools/call", {"name": f"{server}_t{n}", "arguments": {}}, token=token).text for n in range(2)
        ]
        assert "credential_expired" in said[-1], said[-1]
    printed = commands_over(house)
    assert "is dead" in printed[0], printed[0]
    said += printed
    house.stop()
    secrets = secrets_of(house, apart)
    assert len(secrets) >= len(STORED) + 6
    for text in said:
        assert scanned(secrets, text.encode()) == [], text
    for path in house.home.rglob("*"):
        if path.is_file() and path.suffix != ".enc":
            assert scanned(secrets, path.read_bytes()) == [], path
    with sqlite3.connect(house.home / "gateway.db") as database:
        bodies = [row[0] for row in database.execute("select body from events")]
    database.close()
    events = "\n".join(bodies)
    dead = [name for body in bodies if "credential dead" in body for name in json.loads(body)["servers"]]
    assert len(dead) == len(set(dead))
    assert set(HTTP) <= set(dead) <= {*HTTP, "exchanged"}  # which is shown the client's own where it lists its tools
    assert events.count("credential connected") == 1
    assert scanned(secrets, events.encode()) == []


def test_a_renewed_secret_reaches_a_running_gateway(house: Running, oauth: Authority) -> None:
    new = "canary-header-the-new-one"
    house.start()
    token = house.token("payer")
    oauth.control(takes=[f"Bearer {new}"])
    asking = {"name": "written_t0", "arguments": {}}
    assert "credential_expired" in house.rpc("tools/call", asking, token=token).text
    SecretStore(house.home / ".toolgate", {}).set("written", new)
    give_up = time.monotonic() + 15
    while "static" not in (text := house.rpc("tools/call", asking, token=token).text):
        assert time.monotonic() < give_up, text
        threading.Event().wait(0.05)


def test_accounts_are_listed_and_forgotten(house: Running) -> None:
    commands = House(house.home)
    checks = commands.json("doctor")["checks"]
    [unconnected] = [each for each in checks if each["name"] == "server users"]
    assert (unconnected["ok"], unconnected["fix"]) == (False, "toolgate credential connect users")
    assert "with the account that the gateway itself is to have there" in connect(house)
    [row] = commands.json("credential", "list")
    assert (row["server"], row["user"]) == ("users", "-")
    assert "no longer connected" in commands.run("credential", "disconnect", "users").output
    assert commands.json("credential", "list") == []
    for command, told in (
        (("disconnect", "users"), "not_connected"),
        (("connect", "own"), "no_accounts"),
        (("connect", "nobody"), "unknown_server"),
        (("renew", "nobody"), "unknown_server"),
        (("connect", "users", "--user", "alice"), "the gateway's own: toolgate credential connect users"),
    ):
        done = commands.run("credential", *command)
        assert (done.exit_code, told in done.output) == (1, True), done.output
    assert "tries its credential again" in commands.run("credential", "renew", "own").output
