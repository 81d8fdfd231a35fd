"""Which words start a gateway without the command line's library."""

import pytest

from gateway.__main__ import plain_up

NO_FLAGS: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["up"], ("gateway.yaml", NO_FLAGS)),
        (["up", "--config", "other.yaml"], ("other.yaml", NO_FLAGS)),
        (["up", "--config", "a", "--lease", "--config", "b"], ("b", {"--lease"})),
        (["up", "--standby", "--standby"], ("gateway.yaml", {"--standby"})),
    ],
)
def test_up_in_its_plainest_way_is_read_as_the_command_line_would(words: list[str], asked: object) -> None:
    assert plain_up(words) == asked


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["status"],
        ["--version", "up"],
        ["up", "--help"],
        ["up", "--config=other.yaml"],
        ["up", "--config"],
        ["up", "--config", ""],
        ["up", "--config", "--lease"],
        ["up", "--no-lease"],
        ["up", "now"],
    ],
)
def test_all_else_is_left_to_the_command_line(words: list[str]) -> None:
    assert plain_up(words) is None
