"""Rules decide over host, method, path; a name leads only where its judged addresses are."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import nullcontext
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import pytest
from pydantic import ValidationError

from connectors.egress import Egress, EgressConfig, EgressRefused, EgressRule, PinnedNetwork, Target
from gateway.connector import Rejected
from tests.connectors.rest.api import Api

HERE = Target.read("https://api.example.com/v1")


@pytest.mark.parametrize("path", ["", "/", "/x", "/x/y?z"])
def test_without_rules_everything_below_the_base_url_is_allowed(path: str) -> None:
    Egress.of(EgressConfig(), HERE).check("DELETE", Target.read(f"https://api.example.com/v1{path}"))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v10",
        "https://api.example.com/",
        "https://api.example.com/v1%2fx",
        "https://other.example.com/v1",
        "https://api.example.com.evil.example/v1",
    ],
)
def test_without_rules_nothing_else_is_allowed(url: str) -> None:
    with pytest.raises(EgressRefused) as caught:
        Egress.of(EgressConfig(), HERE).check("GET", Target.read(url))
    assert (caught.value.code, caught.value.sent) == ("rejected", False)


def test_a_rule_can_name_methods_and_a_path() -> None:
    config = EgressConfig(allow=(EgressRule(host="API.example.com", methods=("GET",), path="/v2/"),))
    egress = Egress.of(config, HERE)
    egress.check("GET", Target.read("https://api.example.com/v2/x"))
    for method, url in (("POST", "https://api.example.com/v2/x"), ("GET", "https://api.example.com/v1")):
        with pytest.raises(EgressRefused, match=r"egress\.allow does not name it"):
            egress.check(method, Target.read(url))


def test_rules_for_one_request_allow_no_other() -> None:
    spec = Target.read("https://docs.example.com/api.json")
    egress = Egress.of(EgressConfig(), HERE).only("GET", spec)
    egress.check("GET", spec)
    for method, target in (("POST", spec), ("GET", HERE)):
        with pytest.raises(EgressRefused):
            egress.check(method, target)


@pytest.mark.parametrize(
    "section",
    [
        {"allow": [{"host": "127.1"}]},
        {"allow": [{"host": "a/b"}]},
        {"allow": [{"host": "a.example", "path": "v1"}]},
        {"allow": [{"host": "a.example", "methods": ["get"]}]},
        {"allow_private": ["0x7f.1"]},
        {"ca_file": "nowhere.pem"},
        {"allow_all": True},
    ],
)
def test_a_rule_that_cannot_mean_anything_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EgressConfig.model_validate(section)


def test_certificates_can_be_of_the_operators_own_authority(tmp_path: Path) -> None:
    assert EgressConfig().tls().check_hostname
    empty = tmp_path / "none.pem"
    empty.write_text("")
    with pytest.raises(ValidationError):
        EgressConfig(ca_file=str(empty))


@pytest.mark.parametrize(
    ("named", "address", "passes"),
    [
        ("db.example.com", "10.0.0.1", True),
        ("db.example.com", "127.0.0.1", True),
        ("db.example.com", "169.254.169.254", False),
        ("db.example.com", "0.0.0.0", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("169.254.169.254", "169.254.169.254", True),
        ("::1", "::1", True),
        ("[::1]", "::1", True),
        ("other.example.com", "10.0.0.1", False),
    ],
)
def test_a_private_host_is_named_and_a_special_address_by_itself(named: str, address: str, passes: bool) -> None:
    egress = Egress((), EgressConfig(allow_private=(named,)).allow_private)
    with nullcontext() if passes else pytest.raises(EgressRefused, match=re.escape(address)):
        egress.check_address("db.example.com", ip_address(address))


class Names:
    """A name server that gives each answer once, in turn."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        if not self.answers:
            raise OSError(-2, "Name or service not known")
        return self.answers.pop(0)


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged() -> None:
    async with Api() as api:
        resolve = Names(["127.0.0.1"], ["169.254.169.254"])
        network = PinnedNetwork(Egress((), ["api.example.com"]), resolve)
        stream = await network.connect_tcp("api.example.com", api.port)
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", api.port)
        assert resolve.asked == 1
        await stream.aclose()


async def test_a_name_with_one_forbidden_address_among_its_addresses_is_refused() -> None:
    network = PinnedNetwork(Egress(()), Names(["93.184.215.14", "10.0.0.1"]))
    with pytest.raises(EgressRefused, match=r"10\.0\.0\.1"):
        await network.connect_tcp("api.example.com", 80)


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with Api() as api:
        resolve = Names(["127.0.0.9", "127.0.0.1"])
        stream = await PinnedNetwork(Egress((), ["a.example"]), resolve).connect_tcp("a.example", api.port)
        await stream.aclose()


async def test_a_name_without_an_address_is_a_failed_connection() -> None:
    network = PinnedNetwork(Egress(()), Names([]))
    for _ in range(2):
        with pytest.raises(httpcore2.ConnectError):
            await network.connect_tcp("api.example.com", 80)


async def test_this_machines_resolver_is_asked_where_none_is_given() -> None:
    with pytest.raises(EgressRefused, match="loopback"):
        await PinnedNetwork(Egress(())).connect_tcp("localhost", 80)


async def test_a_resolver_that_hangs_is_left_in_time() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(httpcore2.ConnectTimeout):
        await PinnedNetwork(Egress(()), never).connect_tcp("api.example.com", 80, timeout=0.01)


async def test_a_socket_file_is_never_connected_to() -> None:
    network = PinnedNetwork(Egress(()))
    await network.sleep(0)
    with pytest.raises(Rejected):
        await network.connect_unix_socket("docker.sock")
