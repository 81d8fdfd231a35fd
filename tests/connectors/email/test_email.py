"""Mail out: to declared recipients only, encrypted, and never in doubt without saying so."""

import asyncio
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_string
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from connectors.email import EmailConnector
from connectors.email.addresses import Recipients, is_address
from connectors.email.upstream import EmailUpstream
from gateway.connector import (
    ConnectorFault,
    CredentialExpired,
    Effect,
    Measure,
    Rejected,
    Surroundings,
    TimedOut,
    ToolCall,
    Unavailable,
)
from gateway.connector.testing import check_connector
from tests.connectors.email.smtp_server import PASSWORD
from tests.fixtures.clock import FakeClock

ROOT = Path(__file__).parents[3]


class Mailbox:
    """A running mail server."""

    def __init__(self, folder: Path, port: int, mode: str) -> None:
        self.folder = folder
        self.port = port
        self.mode = mode

    @property
    def kept(self) -> list[Any]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))]

    def section(self, **more: Any) -> dict[str, Any]:
        login = {} if self.mode == "plain" else {"user": "robot", "password": PASSWORD}
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "senders": ["robot@acme.example", "billing@acme.example"],
            "recipients": ["ann@partner.example", "*@acme.example"],
            "tls": "none" if self.mode == "plain" else self.mode,
            "allow_plain": ["127.0.0.1"] if self.mode == "plain" else [],
            "network": {"allow_private": ["127.0.0.1"], "ca_file": str(self.folder / "cert.pem")},
            **login,
            **more,
        }


@contextmanager
def mail_server(folder: Path, mode: str) -> Iterator[Mailbox]:
    certificate(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.connectors.email.smtp_server", str(folder), mode]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Mailbox(folder, int(process.stdout.readline()), mode)
        finally:
            process.kill()


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mail_server(tmp_path_factory.mktemp("mail"), "starttls") as running:
        yield running


@pytest.fixture
def mailbox(shared: Mailbox) -> Mailbox:
    for path in shared.folder.glob("*.json"):
        path.unlink()
    return shared


async def send(
    section: dict[str, Any], timeout_s: float = 10.0, measure: Measure | None = None, **arguments: Any
) -> Any:
    upstream = EmailUpstream(EmailConnector.configure(section, {}), Surroundings(clock=FakeClock()))
    await upstream.open()
    said = {"to": ["ann@partner.example"], "subject": "Hello", "text": "Good morning.", **arguments}
    try:
        call = ToolCall("send", said, "call_1", timeout_s, measure=measure or Measure())
        return (await upstream.call(call))["structuredContent"]
    finally:
        await upstream.close()


async def test_a_message_arrives_as_it_was_written(mailbox: Mailbox) -> None:
    text = "Grüße,\n.\nQUIT\r\n.\r\nMAIL FROM:<evil@example.org>\r\n\rDr. Who"
    sent = await send(
        mailbox.section(),
        to=["ann@partner.example", "Bob@ACME.example", "ann@partner.example"],
        subject="Rechnung für März — 5 €",
        text=text,
        html="<p>Grüße</p>",
        sender="billing@acme.example",
    )
    (kept,) = mailbox.kept
    assert (kept["from"], kept["to"]) == ("billing@acme.example", ["ann@partner.example", "Bob@ACME.example"])
    assert (kept["user"], kept["tls"], kept["helo"]) == ("robot", True, "localhost")
    message: Any = message_from_string(kept["message"], policy=default)
    assert message["Subject"] == "Rechnung für März — 5 €"
    assert message["Message-ID"] == sent["message_id"]
    assert message["Auto-Submitted"] == "auto-generated"
    plain, html = message.iter_parts()
    assert plain.get_content().splitlines() == text.splitlines()
    assert html.get_content().strip() == "<p>Grüße</p>"
    assert sent["answer"] == "2.0.0 kept"


@pytest.mark.parametrize(("to", "said"), [("ann", (250, 10)), ("never", (550, 21)), ("busy", (451, 15))])
async def test_the_servers_last_word_is_told(mailbox: Mailbox, to: str, said: tuple[int, int]) -> None:
    measure = Measure()
    with suppress(ConnectorFault):
        await send(mailbox.section(), measure=measure, to=[f"{to}@acme.example"])
    assert (measure.status, measure.received) == said


@pytest.mark.parametrize("mode", ["plain", "at_once"])
async def test_other_ways_of_encryption(tmp_path: Path, mode: str) -> None:
    with mail_server(tmp_path, mode) as other:
        await send(other.section())
        assert [kept["tls"] for kept in other.kept] == [mode == "at_once"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"to": ["eve@evil.example"]},
        {"to": ["ann@partner.example", "eve@evil.example"]},
        {"to": ["ann@partner.example.evil.example"]},
        {"to": ["eve@evil.example>,<ann@partner.example"]},
        {"to": ["eve@evil.example, ann@acme.example"]},
        {"to": ["Ann <eve@evil.example> ann@acme.example"]},
        {"to": ["ann@partner.example\r\nBcc: eve@evil.example"]},
        {"to": ["ann@partner.example\n"]},
        {"to": ["<ann@partner.example>"]},
        {"to": ['"a b"@acme.example']},
        {"to": ["ann@acme.example@evil.example"]},
        {"to": ["ann%evil.example@sub.acme.example"]},
        {"to": ["ａnn@acme.example"]},
        {"to": ["x" * 65 + "@acme.example"]},
        {"to": []},
        {"to": "ann@partner.example"},
        {"to": [7]},
        {"to": [f"a{number}@acme.example" for number in range(21)]},
        {"subject": "Hello\r\nBcc: eve@evil.example"},
        {"subject": "Hello\nX: y"},
        {"subject": "Hello\x1b[31m"},
        {"subject": "Hello\u2028there"},
        {"subject": "x" * 501},
        {"subject": None},
        {"text": None},
        {"text": "a\0b"},
        {"text": "\ud800"},
        {"text": "x" * 1_000_001},
        {"html": 7},
        {"sender": "eve@evil.example"},
        {"sender": "robot@acme.example\r\nX: y"},
        {"sender": None},
        {"bcc": ["eve@evil.example"]},
        {"headers": {"Reply-To": "eve@evil.example"}},
    ],
    ids=lambda arguments: ascii(arguments)[:60],
)
async def test_what_is_not_allowed_is_refused_and_nothing_is_sent(mailbox: Mailbox, arguments: Any) -> None:
    with pytest.raises(Rejected):
        await send(mailbox.section(), **arguments)
    assert mailbox.kept == []


@pytest.mark.parametrize(
    ("recipient", "fault", "sent"),
    [
        ("later", Unavailable, False),
        ("busy", Unavailable, False),
        ("never", Rejected, True),
        ("full", Rejected, True),
    ],
)
async def test_a_no_of_the_server_is_never_in_doubt(
    mailbox: Mailbox, recipient: str, fault: type[ConnectorFault], sent: bool
) -> None:
    with pytest.raises(fault) as caught:
        await send(mailbox.section(), to=["ann@partner.example", f"{recipient}@acme.example"])
    assert (caught.value.sent, mailbox.kept) == (sent, [])


async def test_no_answer_after_the_message_is_in_doubt(mailbox: Mailbox) -> None:
    with pytest.raises(TimedOut) as late:
        await send(mailbox.section(), timeout_s=1.0, to=["silent@acme.example"])
    with pytest.raises(Unavailable) as cut:
        await send(mailbox.section(), to=["cut@acme.example"])
    assert (late.value.sent, cut.value.sent, len(mailbox.kept)) == (True, True, 2)


async def test_the_password_never_shows_not_even_when_the_server_says_it(mailbox: Mailbox) -> None:
    with pytest.raises(Rejected) as caught:
        await send(mailbox.section(), to=["loud@acme.example"])
    told = f"{caught.value.message} {caught.value.detail}"
    assert "***" in told
    assert "horse" not in told
    assert "Y29ycmVjd" not in told
    with pytest.raises(CredentialExpired) as wrong:
        await send(mailbox.section(password="wrong-horse"))
    assert "horse" not in f"{wrong.value.message} {wrong.value.detail}"


async def test_a_server_that_cannot_be_trusted_or_reached_gets_nothing(mailbox: Mailbox, tmp_path: Path) -> None:
    certificate(tmp_path)
    other = {"allow_private": ["127.0.0.1"], "ca_file": str(tmp_path / "cert.pem")}
    with pytest.raises(Unavailable) as caught:
        await send(mailbox.section(network=other))
    assert not caught.value.sent
    with pytest.raises(Rejected, match="allow_private"):
        await send(mailbox.section(network={}))
    with pytest.raises(Unavailable) as caught:
        await send(mailbox.section(port=1))
    assert not caught.value.sent
    assert mailbox.kept == []


async def test_a_server_that_offers_no_encryption_gets_nothing(tmp_path: Path) -> None:
    with mail_server(tmp_path, "plain") as other:
        with pytest.raises(Rejected, match="encryption"):
            await send(other.section(tls="starttls"))
        assert other.kept == []


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_told() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()  # ends when the client has left
        finally:  # also where it left with a reset
            left.set()
            writer.close()

    left = asyncio.Event()
    silent = await asyncio.start_server(nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    section = Mailbox(Path(), port, "plain").section(network={"allow_private": ["127.0.0.1"]})
    upstream = EmailUpstream(EmailConnector.configure(section, {}), Surroundings())
    with pytest.raises(Unavailable, match="not open"):
        await upstream.call(ToolCall("send", {}, "call_1", 1.0))
    with pytest.raises(TimedOut) as caught:
        await upstream._server.greet(0.05)
    assert not caught.value.sent
    async with asyncio.timeout(30):
        await left.wait()
    silent.close()
    await silent.wait_closed()


async def test_a_name_is_judged_by_what_it_resolves_to(mailbox: Mailbox) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "169.254.169.254"]

    config = EmailConnector.configure(mailbox.section(host="mail.example"), {})
    upstream = EmailUpstream(config, Surroundings(), resolve)
    with pytest.raises(Rejected, match="169"):
        await upstream.open()


async def test_sending_is_irreversible_and_the_tool_says_who_may_be_written_to(mailbox: Mailbox) -> None:
    upstream = EmailConnector.upstream(EmailConnector.configure(mailbox.section(), {}), Surroundings())
    traits = upstream.traits("send")
    assert traits is not None
    assert (traits.effect, traits.idempotent, upstream.traits("x")) == (Effect.IRREVERSIBLE, False, None)
    (tool,) = await upstream.tools()
    assert "*@acme.example" in tool["description"]


def test_patterns_name_addresses_domains_and_what_is_below_them() -> None:
    some = Recipients(["Ann@a.example", "*@b.example", "*@*.c.example"])
    assert all(map(some.allow, ["ann@A.example", "x@b.example", "x@y.c.example", "x@z.y.c.example"]))
    assert not any(map(some.allow, ["bob@a.example", "x@y.b.example", "x@c.example", "x@xc.example", ""]))
    assert not is_address("a..b@c.example")


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipients": ["*"]},
        {"recipients": ["*@*"]},
        {"recipients": ["a*@acme.example"]},
        {"recipients": []},
        {"senders": ["Robot <robot@acme.example>"]},
        {"senders": []},
        {"host": "mail.example:25"},
        {"host": "https://mail.example"},
        {"host": "mail\r\nexample"},
        {"tls": "none"},
        {"password": "hunter2"},
        {"user": "robot"},
        {"network": {"allow": [{"host": "a.example"}]}},
        {"port": 0},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    right = {"host": "mail.example", "senders": ["robot@acme.example"], "recipients": ["*@acme.example"]}
    EmailConnector.configure(right, {})
    with pytest.raises(ValidationError) as caught:
        EmailConnector.configure({**right, **wrong}, {})
    assert "hunter2" not in str(caught.value)


async def test_the_connector_keeps_the_contract(mailbox: Mailbox) -> None:
    sample = ToolCall("send", {"to": ["ann@partner.example"], "subject": "Hello", "text": "Hello"}, "call_1", 10.0)
    await check_connector(EmailConnector, mailbox.section(), sample=sample)
