"""Recognisable secrets of every kind go through a whole gateway; nothing that anybody sees or keeps holds one."""

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
from tests.live.running import ROOT, Running, environment

HEADER = "canary-header-4eC39HqLyjWDarjtT1"
PRINTED = "canary-printed-4eC39HqLyjWDarjtT"
VARIABLE = "canary-variable-4eC39HqLyjWDarjt"
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
  users: {{ url: "{mcp}", protocol: legacy, auth: {{ type: authorization_code, issuer: "{url}" }} }}
  child:
    command: "{python}"
    args: ["{root}/tests/live/probe_server.py"]
    env: {{ PROBE_DIR: "{folder}", PROBE_ERA: legacy, PYTHONPATH: "{root}", CHILD_KEY: "${{secret:child}}" }}
agents:
  payer: {{ auth: {{ token: true }}, allow: ["*"] }}
"""
HTTP = ("written", "printed", "own", "users")


@pytest.fixture
def house(tmp_path: Path, oauth: Authority) -> Iterator[Running]:
    oauth.control(takes=[f"Bearer {HEADER}", f"Bearer {PRINTED}"])
    (tmp_path / "print.py").write_text(f"print('{PRINTED[:9]}' + '{PRINTED[9:]}')")  # not to be found by the scan
    (tmp_path / "tools.json").write_text(json.dumps([{"name": "pay", "inputSchema": {"type": "object"}}]))
    text = CONFIG.format(mcp=oauth.mcp, url=oauth.url, folder=tmp_path, root=ROOT, python=sys.executable)
    (tmp_path / "gateway.yaml").write_text(text)
    running = Running(tmp_path, environment())
    for name, value in (("written", HEADER), ("acme", SECRET), ("child", VARIABLE)):
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


def secrets_of(running: Running, oauth: Authority) -> set[str]:
    """Everything that must show nowhere: also tokens that were got on the way."""
    vault = Vault(running.home / ".toolgate", os.environ)
    kept = {text for name in vault.names() for text in _texts(vault.get(name)) if len(text) > 30 and "//" not in text}
    return {HEADER, PRINTED, SECRET, VARIABLE, *kept}


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


def test_no_secret_of_any_kind_shows_anywhere(house: Running, oauth: Authority) -> None:
    said = [connect(house)]
    house.start()
    token = house.token("payer")
    said += [house.rpc("tools/list", token=token).text]
    for server in HTTP:
        for tool in ("t0", "t11"):  # t11 sends back what it was shown
            said.append(house.rpc("tools/call", {"name": f"{server}_{tool}", "arguments": {}}, token=token).text)
        assert "[redacted]" in said[-1], said[-1]
    oauth.control(refuses_all=True, takes=[], revoke_refresh=True)
    oauth.control(rotate=True)
    for server in HTTP:
        said += [
            house.rpc("tools/call", {"name": f"{server}_t{n}", "arguments": {}}, token=token).text for n in range(2)
        ]
        assert "credential_expired" in said[-1], said[-1]
    commands = (
        ("status",),
        ("status", "--json"),
        ("config", "show"),
        ("trace", "list", "--json"),
        ("trace", "export"),
        ("secret", "list"),
        ("credential", "list"),
        ("credential", "list", "--json"),
        ("doctor",),
        ("policy", "show"),
        ("agents", "list"),
    )
    for command in commands:
        said.append(House(house.home).run(*command).output)
    assert "is dead" in said[-len(commands)], said[-len(commands)]
    house.stop()
    secrets = secrets_of(house, oauth)
    assert len(secrets) >= 6
    for text in said:
        assert scanned(secrets, text.encode()) == [], text
    for path in house.home.rglob("*"):
        if path.is_file() and path.suffix != ".enc":
            assert scanned(secrets, path.read_bytes()) == [], path
    with sqlite3.connect(house.home / "gateway.db") as database:
        events = "\n".join(row[0] for row in database.execute("select body from events"))
    database.close()
    assert events.count("credential dead") == len(HTTP)
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
    connect(house)
    [row] = commands.json("credential", "list")
    assert (row["server"], row["user"]) == ("users", "-")
    assert "no longer connected" in commands.run("credential", "disconnect", "users").output
    assert commands.json("credential", "list") == []
    for command, told in (
        (("disconnect", "users"), "not_connected"),
        (("connect", "own"), "no_accounts"),
        (("connect", "nobody"), "unknown_server"),
        (("renew", "nobody"), "unknown_server"),
        (("connect", "users", "--user", "alice"), "issuer"),
    ):
        done = commands.run("credential", *command)
        assert (done.exit_code, told in done.output) == (1, True), done.output
    assert "tries its credential again" in commands.run("credential", "renew", "own").output
