"""What an agent sees: everything but the gateway's own secrets."""

import base64
import html
import json
import re
from collections.abc import Callable
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.redactor import MARK, Redactor

SECRET = 's3cr3t/+ key=ü"x\\'
PLAIN = "ghs8Kd02LxqPz7TtVvWw"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def deliver(value: Any, *secrets: str) -> Any:
    return Redactor(secrets or (SECRET, PLAIN)).deliver(value)


@given(JSON)
def test_a_value_without_secrets_is_the_very_same_object(value: Any) -> None:
    assert deliver(value) is value


def test_what_merely_looks_secret_passes_unchanged() -> None:
    value = {"password": "hunter2", "token": "tg_" + "a" * 32 + "_" + "b" * 32, "text": "Bearer " + "x" * 40}
    assert deliver(value) is value


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda s: quote(s, safe=""),
        lambda s: re.sub("%..", lambda escape: escape[0].lower(), quote(s, safe="")),
        quote_plus,
        lambda s: json.dumps(s),
        lambda s: json.dumps({"error": f"bad key {s}"}, ensure_ascii=False),
        html.escape,
        lambda s: html.escape(s, quote=False),
        lambda s: s.encode().hex(),
        lambda s: s.encode().hex().upper(),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        *(
            lambda s, before=before, after=after: base64.b64encode(f"{before}{s}{after}".encode()).decode()
            for before in ("", "u", "us", "user:")
            for after in ("", "x", "xy", "xyz")
        ),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, PLAIN])
def test_an_echoed_secret_is_taken_out_in_whatever_form(encode: Callable[[str], str], secret: str) -> None:
    value = {"content": [{"type": "text", "text": f"before {encode(secret)} after"}]}
    text = deliver(value)["content"][0]["text"]
    assert MARK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert value["content"][0]["text"] == f"before {encode(secret)} after"


@given(st.text(st.characters(codec="utf-8"), min_size=9, max_size=40), st.binary(max_size=5), st.binary(max_size=5))
def test_the_base64_of_anything_that_holds_a_secret_is_recognised(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert MARK in Redactor([secret]).deliver(encoded)


@given(st.text(min_size=4, max_size=20), JSON)
def test_no_secret_survives_in_any_text_of_a_value(secret: str, value: Any) -> None:
    holding = {"a": [value, f"x{secret}y", {secret: value}], f"k{secret}": secret}
    given_back = Redactor([secret]).deliver(holding)
    texts: list[str] = []
    stack: list[Any] = [given_back]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            texts += node
            stack += node.values()
        elif isinstance(node, list):
            stack += node
        elif isinstance(node, str):
            texts.append(node)
    assert all(secret not in text.replace(MARK, "") for text in texts) or secret in MARK


def test_only_what_changed_is_copied() -> None:
    untouched = {"deep": [1, 2, {"x": None}]}
    value = {"a": untouched, "b": f"{PLAIN}", "c": (1, PLAIN), "d": MappingProxyType({"e": PLAIN})}
    given_back = deliver(value)
    assert given_back == {"a": untouched, "b": MARK, "c": [1, MARK], "d": {"e": MARK}}
    assert given_back["a"] is untouched
    assert value["b"] == PLAIN


def test_secrets_in_keys_are_taken_out() -> None:
    assert deliver({PLAIN: 1}) == {MARK: 1}


def test_a_secret_of_digits_is_found_as_a_number_too() -> None:
    value = {"pin": 19283746, "other": 19283747, "text": "19283746", "flag": True, "huge": 10**5000, "part": 1.5}
    assert deliver(value, "19283746") == {**value, "pin": MARK, "text": MARK}
    harmless = {"n": 5, "flag": True}
    assert deliver(harmless, "19283746") is harmless


def test_secrets_too_short_to_tell_from_text_are_not_looked_for() -> None:
    value = {"text": "abc and abcd"}
    assert deliver(value, "abc", "") is value
    assert deliver(value, "abcd") == {"text": f"abc and {MARK}"}


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert deliver("x secret-one-two y", "secret-one", "secret-one-two") == f"x {MARK} y"


def test_many_secrets_are_found_in_short_and_long_texts() -> None:
    secrets = [f"Key{number:04d}abcdefghijkl{number:04d}" for number in range(100)]
    redactor = Redactor([*secrets, "short1", "with space"])
    assert redactor.deliver("nothing of that kind") == "nothing of that kind"
    assert redactor.deliver(f"a {secrets[77]} b") == f"a {MARK} b"
    assert redactor.deliver("a short1 b with space") == f"a {MARK} b {MARK}"
    assert redactor.deliver("x " * 5000 + secrets[3]) == "x " * 5000 + MARK


def test_secrets_learnt_later_are_looked_for_and_the_old_ones_still_are() -> None:
    redactor = Redactor([PLAIN])
    redactor.learn(["refreshed-token"])
    assert redactor.deliver([PLAIN, "refreshed-token"]) == [MARK, MARK]


def nested(levels: int, leaf: Any) -> Any:
    for level in range(levels):
        leaf = {"a": leaf} if level % 2 else [leaf]
    return leaf


def test_a_bottomless_value_passes_when_clean_and_is_cut_when_it_holds_a_secret() -> None:
    clean = nested(50_000, "harmless")
    assert deliver(clean) is clean
    cut = repr(deliver(nested(300, PLAIN)))
    assert PLAIN not in cut
    assert MARK in cut


def test_whatever_stands_at_the_limit_is_cut() -> None:
    for levels in (200, 201, 202):
        assert PLAIN not in repr(deliver(nested(levels, [PLAIN])))


def test_texts_of_other_types_are_looked_at() -> None:
    class Word(StrEnum):
        LEAK = PLAIN

    assert deliver({"a": Word.LEAK, "b": 1.5, "c": None}) == {"a": MARK, "b": 1.5, "c": None}


def test_a_cleared_bottom_is_reached_within_the_limit() -> None:
    assert deliver(nested(150, PLAIN)) == nested(150, MARK)


_ODD = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=12), _ODD, _ODD)
def test_a_secret_is_found_whatever_characters_it_and_its_neighbours_are(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    text = before + secret + after
    for value in ({"a": [text]}, {"a": {text: 1}}, [{"n": 2**70}, text], [float("inf"), (text,)]):
        assert redactor.deliver(value) != value
        assert MARK in str(redactor.record(value)), value


TOKEN = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"text": "hello", "n": 7}, None),
        ({"password": "hunter2hunter2"}, None),
        ({"text": f"it is {PLAIN}!"}, "/text"),
        ({"parts": ["x", {"a/b": quote(SECRET)}]}, "/parts/1/a~1b"),
        ({"body": json.dumps({"deep": [TOKEN]})}, "/body"),
        ({"body": f"key: {TOKEN}"}, "/body"),
        ({"headers": {"x": "Bearer abcdefghijklmnop"}}, "/headers/x"),
        ({"text": base64.b64encode(f"my {PLAIN} it is".encode()).decode()}, "/text"),
        ({"map": {TOKEN: 1}}, "/map"),
        (f"{PLAIN}", ""),
        (["eyJ", "sk-", "bearer"], None),
    ],
)
def test_a_secret_on_its_way_out_is_found_by_its_place(value: Any, place: str | None) -> None:
    assert Redactor((SECRET, PLAIN)).found_in(value) == place
