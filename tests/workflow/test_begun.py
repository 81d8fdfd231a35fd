"""What nobody has to ask the store: a step seen for the first time in a run that was opened here."""

from gateway.workflow.begun import Begun


def test_a_step_is_new_once_and_only_in_a_run_that_was_opened_here() -> None:
    begun = Begun()
    assert not begun.is_new("run_1", ("a", "t", "k"))
    begun.opened("run_1")
    assert begun.is_new("run_1", ("a", "t", "k"))
    assert not begun.is_new("run_1", ("a", "t", "k"))
    assert begun.is_new("run_1", ("b", "t", "k"))
    assert not begun.is_new("run_2", ("a", "t", "k"))


def test_what_is_forgotten_is_never_taken_for_new_and_later_runs_are_known_again() -> None:
    begun = Begun(most=11)
    begun.opened("run_1")
    new = [begun.is_new("run_1", number) for number in range(6)]
    assert new == [True, True, True, True, False, False]
    assert not begun.is_new("run_1", 0)
    begun.opened("run_2")
    assert begun.is_new("run_2", 0)


def test_of_runs_without_a_step_far_fewer_are_known_than_of_steps() -> None:
    begun = Begun(most=80)
    for number in range(75):
        begun.opened(f"run_{number}")
    assert sum(begun.is_new(f"run_{number}", "a") for number in range(75)) <= 10
