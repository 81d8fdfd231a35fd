"""A delivery is never missed while it is written."""

import pytest

from gateway.model.facts import StepStatus
from gateway.store.ports import Recorded
from gateway.store.sqlite.delivering import Delivering


def made(delivered: int) -> Recorded:
    return Recorded("c1", "pay", "billing", "run_1", StepStatus.SUCCEEDED, "sha256:1", "k", 0, delivered, {})


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_delivery_that_is_written_while_it_is_read_for_is_seen(attempt: int) -> None:
    """The row was read before, and the answer comes after it: a client would be told its last answer once more."""
    delivering, rows = Delivering(), [made(attempt - 1), made(attempt)]

    async def read() -> Recorded:
        if len(rows) == 2:
            delivering.written("c1", attempt)
        return rows.pop(0)

    delivering.note("c1", attempt)
    found = await delivering.reading(read)
    assert found is not None
    assert found.delivered == attempt


async def test_what_is_noted_and_not_written_is_seen_without_reading_again() -> None:
    delivering, reads = Delivering(), []

    async def read() -> Recorded:
        reads.append(1)
        delivering.written("another", 1)
        delivering.written("c1", 1)  # an earlier attempt's; the later one is still to be written
        return made(1)

    delivering.note("c1", 2)
    found = await delivering.reading(read)
    assert found is not None
    assert (found.delivered, len(reads)) == (2, 1)


async def test_nothing_is_found_where_there_is_nothing() -> None:
    async def read() -> None:
        return None

    assert await Delivering().reading(read) is None
