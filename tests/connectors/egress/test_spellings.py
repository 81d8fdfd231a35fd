"""Forbidden addresses, in every spelling that some resolver, library or kernel takes for one."""

from ipaddress import ip_address

import pytest

from connectors.egress import Egress, EgressRefused, EgressRule, Reach, Target, TargetRefused, judged
from gateway.connector.target import host_in

FORBIDDEN = [
    # this machine
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.01/",
    "http://0177.1/",
    "http://127.0.0.1./",
    "http://127.0.0.01/",
    "http://127.0.0.1:80@127.0.0.1/",
    "http://api.example.com@127.0.0.1/",
    "http://api.example.com:secret@127.0.0.1/",
    "http://api.example.com#@127.0.0.1/",
    "http://api.example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.api.example.com/",
    "http://\u0661\u0662\u0667.0.0.1/",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://127%2e0%2e0%2e1/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://a.localhost/",
    "http://\u24c1\u24c4\u24b8\u24b6\u24c1\u24bd\u24c4\u24c8\u24c9/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:7f00:0001]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[::1%25eth0]/",
    # nowhere, and everywhere
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://[::]/",
    "http://[0::0]/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://[ff02::1]/",
    "http://240.0.0.1/",
    # what a cloud tells its machines
    "http://169.254.169.254/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://169.254.169.254./",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:53aa:64c:0:0:5601:5601]/",
    "http://[2001:db8::5efe:a9fe:a9fe]/",
    "http://[2620:0:1::200:5efe:a9fe:a9fe]/",
    "http://[fe80::a9fe:a9fe]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:0ec2:0:0::0254]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    # a private network
    "http://10.0.0.1/",
    "http://0xa.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://192.168.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[2002:a00:1::]/",
]


def check(url: str) -> None:
    """Check the URL against rules that allow its host, whatever it is."""
    target = Target.read(url)
    Egress((EgressRule(host=target.host),)).check("GET", target)


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_forbidden_address_is_refused_in_every_spelling_even_where_its_host_is_allowed(url: str) -> None:
    with pytest.raises((TargetRefused, EgressRefused)):
        check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/",
        "https://api.example.com/v1",
        "https://xn--bcher-kva.example:8443/",
        "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "http://[::ffff:93.184.215.14]/",
        "http://[64:ff9b::5db8:d70e]/",
        "http://[2002:5db8:d70e::]/",
        "http://7f000001.example.com/",
        "http://a.b.c.x1/",
    ],
)
def test_a_public_host_in_its_plain_spelling_passes(url: str) -> None:
    check(url)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("127.0.0.1", Reach.PRIVATE),
        ("10.9.8.7", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd12::1", Reach.PRIVATE),
        ("fec0::1", Reach.PRIVATE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("100.100.100.200", Reach.FORBIDDEN),
        ("169.254.1.1", Reach.FORBIDDEN),
        ("198.18.0.1", Reach.FORBIDDEN),
        ("2001:db8::1", Reach.FORBIDDEN),
        ("ff0e::1", Reach.FORBIDDEN),
        ("0.0.0.0", Reach.FORBIDDEN),
    ],
)
def test_an_address_is_judged_by_where_it_leads(address: str, reach: Reach) -> None:
    assert judged(ip_address(address))[0] is reach


@pytest.mark.parametrize(
    "url",
    [
        "ftp://api.example.com/",
        "https:/api.example.com/",
        "https://",
        "//api.example.com/",
        "https://api.example.com:0/",
        "https://api.example.com:/",
        "https://api.example.com:99999/",
        "https://api.example.com:x/",
        "https://[::1",
        "https://[nothing]/",
        "https://[::1%eth0]/",
        "https://-a.example.com/",
        "https://a..example.com/",
        "https://api.example.com./",
        f"https://{'a.' * 130}example.com/",
        "https://api.example.com/a b",
        "https://api.example.com/\t",
        "https://api.example.com/../admin",
        "https://api.example.com/v1/%2e%2e/admin",
        "https://api.example.com/v1/%252e%252e/admin",
        "https://api.example.com/v1/..%2fadmin",
        "https://api.example.com/v1/..%5cadmin",
        "https://api.example.com/v1/%0d%0aX: y",
        "https://api.example.com/v1/%00",
        "https://api.example.com/#part",
    ],
)
def test_what_two_readers_could_read_differently_is_no_url(url: str) -> None:
    with pytest.raises(TargetRefused):
        Target.read(url)


def test_a_url_is_read_into_what_is_sent() -> None:
    target = Target.read("HTTPS://API.Example.com:8443/v1/a%20b?q=1&r")
    assert (target.host, target.port, target.sent) == ("api.example.com", 8443, b"/v1/a%20b?q=1&r")
    assert (target.authority, target.origin) == ("api.example.com:8443", "https://api.example.com:8443")
    assert Target.read("http://[2606:2800::0:1]:80").origin == "http://[2606:2800::1]"
    assert Target.read("http://93.184.215.14").sent == b"/"


@pytest.mark.parametrize("text", ["b\u00fccher.example", "127.1", "a b", "[nothing]"])
def test_a_host_in_a_rule_is_spelled_plainly_too(text: str) -> None:
    with pytest.raises(TargetRefused):
        host_in(text)
