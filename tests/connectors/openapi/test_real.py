"""Real services through a real gateway, started here; where one is not installed, the skip says how to get it."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.live.running import Running, environment, refusal

HERE = Path(__file__).parent
MATCHERS = [
    {"name": "alertname", "value": "disk", "isRegex": False},
    {"name": "host", "value": "db & co", "isRegex": False},
]
SILENCE = {
    "matchers": MATCHERS,
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2096-01-01T00:00:00Z",
    "createdBy": "agent",
    "comment": "maintenance",
}


@contextmanager
def served(command: list[str], folder: Path, ready: str) -> Iterator[None]:
    """Run a service until the block ends; it is up when `ready` answers."""
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment())
    give_up = time.monotonic() + 60
    try:
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError((folder / "service.log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gateway(folder: Path, section: str, allow: str) -> Iterator[Running]:
    (folder / "gateway.yaml").write_text(
        f"""version: 1
server: {{ listen: "127.0.0.1:0" }}
mcpServers:
  api:
    connector: openapi
{section}
    egress: {{ allow_private: [127.0.0.1] }}
agents: {{ ops: {{ allow: {allow} }} }}
"""
    )
    running = Running(folder).start()
    try:
        yield running
    finally:
        running.stop()


def test_a_silence_is_created_listed_and_ended_through_the_gateway(tmp_path: Path) -> None:
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("NOT TESTED: no Alertmanager on this machine (apt-get install prometheus-alertmanager)")
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text("route: { receiver: none }\nreceivers: [{ name: none }]\n")
    shutil.copy(HERE / "alertmanager.yaml", tmp_path / "api.yaml")
    command = [program, "--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
    section = f"""    spec: api.yaml
    base_url: "http://127.0.0.1:{port}/api/v2"
    operations: [getSilences, getSilence, postSilences, "DELETE /silence/*"]"""
    with (
        served([*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path, f"http://127.0.0.1:{port}/-/ready"),
        gateway(tmp_path, section, '["api.*"]') as running,
    ):
        token = running.token("ops")
        listed = running.rpc("tools/list", token=token).json()["result"]["tools"]
        names = {tool["name"] for tool in listed} - {"run_start"}
        assert names == {"api_getSilences", "api_getSilence", "api_postSilences", "api_deleteSilence"}

        made = running.call(token, "api_postSilences", {"body": SILENCE})
        silence = made["structuredContent"]["silenceID"]
        found = running.call(token, "api_getSilences", {"filter": ['alertname="disk"', 'host="db & co"']})
        (one,) = found["structuredContent"]["result"]
        assert (one["id"], one["status"]["state"], one["comment"]) == (silence, "active", "maintenance")
        assert running.call(token, "api_getSilences", {"filter": ['alertname="cpu"']})["structuredContent"] == {
            "result": []
        }

        ended = running.call(token, "api_deleteSilence", {"silenceID": silence})
        assert not ended.get("isError"), ended
        looked = running.call(token, "api_getSilence", {"silenceID": silence})
        assert looked["structuredContent"]["status"]["state"] == "expired"

        refused = running.call(token, "api_postSilences", {"body": {**SILENCE, "endsAt": "2025-01-01T00:00:00Z"}})
        assert refusal(refused)["code"] == "rejected"
        assert "HTTP 400" in refused["content"][0]["text"]
        assert refusal(running.call(token, "api_postSilences", {"body": {}}))["code"] == "invalid_arguments"
        recorded = running.command("trace", "list", "--tool", "api.*", "--json").stdout
        assert {line["outcome"] for line in json.loads(recorded)} == {"succeeded", "failed"}
        pins = json.loads((tmp_path / "gateway.lock").read_text())["servers"]["api"]
        assert {name: pin["effect"] for name, pin in pins.items()} == {
            "getSilences": "read",
            "getSilence": "read",
            "postSilences": "write",
            "deleteSilence": "irreversible",
        }


def test_a_vector_store_is_filled_and_asked_through_its_own_description(tmp_path: Path) -> None:
    program = shutil.which("chroma") or shutil.which("chroma", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("NOT TESTED: no chroma on this machine (pip install chromadb, then put `chroma` on PATH)")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    collections = "/api/v2/tenants/{tenant}/databases/{database}/collections"
    section = f"""    spec: "{url}/openapi.json"
    base_url: "{url}"
    output_schemas: false
    operations: ["GET {collections}", "POST {collections}", "POST {collections}/*/add", "POST {collections}/*/query"]"""
    command = [program, "run", "--path", "data", "--host", "127.0.0.1", "--port", str(port)]
    with served(command, tmp_path, f"{url}/api/v2/heartbeat"), gateway(tmp_path, section, '["api.*"]') as running:
        token = running.token("ops")
        shown = running.rpc("tools/list", token=token).json()["result"]["tools"]
        tools = {
            tool["annotations"]["title"].rpartition("/")[2]: tool["name"] for tool in shown if "annotations" in tool
        }
        titles = {tool["annotations"]["title"]: tool["name"] for tool in shown if "annotations" in tool}
        place = {"tenant": "default_tenant", "database": "default_database"}
        made = running.call(token, titles[f"POST {collections}"], {**place, "body": {"name": "notes"}})
        within = {**place, "collection_id": made["structuredContent"]["id"]}
        rows = {"ids": ["a", "b"], "embeddings": [[1.0, 0.0], [0.0, 1.0]], "documents": ["east", "north"]}
        assert not running.call(token, tools["add"], {**within, "body": rows}).get("isError")
        asked = {"query_embeddings": [[0.1, 0.9]], "n_results": 1, "include": ["documents"]}
        nearest = running.call(token, tools["query"], {**within, "body": asked})
        assert nearest["structuredContent"]["documents"] == [["north"]]
