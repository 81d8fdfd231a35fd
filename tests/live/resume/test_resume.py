"""A job of 50 steps is broken off and begun again: every effect once, everything done answered from the record.

`make test-resume` does so with agent frameworks.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.resume.office import Office, office, plain


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    home: Path = tmp_path_factory.mktemp("books")
    with office(home) as running:
        yield running


@pytest.mark.parametrize(("who", "step"), [("agent", 25), ("both", 47)])
def test_an_unchanged_agent_goes_on_where_it_was_and_what_that_saved_is_told(
    books: Office, who: str, step: int
) -> None:
    job = f"{who}-{step}"
    books.broken_off(plain, job, step, who)
    books.check(job, step, who)
    books.check_costs()


def test_an_unchanged_agent_goes_on_under_another_gateway(books: Office, tmp_path: Path) -> None:
    books.killed(plain, "moved", 24, "gateway")  # the posting was made, and is found to have been
    with office(tmp_path) as others:
        books.moved_to(others, "moved")
        others.done(plain, "moved")
        assert books.posted("moved") == Counter({n: 1 for n in range(2, 25, 2)})
        assert others.posted("moved") == Counter({n: 1 for n in range(26, 51, 2)})
        assert others.replayed("moved") == list(range(1, 25))
        assert json.loads(others.running.command("verify", "--json").stdout)["ok"] is True
