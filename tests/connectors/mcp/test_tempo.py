"""A server that says much is listened to no faster than others can bear."""

from connectors.mcp.tempo import Tempo


def test_what_is_said_at_an_even_pace_is_heard_at_once() -> None:
    tempo = Tempo()
    assert [tempo.rest_after(5, 100.0 + step / 1000) for step in range(1000)] == [0.0] * 1000


def test_a_burst_is_heard_and_a_larger_one_is_rested_from_for_as_long_as_it_should_have_taken() -> None:
    assert Tempo().rest_after(250, 100.0) == 0.0
    assert round(Tempo().rest_after(5000, 100.0), 6) == 1.0


def test_small_pieces_add_up_and_time_passes() -> None:
    tempo = Tempo()
    rests = [tempo.rest_after(40, 100.0 + step / 10_000) for step in range(20)]
    assert rests[0] == 0.0
    assert rests[-1] > 0.1
    assert tempo.rest_after(40, 101.0) == 0.0
