"""What is remembered of a method: by its object, for as long as that is there."""

from gateway.model.remembering import borrowed, remembering


class Counting:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.known = remembering(2, self.doubled)
        self.again = borrowed(self.doubled)

    def doubled(self, number: int, *, more: int = 0) -> int:
        self.asked += 1
        return 2 * number + more


def test_an_answer_is_given_again_until_others_took_its_place() -> None:
    one = Counting()
    assert [one.known(1), one.known(1), one.known(1, more=1), one.known(2), one.known(1)] == [2, 2, 3, 4, 2]
    assert one.asked == 4


def test_each_object_answers_for_itself_and_a_borrowed_method_every_time() -> None:
    one, other = Counting(), Counting()
    assert (one.known(3), other.known(3), one.again(3), one.again(3)) == (6, 6, 6, 6)
    assert (one.asked, other.asked) == (3, 1)
