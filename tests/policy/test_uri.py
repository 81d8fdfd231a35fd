"""Whether a URI can be judged by how it is written."""

import pytest

from gateway.policy.uri import is_plain


@pytest.mark.parametrize(
    "uri",
    [
        "file:///a/b.txt",
        "https://acme.example/a?b=//c",
        "inbox://events/deals",
        "urn:isbn:1",
        "https://w.example/web/http://a/b",
    ],
)
def test_one_that_every_server_reads_alike_is_judged(uri: str) -> None:
    assert is_plain(uri)


DOUBTFUL = [
    "file:///a/../b",
    "file:///a/%2e%2e/b",
    "file:///a//b",
    "file:///a%2F%2Fb",
    "file:///a\\\\b",
    "FILE:///a",
    "file:///%61",
]


@pytest.mark.parametrize("uri", [*DOUBTFUL, "file:///a/.\t./b", "file:///a b"])
def test_one_that_some_server_reads_as_another_is_not(uri: str) -> None:
    assert not is_plain(uri)
