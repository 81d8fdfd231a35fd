"""Durations, as configuration writes them."""

import pytest

from gateway.model.duration import milliseconds


def test_durations_are_written_as_everywhere() -> None:
    assert [milliseconds(text) for text in ("90s", "15m", "24h", "3d")] == [90_000, 900_000, 86_400_000, 259_200_000]
    for wrong in ("", "24", "0h", "h", "1w"):
        with pytest.raises(ValueError, match="no duration"):
            milliseconds(wrong)
