"""`toolgate events`: who is told, how far, and again."""

import base64
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.cli.house import House
from tests.live.probe_server import tool
from tests.live.running import Running

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"


def test_nobody_is_told_where_nobody_is_configured(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    assert "nobody is told of events" in house.run("events", "list").output
    refused = house.run("events", "replay", "ops", "--since", "1h")
    assert (refused.exit_code, "unknown_receiver" in refused.output) == (2, True)


def test_how_far_a_receiver_was_told_is_shown_and_can_be_set_back(tmp_path: Path) -> None:
    house = House.with_policies(tmp_path)
    house.adds(f"events: {{ ops: {{ url: 'http://127.0.0.1:9/e', secret: '{SECRET}', kinds: ['call.*'] }} }}\n")
    house.calls()
    assert "new" in house.run("events", "list").output
    assert house.run("events", "replay", "ops", "--since", "2020-01-01").exit_code == 0
    [listed] = house.json("events", "list")
    assert (listed["seq"], listed["behind"] > 4) == (0, True)
    assert house.run("events", "replay", "ops", "--since", "2099-01-01").exit_code == 0
    [listed] = house.json("events", "list")
    assert listed["behind"] == 0
    assert SECRET not in json.dumps(listed)
    (tmp_path / ".toolgate" / "events-ops.seq").chmod(0o644)
    assert house.run("events", "list").exit_code == 1
    (tmp_path / ".toolgate" / "events-ops.seq").unlink()
    (tmp_path / ".toolgate" / "events-ops.seq").mkdir()
    assert house.run("events", "replay", "ops", "--since", "1h").exit_code == 1


class Receiver(BaseHTTPRequestHandler):
    """Answers with the next of `statuses`, then with 204, and keeps what it took."""

    statuses: ClassVar[list[int]] = []
    took: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.statuses[0] if self.statuses else 204
        if status == 204:
            self.took.append(event)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_running_gateway_tells_and_says_what_is_not_taken(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    house = House.with_a_server(tmp_path, tool("pay"))
    url = f"http://127.0.0.1:{server.server_port}/events"
    house.adds(f"events: {{ ops: {{ url: '{url}', secret: '{SECRET}' }} }}\n")
    Receiver.statuses[:] = [503]
    gateway = Running(tmp_path).start()
    try:
        until(lambda: house.json("events", "list")[0]["seq"] is not None)
        assert house.run("pause", "tool:probe.pay", "--reason", "a drill").exit_code == 0
        until(lambda: "events are not taken by ops: answered with 503" in house.run("status").output)
        Receiver.statuses.clear()
        until(lambda: bool(Receiver.took))
        [event] = Receiver.took
        assert (event["type"], event["data"]["body"]["reason"]) == ("io.toolgate.admin", "a drill")
    finally:
        gateway.stop()
        server.shutdown()
        thread.join()
        server.server_close()
