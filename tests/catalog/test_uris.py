"""Whose a URI is, and URIs of the gateway's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.uris import Offered, links_in, own_uri, servers_of, shown_link, shown_uri, split_own


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


@pytest.mark.parametrize("uri", ["x://1", "ui://page", "ui://", "toolgate://b/x", "ui://toolgate/b/x"])
def test_a_uri_of_the_gateways_own_stands_for_one_of_a_server(uri: str) -> None:
    own = own_uri("a", uri)
    assert own.startswith("ui://toolgate/a/" if uri.startswith("ui://") else "toolgate://a/")
    assert split_own(own) == (("a", uri) if uri != "ui://" else None)


OFFERED = {
    "a": Offered({"x://both", "x://own", "https://a.example/"}, ("t://{id}",)),
    "b": Offered({"x://both", "x://theirs", "https://a.example/"}, ()),
}
LEADS = [
    ("x://both", "toolgate://a/x://both", "toolgate://a/x://both"),
    ("x://own", "x://own", "x://own"),
    ("t://7", "t://7", "t://7"),
    ("x://theirs", "toolgate://a/x://theirs", "toolgate://a/x://theirs"),
    ("x://nobodys", "toolgate://a/x://nobodys", "x://nobodys"),
    ("ui://page", "ui://toolgate/a/page", "ui://page"),
    ("https://web.example/", "https://web.example/", "https://web.example/"),
    ("https://a.example/", "toolgate://a/https://a.example/", "toolgate://a/https://a.example/"),
    ("x://" + "l" * 9000, "x://" + "l" * 9000, "x://" + "l" * 9000),
]


@pytest.mark.parametrize(("uri", "link", "embedded"), LEADS)
def test_a_link_leads_to_the_server_that_made_it(uri: str, link: str, embedded: str) -> None:
    block = {"type": "resource_link", "uri": uri, "name": "n", "x": None}
    assert shown_link("a", block, OFFERED) == {**block, "uri": link}
    held = {"type": "resource", "resource": {"uri": uri, "text": "t", "x": None}, "y": 1}
    assert shown_link("a", held, OFFERED) == {**held, "resource": {"uri": embedded, "text": "t", "x": None}}


@pytest.mark.parametrize(
    "block",
    [
        None,
        7,
        {},
        {"type": "text", "uri": "x://both"},
        {"type": "resource"},
        {"type": "resource_link", "uri": 7},
        {"type": "resource", "resource": "x://both"},
    ],
)
def test_what_is_no_link_is_left_as_it_is(block: object) -> None:
    assert shown_link("a", block, OFFERED) is block


def test_content_without_links_is_told_from_content_with_some() -> None:
    link = {"type": "resource_link", "uri": "x://1"}
    assert [links_in(content) for content in (None, [], [7, {"type": "text"}], [link], [{"type": "resource"}])] == [
        False,
        False,
        False,
        True,
        True,
    ]
