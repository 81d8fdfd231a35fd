"""`metrics:`: a token that is hard to guess."""

import pytest
from pydantic import ValidationError

from gateway.telemetry.config import MetricsSection


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with spaces in between it", "ünicode-and-long-enough"])
def test_a_token_that_is_short_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand -hex 24"):
        MetricsSection.model_validate({"token": token})


def test_a_token_is_shown_nowhere() -> None:
    section = MetricsSection.model_validate({"token": "a-token-of-some-length"})
    assert "a-token" not in repr(section) + section.model_dump_json()
