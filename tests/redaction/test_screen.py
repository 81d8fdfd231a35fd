"""Whether one of many words is in a text: nothing that holds one may pass, whatever else is in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.redactor import MARK, Redactor
from gateway.redaction.screen import any_of, spelled

_BETWEEN = "_- "
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(_NAMES, st.text(max_size=20), st.text(max_size=20))
def test_a_word_is_found_whatever_stands_around_it(word: str, before: str, after: str) -> None:
    is_in = any_of([spelled(word.lower())])
    assert is_in((before + word + after).lower())
    assert is_in(f"{before}\N{SPACE}{word}\N{SPACE}{after}")


@given(st.text("pasword_- AS", min_size=1, max_size=12))
def test_a_word_is_found_with_something_in_between_exactly_where_it_is_there_without_that(text: str) -> None:
    squeezed = text.lower().replace("_", "").replace("-", "").replace(" ", "")
    assert any_of([spelled("pass", _BETWEEN), spelled("word", _BETWEEN)])(text) is (
        "pass" in squeezed or "word" in squeezed
    )


@pytest.mark.parametrize("text", ["PASSWORD", "pass\ud800 password", "Ünïcode PassWord \udfff", "é password"])
def test_a_word_is_found_in_upper_case_and_beside_what_is_no_text(text: str) -> None:
    assert any_of([spelled("password")])(text)


@pytest.mark.parametrize("word", ["t\tb", "n\nl", "\x7f", "a/b", 'q"', "~"])
def test_a_word_may_be_of_any_characters(word: str) -> None:
    assert any_of([spelled(word, _BETWEEN)])(f"x{word}y")


@pytest.mark.parametrize("text", ["", "pass", "pass word", "\ud800", "é"])
def test_what_is_not_there_is_not_found(text: str) -> None:
    assert not any_of([spelled("password")])(text)


@pytest.mark.parametrize("word", ["a.b", "(x", "[y]", "a|b", "a b", "#1", "a\\", "ä&&b", "<n>", "{2}"])
def test_a_name_that_an_operator_adds_is_taken_by_the_letter(word: str) -> None:
    redactor = Redactor(keys=[word])
    assert redactor.record({word: "v"}) == {word: MARK}
    assert redactor.record({"other": "v"}) == {"other": "v"}


def test_what_cannot_be_told_from_every_text_is_looked_at_closely() -> None:
    assert Redactor(keys=["*"]).record({"any": "v"}) == {"any": MARK}
