"""Threads that stay for the next request."""

import threading
import weakref

from gateway.bridge.crew import Crew

PATIENCE_S = 30


def test_work_that_comes_piece_by_piece_is_done_by_threads_that_stay() -> None:
    crew = Crew()
    did: set[threading.Thread] = set()
    for _ in range(50):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            did.add(threading.current_thread())
            done.set()

        crew.begin(work)
        assert done.wait(PATIENCE_S)
    assert len(did) < 10  # one, and more only where the next piece came before it had sat down again
    for thread in did:
        while thread.is_alive():
            crew.dismiss()
            thread.join(0.01)


def test_who_is_idle_keeps_nothing_of_the_work_before() -> None:
    crew, gone = Crew(), threading.Event()

    def work() -> None:
        pass

    weakref.finalize(work, gone.set)
    crew.begin(work)
    del work
    assert gone.wait(PATIENCE_S)
    crew.dismiss()


def test_work_that_comes_at_once_is_done_at_once() -> None:
    crew = Crew()
    for _ in range(2):
        together = threading.Barrier(6)
        for _ in range(5):
            crew.begin(lambda: together.wait(PATIENCE_S) and None)  # noqa: B023 - each round waits for its own
        together.wait(PATIENCE_S)
    crew.dismiss()
