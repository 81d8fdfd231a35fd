"""One parsed object, read the same way by everybody."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway.codec import MAX_DEPTH, CodecError, canonical, digest, dump, from_base64url, parse, to_base64url

scalars = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_dumped_parses_to_the_same_value(value: object) -> None:
    assert parse(dump(value)) == value


@given(values)
def test_indentation_and_escapes_change_nothing(value: object) -> None:
    assert parse(json.dumps(value, indent=2).encode()) == value


numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e4, 1e4)


@given(st.dictionaries(texts, st.text() | numbers | st.booleans() | st.lists(numbers), max_size=6))
def test_the_canonical_form_is_that_of_rfc_8785(value: dict[str, object]) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(CodecError):
            canonical(value)
    else:
        assert canonical(value) == expected


def test_equal_numbers_have_one_digest_however_they_are_written() -> None:
    assert digest(parse(b'{"amount": 250.0}')) == digest(parse(b'{"amount":2.5e2}')) == digest({"amount": 250})


def test_key_order_does_not_change_the_digest() -> None:
    assert digest({"a": 1, "b": [True, None]}) == digest({"b": [True, None], "a": 1})


def test_integers_beyond_64_bits_keep_every_digit() -> None:
    raw = b'{"n":123456789012345678901234567890}'
    assert dump(parse(raw)) == raw
    assert canonical(parse(raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"outer":{"x":1,"x":1}}',
        b'{"a":1234567890123456789,"a":2}',
        b"NaN",
        b"-Infinity",
        b'{"n":1234567890123456, "x":NaN}',
        b"1e400",
        b"12345678901234567890e999",
        b'"\\ud800"',
        b'{"n":1234567890123456,"s":"\\udfff"}',
        '{"a":1}'.encode("utf-16"),
        b'{"n":1234567890123456}\xff',
        b"{",
        b"",
        b"{} {}",
        b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2),
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(CodecError):
        parse(raw)


def test_text_that_looks_like_a_key_is_not_taken_for_a_duplicate() -> None:
    assert parse(b'{"a":"\\"a\\": 1","b":"x\\":"}') == {"a": '"a": 1', "b": 'x":'}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2,"b\\\\":3}',
        b'{"a":1,"a" :2}',
        b'{"a":1,"a":2,"b":"\\\\"}',
        b'{"a":1,"a":2,"b":"x\\":"}',
        b'{"a":1,"b":{"c":1,"c"\n:2},"d":"x\\\\\\":"}',
    ],
)
def test_no_way_to_write_quotes_colons_and_backslashes_hides_a_duplicate(raw: bytes) -> None:
    with pytest.raises(CodecError, match="duplicate key"):
        parse(raw)


_LETTERS = st.text(alphabet='ab\\": ,', max_size=4)


@given(st.lists(st.tuples(_LETTERS, _LETTERS, st.sampled_from([":", " :", ": ", "\t:"])), max_size=5))
def test_a_duplicate_is_found_and_nothing_else_whatever_the_strings_hold(members: list[tuple[str, str, str]]) -> None:
    raw = "{" + ",".join(json.dumps(key) + colon + json.dumps(value) for key, value, colon in members) + "}"
    expected = {key: value for key, value, _ in members}
    if len(expected) == len(members):
        assert parse(raw.encode()) == expected
    else:
        with pytest.raises(CodecError, match="duplicate key"):
            parse(raw.encode())


def test_keys_that_differ_only_in_case_are_two_keys() -> None:
    assert parse(b'{"amount":1,"Amount":2}') == {"amount": 1, "Amount": 2}


@pytest.mark.parametrize("value", [{"x": object()}, float("nan"), {"x": float("inf")}, {1, 2}])
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        dump(value) if not isinstance(value, float | dict) else canonical(value)


def test_nesting_as_deep_as_allowed_is_accepted() -> None:
    assert parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@given(st.binary())
def test_bytes_come_back_from_how_a_jws_spells_them(raw: bytes) -> None:
    spelled = to_base64url(raw)
    assert not set(spelled) & set("+/=")
    assert from_base64url(spelled) == raw


@pytest.mark.parametrize("text", ["a", "ab$d", "ab+/", "YQ==", "a b c", "\n", "é"])
def test_what_no_jws_spells_is_refused(text: str) -> None:
    with pytest.raises(CodecError):
        from_base64url(text)
