"""What answers carry: whose word it is, and whether it is private."""

import pytest

from gateway.model.operation import READ_RESOURCE, operation
from gateway.taint.config import TaintSection
from gateway.taint.labels import Labels, Source, labels_of
from tests.policy.acme import record, tool

READ = tool("web.read", record())


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (Source("web", 0), ("untrusted", "from:web")),
        (Source("web", 49), ("untrusted", "from:web")),
        (Source("web", 50), ()),
        (Source("web", 100, open_world=True), ("untrusted", "from:web")),
        (Source("crm", 50, classification=29), ()),
        (Source("crm", 50, classification=30), ("private",)),
        (Source("crm", 0, classification=99), ("untrusted", "from:crm", "private")),
    ],
)
def test_an_answer_is_untrusted_below_the_level_or_open_to_the_world_and_private_from_a_class_on(
    source: Source, labels: tuple[str, ...]
) -> None:
    assert labels_of(TaintSection(trusted_from=50, private_from=30), source) == labels


def test_what_nobody_knows_is_not_trusted() -> None:
    unknown = ("untrusted", "from:web")
    assert Labels(heeded=True).of(READ) == unknown
    assert Labels(heeded=True).of(operation("web", READ_RESOURCE)) == unknown
    assert Labels(heeded=True, tools={"web.read": ()}).of(READ) == ()
    assert Labels(heeded=True, tools={"web.read": ()}).of(operation("web", READ_RESOURCE)) == unknown
    assert Labels(heeded=True, servers={"web": ()}).of(operation("web", READ_RESOURCE)) == ()


def test_an_answer_that_another_tool_had_given_carries_what_that_ones_carry() -> None:
    labels = Labels(heeded=True, tools={"results.read": ("private",), "web.read": ("untrusted", "private")})
    assert labels.of(tool("results.read", record()), "web.read") == ("private", "untrusted")
    assert labels.of(tool("results.read", record()), "gone.read") == ("private", "untrusted", "from:gone")


@pytest.mark.parametrize("window", ["91d", "0s", "soon", "-1h"])
def test_a_window_is_a_duration_and_ends_some_day(window: str) -> None:
    with pytest.raises(ValueError, match=r"window"):
        TaintSection(window=window)
