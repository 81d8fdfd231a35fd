"""A payment service that ignores Idempotency-Key: what is repeated, retried or cut off by a crash still pays once."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.connectors.http.relay import Relay
from tests.installing import python_packages
from tests.live.running import Running, environment, refusal
from tests.live.serving import free_port, served

LOCALSTRIPE = "localstripe==1.15.10"
KEY = "sk_test_0123456789"
CONFIG = """version: 1
server: {{ listen: "127.0.0.1:0", store: "sqlite:///gateway.db" }}
mcpServers:
  stripe:
    connector: http
    base_url: "http://127.0.0.1:{port}/v1"
    auth: {{ type: bearer, token: "${{STRIPE_KEY}}" }}
    idempotency_header: Idempotency-Key
    egress: {{ allow_private: [127.0.0.1] }}
    tools:
      pay:
        description: Pay.
        method: POST
        path: /payment_intents
        effect: irreversible
        input:
          type: object
          properties: {{ amount: {{ type: integer }}, currency: {{ type: string }}, about: {{ type: object }} }}
          required: [amount, currency, about]
        body: {{ amount: amount, currency: currency, metadata: about }}
tools:
  stripe.pay: {{ idempotent: false, idempotency_key: [about], deadline: 60 }}
agents: {{ payer: {{ allow: ["stripe.*"] }} }}
"""


class Shop:
    """A gateway whose way to localstripe can be cut."""

    def __init__(self, home: Path, relay: Relay, service: str) -> None:
        (home / "gateway.yaml").write_text(CONFIG.format(port=relay.port), encoding="utf-8")
        self.relay = relay
        self.running = Running(home, env=environment(STRIPE_KEY=KEY)).start()
        self.token = self.running.token("payer")
        self._service = service

    def pay(self, what: str) -> dict[str, Any]:
        return self.running.call(
            self.token, "stripe_pay", {"amount": 2500, "currency": "eur", "about": {"order": what}}
        )

    def payments(self, what: str) -> int:
        """How many payments the service itself has for this."""
        headers = {"Authorization": f"Bearer {KEY}"}
        listed = httpx2.get(f"{self._service}/v1/payment_intents?limit=100", headers=headers).json()["data"]
        return len([each for each in listed if each["metadata"].get("order") == what])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    try:
        program = python_packages("localstripe", [LOCALSTRIPE]) / "localstripe"
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"NOT TESTED: localstripe cannot be installed here: {error}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(program), "--port", str(port), "--from-scratch"]
    with served(command, tmp_path_factory.mktemp("service"), f"{url}/js.stripe.com/v3/"), Relay(port) as relay:
        shop = Shop(tmp_path_factory.mktemp("shop"), relay, url)
        try:
            yield shop
        finally:
            shop.running.stop()


def test_localstripe_itself_pays_twice_for_one_key(shop: Shop) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "k"}
    body = {"amount": 1, "currency": "eur", "metadata": {"order": "directly"}}
    for _ in range(2):
        httpx2.post(f"http://127.0.0.1:{shop.relay.port}/v1/payment_intents", json=body, headers=headers)
    assert shop.payments("directly") == 2


def test_a_repeated_call_pays_once_and_is_answered_from_the_record(shop: Shop) -> None:
    first, again = shop.pay("rent"), shop.pay("rent")
    assert first["structuredContent"]["id"] == again["structuredContent"]["id"]
    assert again["_meta"]["io.toolgate/replayed-from"]
    assert shop.payments("rent") == 1


def test_a_payment_whose_answer_is_cut_off_is_in_doubt_and_is_not_made_again(shop: Shop) -> None:
    shop.relay.mode = "cut"
    told = refusal(shop.pay("desk"))
    assert (told["code"], told["done"], told["retryable"]) == ("outcome_unknown", "unknown", False)
    shop.relay.mode = "pass"
    assert refusal(shop.pay("desk"))["code"] == "outcome_unknown"
    assert shop.payments("desk") == 1
    assert not shop.pay("chair").get("isError")


def test_a_payment_in_which_the_gateway_is_killed_is_not_made_again(shop: Shop) -> None:
    shop.relay.mode = "hold"
    shop.relay.answered.clear()
    threading.Thread(target=_until_it_breaks, args=(shop, "lamp"), daemon=True).start()
    assert shop.relay.answered.wait(30)  # it is paid, and nobody has been told
    shop.running.kill()
    shop.relay.mode = "pass"
    shop.running.start()
    for _ in range(2):
        assert refusal(shop.pay("lamp"))["code"] == "outcome_unknown"
    assert shop.payments("lamp") == 1
    assert not shop.pay("bulb").get("isError")


def _until_it_breaks(shop: Shop, what: str) -> None:
    try:
        shop.pay(what)
    except httpx2.TransportError:
        return
