"""A job of 50 steps is broken off and begun again: every effect once, everything done answered from the record.

`make test-resume` does so with agent frameworks.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.resume.office import Office, office, plain


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home: Path = tmp_path_factory.mktemp("books")
    with office(home) as running:
        yield running


@pytest.mark.parametrize(("who", "step"), [("agent", 24), ("gateway", 47), ("both", 50)])
def test_an_unchanged_agent_goes_on_where_it_was_and_what_that_saved_is_told(
    books: Office, who: str, step: int
) -> None:
    job = f"{who}-{step}"
    books.broken_off(plain, job, step, who)
    books.check(job, step, who)
    books.check_costs()
