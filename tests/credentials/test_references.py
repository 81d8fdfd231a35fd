"""References in configuration texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials.fault import CredentialFault
from gateway.credentials.references import resolve

ENVIRON = {"HOST": "db.example", "API_KEY": "k-123456", "EMPTY": "", "Db_Password": "hunter2", "NEST": "${HOST}"}


class Secrets:
    """A secret source of one secret."""

    def get(self, name: str) -> str:
        if name != "stripe_key":
            raise CredentialFault("secret_missing", f"no {name}; fix: toolgate secret set {name}")
        return "sk-live"


def put_in(text: str) -> tuple[str, frozenset[str]]:
    return resolve(text, ENVIRON, Secrets())


@pytest.mark.parametrize(
    ("text", "result", "secret"),
    [
        ("plain", "plain", set()),
        ("", "", set()),
        ("$HOST $$ {HOST} }", "$HOST $$ {HOST} }", set()),
        ("${HOST}", "db.example", set()),
        ("https://${HOST}/${HOST}", "https://db.example/db.example", set()),
        ("Bearer ${secret:stripe_key}", "Bearer sk-live", {"sk-live"}),
        ("${API_KEY}", "k-123456", {"k-123456"}),
        ("${Db_Password}", "hunter2", {"hunter2"}),
        ("${env:HOST}", "db.example", {"db.example"}),
        ("${env:MISSING:-x}", "x", set()),
        ("${MISSING:-fall back}", "fall back", set()),
        ("${MISSING:-}", "", set()),
        ("${API_KEY_2:-default}", "default", set()),
        ("${EMPTY}", "", set()),
        ("${env:EMPTY}", "", set()),
        ("${EMPTY:-x}", "x", set()),
        ("${HOST:-x}", "db.example", set()),
        ("${NEST}", "${HOST}", set()),
        ("$${HOST}", "${HOST}", set()),
        ("$${secret:a ${secret:stripe_key}", "${secret:a sk-live", {"sk-live"}),
    ],
)
def test_references_are_replaced_and_secret_values_are_reported(text: str, result: str, secret: set[str]) -> None:
    assert put_in(text) == (result, secret)


def problem(text: str) -> CredentialFault:
    with pytest.raises(CredentialFault) as error:
        put_in(text)
    return error.value


def test_a_missing_variable_is_named_with_what_fixes_it() -> None:
    missing = problem("x ${PAYMENTS_KEY} y")
    assert missing.code == "variable_missing"
    assert "PAYMENTS_KEY is not set" in str(missing)
    assert "toolgate secret set payments_key" in str(missing)


def test_a_missing_secret_is_named_with_what_fixes_it() -> None:
    assert "toolgate secret set other" in str(problem("${secret:other}"))


@pytest.mark.parametrize(
    "text",
    ["${", "a ${HOST", "${}", "${ HOST}", "${HOST-x}", "${1}", "${secret:}", "${secret:a b}", "${HOST${HOST}}",
     "${env:}", "${file:/etc/passwd}", "${cmd:ls}", "${HOST:-${API_KEY}}"],
)  # fmt: skip
def test_what_looks_like_a_reference_and_is_none_is_refused(text: str) -> None:
    assert problem(text).code == "reference"


@given(st.text(alphabet="${}:-aH env:secret", max_size=60))
def test_any_text_is_resolved_or_refused_and_never_breaks(text: str) -> None:
    try:
        resolved, _ = put_in(text)
    except CredentialFault:
        return
    assert "${" in text or resolved == text


@given(st.text(max_size=100).filter(lambda text: "${" not in text))
def test_a_text_without_references_is_left_alone(text: str) -> None:
    assert put_in(text) == (text, frozenset())
