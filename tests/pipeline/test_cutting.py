"""An answer that is too large says so, fits, and loses nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.cut import CUT
from gateway.codec import dump
from gateway.pipeline.cutting import cut, head_of, size_of

WORDS = "The quick brown fox jumps over the lazy dog. " * 200


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image(size: int) -> dict[str, Any]:
    return {"type": "image", "mimeType": "image/png", "data": "A" * size}


def answered(result: dict[str, Any], limit: int = 2048) -> tuple[str, dict[str, Any]]:
    taken = cut(result, limit)
    return taken.text, taken.answer(size_of(result), "res_1", "2027-01-15 08:00 UTC")


def test_a_text_is_cut_at_the_end_of_a_sentence_and_says_how_to_read_on() -> None:
    text, answer = answered({"content": [said(WORDS)]})
    head, note = answer["content"]
    assert text == WORDS
    assert WORDS.startswith(head["text"])
    assert head["text"].endswith("dog. ")
    at = len(head["text"])
    assert f'results_read {{"handle":"res_1","offset":{at}}} until 2027-01-15 08:00 UTC' in note["text"]
    assert f"{at} of its {len(WORDS)} characters" in note["text"]
    assert answer["_meta"][CUT] == {
        "bytes": size_of({"content": [said(WORDS)]}),
        "total": len(WORDS),
        "tool": "results_read",
        "handle": "res_1",
        "next": at,
        "until": "2027-01-15 08:00 UTC",
    }
    assert "structuredContent" not in answer


def test_an_answer_that_nobody_can_keep_says_that_the_rest_is_lost() -> None:
    answer = cut({"content": [said(WORDS)]}, 2048).answer(9000, "", "")
    assert "too large to be kept" in answer["content"][-1]["text"]
    assert answer["_meta"][CUT] == {"bytes": 9000, "total": len(WORDS)}


def test_structured_content_gives_way_to_the_note_and_stands_in_the_text_once() -> None:
    rows = {"rows": [{"n": number} for number in range(1000)]}
    text, answer = answered({"content": [said(dump(rows).decode())], "structuredContent": rows})
    assert answer["structuredContent"] == {CUT: answer["_meta"][CUT]}
    assert text == dump(rows).decode()
    for other in ("in short", "{ not json"):
        text, _ = answered({"content": [said(other)], "structuredContent": rows})
        assert text == f"{other}\n\n{dump(rows).decode()}"


def test_images_that_fit_stay_and_others_follow_the_texts() -> None:
    small, large = image(50), image(5000)
    text, answer = answered({"content": [said("before"), large, said(WORDS), small, {"type": "new"}, "odd"]})
    assert small in answer["content"]
    assert large not in answer["content"]
    at = len("before\n\n" + WORDS) + 2
    assert f"the image is at {at}." in answer["content"][-1]["text"]
    assert text[at:] == dump(large).decode()
    assert {"type": "new"} in answer["content"]


def test_an_answer_of_an_image_alone_shows_no_letters_of_it() -> None:
    text, answer = answered({"content": [image(5000)]})
    assert [each["type"] for each in answer["content"]] == ["text"]
    assert "the image is at 2." in answer["content"][0]["text"]
    assert text[2:] == dump(image(5000)).decode()


def test_texts_of_embedded_resources_are_text() -> None:
    resource = {"type": "resource", "resource": {"uri": "file:///a", "text": WORDS}}
    text, answer = answered({"content": [resource, {"type": "resource", "resource": 1}]})
    assert text == f"[file:///a]\n{WORDS}"
    assert answer["content"][0]["text"].startswith("[file:///a]\nThe quick")


def test_the_other_fields_stay_as_far_as_they_fit() -> None:
    result = {"content": [said(WORDS)], "isError": True, "_meta": {"theirs": 1}, "x": {"y": 1}, "large": "L" * 3000}
    text, answer = answered(result)
    assert (answer["isError"], answer["x"], answer["_meta"]["theirs"]) == (True, {"y": 1}, 1)
    assert "large" not in answer
    assert dump({"large": "L" * 3000}).decode() in text
    _, answer = answered({"content": [said(WORDS)], "_meta": {"theirs": "L" * 3000}})
    assert list(answer["_meta"]) == [CUT]
    _, answer = answered({"content": [said(WORDS)], "_meta": "no object"})
    assert list(answer["_meta"]) == [CUT]


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("short", "short"),
        ("a" * 18 + "\n" + "b" * 9, "a" * 18 + "\n"),
        ("a" * 15 + "\n\n" + "b" * 9, "a" * 15 + "\n\n"),
        ("a " * 20, "a " * 10),
        ("a\n" + "b" * 40, "a\n" + "b" * 17),
        ("\\" * 40, "\\" * 10),
        ("é" * 40, "é" * 10),
        ("😀" * 40, "😀" * 5),
    ],
)
def test_a_head_ends_where_it_reads_best_and_takes_no_more_than_its_room(text: str, head: str) -> None:
    assert head_of(text, 0, 20) == head
    assert head_of("xx" + text, 2, 20) == head


BLOCKS = st.one_of(
    st.text(max_size=3000).map(said),
    st.integers(0, 4000).map(image),
    st.text(max_size=300).map(lambda text: {"type": "resource", "resource": {"uri": "a:b", "text": text}}),
    st.fixed_dictionaries({"type": st.just("resource_link"), "uri": st.text(max_size=300)}),
)


@given(
    st.lists(BLOCKS, max_size=12),
    st.dictionaries(st.sampled_from(["x", "y", "_meta", "isError"]), st.text(max_size=2000).map(lambda t: {"a": t})),
    st.none() | st.dictionaries(st.text(max_size=10), st.text(max_size=500), max_size=10),
    st.integers(1024, 20_000),
)
def test_whatever_is_cut_fits_and_stands_whole_in_the_text(
    content: list[Any], more: dict[str, Any], structured: Any, limit: int
) -> None:
    result = {"content": content, **more, **({} if structured is None else {"structuredContent": structured})}
    text, answer = answered(result, limit)
    if size_of(result) > limit:
        assert size_of(answer) <= max(limit, 2048)
    assert all(block["text"] in text for block in content if block["type"] == "text")
    left = [block for block in content if block["type"] in {"image", "resource_link"}]
    assert all(block in answer["content"] or dump(block).decode() in text for block in left)
    for name, value in more.items():
        assert name == "_meta" or answer.get(name) == value or dump({name: value}).decode() in text
