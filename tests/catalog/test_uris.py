"""Whose a URI is, and URIs of the gateway's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.uris import Offered, own_uri, servers_of, shown_uri, split_own


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("file:///{path}", "file:///a/b", True),
        ("file:///{path}", "file:///", True),
        ("file:///{path}", "file:/a", False),
        ("db://{table}/rows/{id}", "db://users/rows/7", True),
        ("db://{table}/rows/{id}", "db://users/row/7", False),
        ("db://{table}/rows/{id}.json", "db://users/rows/7.json", True),
        ("db://{table}/rows/{id}.json", "db://users/rows/7.txt", False),
        ("{+path}", "anything", True),
        ("a{x}a", "a", False),
        ("a{x}b{y}b", "ab", False),
        ("a{x}b{y}b", "abb", True),
        ("plain://text", "plain://text", False),
        ("{template://{id}", "{template://{id}", True),
    ],
)
def test_a_template_fits_what_it_may_expand_to(template: str, uri: str, fits: bool) -> None:
    assert Offered(templates=(template,)).matches(uri) is fits


def test_a_template_made_to_be_slow_is_not() -> None:
    offered = Offered(templates=("a{x}" * 2000 + "b",))
    assert offered.matches("a" * 8000) is False
    assert offered.matches("a" * 8000 + "b") is True


@given(
    st.lists(st.text(alphabet="ab/:", max_size=4), min_size=2, max_size=6),
    st.lists(st.text(alphabet="abx/"), min_size=6),
)
def test_whatever_a_template_expands_to_fits_it(parts: list[str], values: list[str]) -> None:
    template = "{v}".join(parts)
    uri = "".join(part + value for part, value in zip(parts, [*values[: len(parts) - 1], ""], strict=True))
    assert Offered(templates=(template,)).matches(uri)


def test_who_lists_a_uri_goes_before_who_has_a_template_for_it() -> None:
    offered = {"a": Offered({"x://1"}), "b": Offered(templates=("x://{id}",)), "c": Offered(templates=("x://{n}",))}
    assert servers_of("x://1", offered) == ["a"]
    assert servers_of("x://2", offered) == ["b", "c"]
    assert servers_of("y://2", offered) == []


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", fullmatch=True), st.text(min_size=1))
def test_a_uri_of_the_gateway_s_own_is_taken_apart_as_it_was_put_together(server: str, uri: str) -> None:
    assert split_own(own_uri(server, uri)) == (server, uri)


@pytest.mark.parametrize("uri", ["", "toolgate://", "toolgate://a", "toolgate://a/", "toolgate:///x", "other://a/x"])
def test_other_uris_are_none_of_the_gateway_s(uri: str) -> None:
    assert split_own(uri) is None


def test_only_what_is_shared_is_shown_under_another_uri() -> None:
    item = {"uri": "x://1", "name": "one"}
    assert shown_uri("a", item, "uri", {"x://2"}) is item
    assert shown_uri("a", item, "uri", {"x://1"}) == {"uri": "toolgate://a/x://1", "name": "one"}
