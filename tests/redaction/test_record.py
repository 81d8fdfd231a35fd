"""What is kept: no known secret, nothing under a secret's name, nothing that looks like a token. And what is logged."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.redactor import MARK, Redactor

KNOWN = "ghs8Kd02LxqPz7TtVvWw"
REDACTOR = Redactor([KNOWN])
ARGUMENTS = {"payment_id": "p_17", "amount": 250, "payee": "ACME", "note": "paid in May", "ok": True, "x": None}


def record(value: Any) -> Any:
    return REDACTOR.record(value)


def test_an_ordinary_value_is_kept_as_it_is() -> None:
    value = {"arguments": ARGUMENTS, "result": {"content": [{"type": "text", "text": json.dumps(ARGUMENTS)}]}}
    assert record(value) is value


def test_known_secrets_go_wherever_they_are() -> None:
    assert record({"a": [f"x {KNOWN}"], KNOWN: 1}) == {"a": [f"x {MARK}"], MARK: 1}


@pytest.mark.parametrize(
    "key",
    ["password", "Password", "db_password", "DB-PASSWORD", "userPasswd", "passphrase", "secret", "client_secret",
     "clientSecret", "api_key", "apiKey", "X-API-Key", "authorization", "Proxy-Authorization", "access_token",
     "refreshToken", "id_token", "token", "cookie", "Set-Cookie", "private_key", "aws_secret_access_key", "credentials",
     "cvv", "otp", "pwd", "api key"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["v", 7, 1.5, ["v"], {"a": "v"}, ""])
def test_values_under_a_secrets_name_go_whatever_they_are(key: str, value: Any) -> None:
    assert record({"deep": [{key: value, "other": 1}]}) == {"deep": [{key: MARK, "other": 1}]}
    assert json.loads(record(json.dumps({key: value}))) == {key: MARK}


@pytest.mark.parametrize("value", [None, True, False])
def test_a_flag_or_nothing_under_a_secrets_name_stays(value: Any) -> None:
    assert record({"secret": value}) == {"secret": value}


@pytest.mark.parametrize(
    "key", ["page_token", "max_tokens", "tokens", "keyboard", "primary_key", "idempotency_key", "author", "secretary",
            "cookies_eaten", "step_key", "bearer", "key"],
)  # fmt: skip
def test_other_names_stay(key: str) -> None:
    value = {key: "value"}
    assert record(value) is value


def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "tg_" + "a1" * 16 + "_" + "b2" * 16,
        "tgl.claude-desktop." + "ab" * 32,
        jwt.encode({"sub": "x"}, "k" * 32, "HS256"),
        "sk-proj-abcdefghijklmnop1234",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl_mnop",
        "xoxb-1234567890-abcdefghij",
        private_key(),
        private_key().replace("\n", "\\n"),
        private_key().replace("PRIVATE KEY", "RSA PRIVATE KEY")[:120],
    ],
)
def test_what_looks_like_a_token_goes(token: str) -> None:
    for text in (token, f"see ({token}) there", f"k={token}", f"x\n{token}\n"):
        kept = record({"note": text})["note"]
        assert MARK in kept
        assert token[8:24] not in kept
    assert record({"note": f"see ({token}) there"})["note"].endswith(") there")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Basic"])
def test_bearer_credentials_go_and_the_scheme_stays(scheme: str) -> None:
    assert record(f"curl -H 'X: {scheme} abc123def456ghi789'") == f"curl -H 'X: {scheme} {MARK}'"


def test_a_token_id_alone_is_no_secret() -> None:
    value = {"credential_id": "tg_" + "a1" * 16}
    assert record(value) is value


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password=hunter2&x=1", f"password={MARK}&x=1"),
        ("api_key: abcdef, next", f"api_key: {MARK}, next"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: {MARK}"),
        ('{"password": "hun\\"ter2", "x": 1', f'{{"password": {MARK}, "x": 1'),
        ("log {'client-secret': 'hunter2', 'x': 1}", f"log {{'client-secret': {MARK}, 'x': 1}}"),
        ('say \\"password\\": \\"hunter2\\"', f'say \\"password\\": {MARK}'),
        ("the password is lost", "the password is lost"),
        ("PASSWORD='unclosed", f"PASSWORD={MARK}"),
        ('{"password": "x", }', f'{{"password": {MARK}, }}'),
        ('{"password": "x", "password": "y"}', f'{{"password": {MARK}, "password": {MARK}}}'),
    ],
)
def test_what_follows_a_secrets_name_in_running_text_goes(text: str, kept: str) -> None:
    assert record({"log": text})["log"] == kept


@pytest.mark.parametrize("text", ["password=hunter2", "authorization: bearer abc", "secret: 'x y' token=abc"])
def test_recording_twice_changes_nothing(text: str) -> None:
    once = record(text)
    assert MARK in once
    assert record(once) == once


def test_json_inside_json_inside_text_is_looked_into() -> None:
    text = json.dumps({"body": json.dumps({"password": "hunter2", "n": 1}), "n": 2})
    kept = record({"content": [{"type": "text", "text": text}]})["content"][0]["text"]
    assert json.loads(json.loads(kept)["body"]) == {"password": MARK, "n": 1}


def test_json_text_with_nothing_in_it_keeps_its_bytes_beside_a_find() -> None:
    text = '{ "a" : 1.0,\n "b": "token" }'
    assert record({"t": text, "password": "x"}) == {"t": text, "password": MARK}


def test_operators_can_add_names_and_patterns() -> None:
    redactor = Redactor(keys=["iban", "x_internal_*", "*"][:2])
    assert redactor.record({"IBAN": "DE", "X-Internal-Id": 7, "internal": 1}) == {
        "IBAN": MARK,
        "X-Internal-Id": MARK,
        "internal": 1,
    }
    assert Redactor(keys=["*"]).record({"a": "b"}) == {"a": MARK}


HOSTILE = [
    "eyJ" * 100_000, "eyJ." * 80_000, "eyJaaaaaaaaaa." * 20_000, "password='" * 30_000, 'password="' * 30_000,
    "-----BEGIN PRIVATE KEY-----" * 12_000, "-----BEGIN " * 30_000, "sk-" * 100_000, "tg_" * 100_000, "tgl." * 80_000,
    "bearer " * 40_000, "secret:" * 40_000, "secret" + "\\" * 300_000, "p-a_s-s-w" * 30_000, "a" * 300_000,
    "secret: " + " " * 300_000, '{"a":' * 60_000, "[" * 150_000 + "]" * 150_000, "\\\"" * 150_000, "xoxb-" * 60_000,
    "github_pat_" * 30_000, "bearer" + " " * 300_000, "${" * 150_000, '{"password":"' + "\\\\" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    def cpu(given_text: str) -> float:
        started = time.process_time()
        REDACTOR.record({"t": given_text})
        return time.process_time() - started

    # a tenth of the text, twice over: quadratic work would take a hundred times as long, linear work takes ten
    tenth = min(cpu(text[: len(text) // 10]) for _ in range(2))
    assert min(cpu(text) for _ in range(2)) < 40 * tenth + 0.05


@given(st.text(max_size=200))
def test_any_text_is_recorded_without_a_fault_and_never_twice_differently(text: str) -> None:
    once = record({"t": text})
    assert record(once) == once


@pytest.mark.parametrize(
    "line",
    [
        "a\r\nHTTP/1.1 200",
        "a\x1b[31mred",
        "a\x00b",
        "a\u2028b",
        "a\x85b",
        "a\x7fb",
        "a\u202eb",
        "a\x9b31m",
        "a\tb",
        "a\u2066b",
    ],
)
def test_a_log_line_stays_one_line_and_cannot_steer_a_terminal(line: str) -> None:
    written = REDACTOR.text(line)
    assert written.isprintable()
    assert len(written) == len(line)
    assert written.startswith("a ")


def test_a_log_line_holds_no_secret_even_when_broken_up_by_control_characters() -> None:
    multi_line = "first-line\nsecond-line"
    redactor = Redactor([multi_line, "two words here"])
    assert redactor.text(f"x {multi_line} y") == f"x {MARK} y"
    assert redactor.text("x two\x1bwords\nhere y") == f"x {MARK} y"
    assert redactor.text("password=hunter2\nnext") == f"password={MARK} next"


def test_what_never_changes_is_looked_through_once_until_other_secrets_are_known() -> None:
    redactor = Redactor(["first-secret"])
    constant = ({"a": "first-secret"}, {"b": "later-secret"})
    kept = redactor.record(constant)
    assert kept == [{"a": MARK}, {"b": "later-secret"}]
    assert redactor.record(constant) is kept
    assert redactor.record(({"a": "plain"},)) == ({"a": "plain"},)
    redactor.learn(["later-secret"])
    assert redactor.record(constant) == [{"a": MARK}, {"b": MARK}]


def test_what_never_changes_is_not_remembered_without_bound() -> None:
    redactor = Redactor(["first-secret"])
    constants = [({"a": "first-secret", "n": n},) for n in range(4097)]
    first = redactor.record(constants[0])
    assert all(redactor.record(constant)[0]["a"] == MARK for constant in constants)
    assert redactor.record(constants[0]) is not first
