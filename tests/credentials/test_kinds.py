"""Every other kind of credential: written headers, a program, a file, a certificate, an exchanged token."""

import asyncio
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from connectors.mcp import McpConnector
from gateway.connector import Behalf, ConnectorFault, Secret, Surroundings
from gateway.connector.registry import build_upstream, load_connectors
from tests.connectors.mcp.conftest import asked
from tests.credentials.authority import Authority, Ring, said
from tests.fixtures.fault_http import FaultServer

STATIC = "Bearer sk-static-4eC39HqLyjWDarjtT1zdp7dc"


def written(oauth: Authority, value: str = STATIC) -> dict[str, Any]:
    return {"url": oauth.mcp, "protocol": "legacy", "headers": {"Authorization": value}}


async def refused(upstream: Any, **call: Any) -> ConnectorFault:
    with pytest.raises(ConnectorFault) as caught:
        await said(upstream, **call)
    return caught.value


async def test_written_headers_that_are_refused_die_once_for_all_who_share_them(oauth: Authority, keys: Ring) -> None:
    oauth.control(takes=[STATIC])
    first, second = await keys.open(written(oauth), "first"), await keys.open(written(oauth), "second")
    assert [await said(first), await said(second)] == ["static", "static"]
    oauth.control(takes=[])
    assert (await refused(first)).code == "credential_expired"
    asked_for = oauth.count()
    told = await refused(second)
    assert (told.code, told.sent) == ("credential_expired", False)
    assert STATIC not in f"{told!r}{told.message}{told.detail}"
    assert oauth.count() == asked_for
    await asyncio.sleep(0)  # it is recorded beside the calls
    assert [event.body["servers"] for event in keys.events] == [["first", "second"]]
    oauth.control(takes=[STATIC])
    keys.keeper.vault.renew("second")
    assert [await said(first), await said(second)] == ["static", "static"]


async def test_a_changed_header_is_taken_up_without_a_failed_call(oauth: Authority, keys: Ring) -> None:
    new = "Bearer sk-static-the-new-one"
    oauth.control(takes=[STATIC, new])
    upstream = await keys.open(written(oauth))
    calling = [asyncio.ensure_future(said(upstream)) for _ in range(20)]
    follow(keys, written(oauth, new))
    calling += [asyncio.ensure_future(said(upstream)) for _ in range(20)]
    assert await asyncio.gather(*calling) == ["static"] * 40
    oauth.control(takes=[new])
    assert await said(upstream) == "static"


def follow(keys: Ring, section: dict[str, Any]) -> None:
    sought = McpConnector.sought(McpConnector.configure(section, None), "oauth")
    assert sought is not None
    keys.keeper.follow(sought)


async def test_a_secret_for_another_place_is_not_shown_to_the_old_one(oauth: Authority, keys: Ring) -> None:
    oauth.control(takes=[STATIC])
    upstream = await keys.open(written(oauth))
    elsewhere = {**written(oauth, "Bearer sk-static-for-elsewhere"), "url": "https://elsewhere.example/mcp"}
    follow(keys, elsewhere)
    assert await said(upstream) == "static"
    follow(keys, filed(oauth, "svid.jwt"))
    assert await said(upstream) == "static"


async def test_a_forbidden_call_with_written_headers_kills_nothing(oauth: Authority, keys: Ring) -> None:
    oauth.control(takes=[STATIC], forbidden=["t3"])
    upstream = await keys.open(written(oauth))
    assert (await refused(upstream, tool="t3")).code == "forbidden"
    assert await said(upstream) == "static"


# --- a program


def printing(oauth: Authority, program: str, **auth: Any) -> dict[str, Any]:
    chosen = {"type": "command", "command": sys.executable, "args": ["-I", "-S", "-c", program], **auth}
    return {"url": oauth.mcp, "protocol": "legacy", "auth": chosen}


async def test_what_a_program_prints_is_shown_and_kept_until_its_end(
    oauth: Authority, keys: Ring, tmp_path: Path
) -> None:
    oauth.control(takes=["Bearer printed-secret"])
    program = f"print('printed-secret'); open({str(tmp_path / 'runs')!r}, 'a').write('x')"
    upstream = await keys.open(printing(oauth, program))
    assert await asyncio.gather(*(said(upstream) for _ in range(10))) == ["static"] * 10
    assert (tmp_path / "runs").read_text() == "x"
    assert "printed-secret" in keys.held


async def test_a_program_may_say_until_when_and_go_into_another_header(oauth: Authority, keys: Ring) -> None:
    oauth.control(takes=["printed-secret"])
    program = "import json; print(json.dumps({'token': 'printed-secret', 'expires_in': 3600}))"
    upstream = await keys.open(printing(oauth, program, output="json", scheme=""))
    assert await said(upstream) == "static"


async def test_a_program_sees_only_its_own_environment(oauth: Authority, keys: Ring, tmp_path: Path) -> None:
    seen = tmp_path / "environ"
    program = f"import os; open({str(seen)!r}, 'w').write(' '.join(sorted(os.environ))); print('printed-secret')"
    oauth.control(takes=["Bearer printed-secret"])
    await keys.open(printing(oauth, program, env={"VAULT_ADDR": "https://vault"}))
    allowed = {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "VAULT_ADDR", "LC_CTYPE"}
    assert set(seen.read_text().split()) <= allowed


@pytest.mark.parametrize(
    ("program", "auth"),
    [
        ("import sys; print('x'); sys.exit(3)", {}),
        ("pass", {}),
        ("print('two words')", {}),
        ("print('x' * 100_000)", {}),
        ("print('not json')", {"output": "json"}),
        ("print('[]')", {"output": "json"}),
        ("print('{}')", {"output": "json"}),
        ("", {"command": "no-such-program-anywhere"}),
    ],
)
async def test_a_program_that_gives_no_secret_is_a_dead_credential(
    oauth: Authority, keys: Ring, program: str, auth: dict[str, Any]
) -> None:
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(printing(oauth, program, **auth)).open()
    assert (caught.value.code, caught.value.sent) == ("credential_expired", False)
    assert len(keys.events) == 1


async def test_a_program_that_hangs_is_ended_with_what_it_started(oauth: Authority, keys: Ring, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import subprocess, time, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(printing(oauth, program, timeout_s=1.5)).open()
    assert caught.value.code == "unavailable"
    child = Path(f"/proc/{note.read_text()}/stat")
    while child.exists() and child.read_text().split()[2] != "Z":
        await asyncio.sleep(0.01)
    assert keys.events == []


# --- a file


def svid(path: Path, *, life_s: float = 3600, mode: int = 0o600, **claims: Any) -> str:
    ends = datetime.now(UTC) + timedelta(seconds=life_s)
    token = jwt.encode({"sub": "spiffe://acme/gateway", "exp": ends, **claims}, "k" * 32, algorithm="HS256")
    path.write_text(token)
    path.chmod(mode)
    return token


def filed(oauth: Authority, path: str) -> dict[str, Any]:
    return {"url": oauth.mcp, "protocol": "legacy", "auth": {"type": "jwt_file", "path": path}}


async def test_the_token_in_a_file_is_shown_and_a_new_one_taken_up(
    oauth: Authority, keys: Ring, tmp_path: Path
) -> None:
    old = svid(tmp_path / "svid.jwt")
    oauth.control(takes=[f"Bearer {old}"])
    upstream = await keys.open(filed(oauth, "svid.jwt"))
    assert await said(upstream) == "static"
    new = svid(tmp_path / "svid.jwt", jti="new")
    oauth.control(takes=[f"Bearer {new}"])
    assert await said(upstream) == "static"
    assert {old, new} <= keys.held


@pytest.mark.parametrize("trouble", ["missing", "loose", "no jwt", "not decodable"])
async def test_a_file_without_a_private_jwt_is_a_dead_credential(
    oauth: Authority, keys: Ring, tmp_path: Path, trouble: str
) -> None:
    path = tmp_path / "svid.jwt"
    if trouble == "loose":
        svid(path, mode=0o644)
    elif trouble != "missing":
        path.write_text("nothing" if trouble == "no jwt" else "a.b.c")
        path.chmod(0o600)
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(filed(oauth, str(path))).open()
    assert caught.value.code == "credential_expired"


async def test_a_file_that_was_not_replaced_in_time_may_still_be(oauth: Authority, keys: Ring, tmp_path: Path) -> None:
    svid(tmp_path / "svid.jwt", life_s=-5)
    with pytest.raises(ConnectorFault) as caught:
        await keys.build(filed(oauth, "svid.jwt")).open()
    assert (caught.value.code, caught.value.sent) == ("unavailable", False)


async def test_a_jwt_in_a_file_proves_the_client_instead_of_a_secret(
    oauth: Authority, keys: Ring, tmp_path: Path
) -> None:
    token = svid(tmp_path / "svid.jwt")
    upstream = await keys.open(oauth.section(client_secret=None, assertion_file="svid.jwt"))
    assert await said(upstream) == "acme"
    [form] = oauth.seen("token")
    assert form["client_assertion"] == token


# --- a certificate


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and its key."""
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return cert_file, key_file


def mutual(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate(folder, "server"))
    for name in ("gateway", "renewed"):
        context.load_verify_locations(certificate(folder, name)[0])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_certificate_is_shown_and_a_renewed_one_taken_up(keys: Ring, tmp_path: Path) -> None:
    async with FaultServer(tls=mutual(tmp_path)) as server:
        shown = {"type": "mtls", "cert_file": "gateway.crt", "key_file": "gateway.key"}
        section = {"url": server.url, "ca_file": str(tmp_path / "server.crt"), "auth": shown}
        upstream = await keys.open(section)
        assert (await upstream.call(asked("echo", {"a": 1})))["content"]
        (tmp_path / "gateway.key").chmod(0o644)
        await upstream.close()
        with pytest.raises(ConnectorFault) as caught:
            await upstream.open()
        assert "chmod 600" in caught.value.detail
        (tmp_path / "renewed.key").replace(tmp_path / "gateway.key")
        (tmp_path / "renewed.crt").replace(tmp_path / "gateway.crt")
        await upstream.open()
        assert (await upstream.call(asked("echo", {"a": 2})))["content"]


@pytest.mark.parametrize(
    "section",
    [
        {"url": "http://127.0.0.1/mcp", "auth": {"type": "mtls", "cert_file": "a", "key_file": "b"}},
        {"url": "https://a.example/mcp", "headers": {"authorization": "x"}, "auth": {"type": "jwt_file", "path": "a"}},
        {"url": "https://a.example/mcp", "auth": {"type": "client_credentials"}},
        {"url": "https://a.example/mcp", "auth": {"type": "client_credentials", "client_id": "a", "issuer": "x y"}},
        {"url": "https://a.example/mcp", "auth": {"type": "magic"}},
        {
            "url": "https://a.example/mcp",
            "auth": {"type": "client_credentials", "client_id": "a", "client_secret": "b", "assertion_file": "c"},
        },
    ],
)
def test_a_section_that_contradicts_itself_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        McpConnector.configure(section, None)


def test_outside_a_gateway_there_are_written_headers_only(oauth: Authority) -> None:
    with pytest.raises(ConnectorFault, match="needs a gateway"):
        build_upstream("oauth", oauth.section(), load_connectors(), Surroundings())


# --- an exchanged token


def caller(user: str) -> Behalf:
    token = jwt.encode({"sub": user, "aud": "the-gateway"}, "k" * 32, algorithm="HS256")
    return Behalf(user, "https://idp.example", Secret(token))


async def test_a_callers_token_is_exchanged_and_never_shown_to_the_server(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section("token_exchange", audience="payments"))
    alice, bob = caller("alice"), caller("bob")
    whose = await asyncio.gather(*(said(upstream, behalf=each) for each in (alice, bob, alice, bob)))
    assert whose == ["exchanged:alice", "exchanged:bob"] * 2
    exchanges = [form for form in oauth.seen("token") if "subject_token" in form]
    assert len(exchanges) == 2
    assert {(form["audience"], form["resource"]) for form in exchanges} == {("payments", oauth.mcp)}
    assert alice.proof is not None
    assert alice.proof.reveal() not in await said(upstream, tool="t11", behalf=alice)  # t11 says what it was shown


async def test_a_caller_without_a_token_of_its_own_gets_nothing_exchanged(oauth: Authority, keys: Ring) -> None:
    upstream = await keys.open(oauth.section("token_exchange"))
    told = await refused(upstream)
    assert (told.code, told.sent) == ("forbidden", False)
    assert oauth.count()["calls"] == 0
