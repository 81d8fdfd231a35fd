"""Real services through a real gateway, started here; where one is not installed, the skip says how to get it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.installing import python_packages
from tests.live.running import Running, refusal
from tests.live.serving import free_port, served

HERE = Path(__file__).parent
CHROMA = "chromadb==1.5.9"
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
        names = {tool["name"] for tool in listed if not tool["name"].startswith("run_")}
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


def installed_chroma() -> str:
    """Return chroma's program, installed where continuous integration runs: it is half a gigabyte."""
    if not os.environ.get("CI"):
        pytest.skip("NOT TESTED: no chroma on this machine (pip install chromadb, then put `chroma` on PATH; or CI=1)")
    try:
        return str(python_packages("chroma", [CHROMA]) / "chroma")
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"NOT TESTED: chroma cannot be installed here: {error}")


def test_a_vector_store_is_filled_and_asked_through_its_own_description(tmp_path: Path) -> None:
    program = shutil.which("chroma") or installed_chroma()
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
