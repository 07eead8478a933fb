"""The writer thread: when it runs, when it pauses, and that nobody waits for a run that never comes."""

from __future__ import annotations

import threading
import time
from typing import Any

from pixelmeter.background import Background, Ticket


class Work:
    """Counts its runs, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.left = 0
        self.fails = False
        self.takes = 0.0
        self.ran = threading.Event()
        self.paused = threading.Event()

    def run(self) -> float | None:
        self.runs += 1
        begun = time.thread_time()
        while time.thread_time() - begun < self.takes:
            pass
        self.ran.set()
        if self.fails:
            raise OSError
        return None

    def meanwhile(self) -> None:
        self.paused.set()

    def leave(self) -> None:
        self.left += 1


def test_work_that_fails_is_not_repeated_at_every_wake() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    assert not background.run().wait(5)
    for _ in range(1000):
        background.wake()
        threading.Event().wait(0.0003)
    assert work.runs <= 2
    work.fails = False
    assert background.stop().wait(5)


def test_a_run_that_fails_is_tried_again_until_the_patience_of_whoever_waits_is_over() -> None:
    for hand_in in (Background.run, Background.stop):
        work = Work()
        background = Background(work.run, work.meanwhile, work.leave, "test")
        work.fails = True
        background.wake()
        ticket = hand_in(background, 60)
        for _ in range(4):
            assert work.ran.wait(60)
            work.ran.clear()
        assert not ticket.over.is_set()
        work.fails = False
        assert ticket.wait(60)
        assert background.stop().wait(60)
        assert 1 == work.left


def test_the_end_of_one_that_waits_does_not_end_the_tries_for_another() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    background.wake()
    patient = background.run(60)
    assert not background.stop(0.1).wait(60)
    assert not patient.over.is_set()
    work.fails = False
    assert patient.wait(60)
    assert background.stop().wait(60)


def test_tries_for_one_that_waits_do_not_lengthen_the_pauses_afterwards() -> None:
    pauses: list[float | None] = []

    class Watched(Background):
        def _wait(self, inbox: Any, patience: float | None, gather: float) -> list[Ticket]:
            pauses.append(patience)
            return super()._wait(inbox, patience, gather)

    work = Work()
    background = Watched(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    assert not background.run(1.5).wait(60)
    runs = work.runs
    while work.runs == runs:
        assert work.ran.wait(60)
        work.ran.clear()
    work.fails = False
    assert background.stop().wait(60)

    retried, [afterwards, *_] = pauses[1:runs], pauses[runs:]
    assert [0.05, 0.1, 0.2, 0.4] == retried[:4]
    assert all(pause is not None and pause <= 0.5 for pause in retried)
    assert 0.5 == afterwards


def test_something_else_is_done_during_a_pause() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    for _ in range(4):
        assert not background.run().wait(5)
    work.paused.clear()
    background.wake()
    assert work.paused.wait(5)
    assert 4 == work.runs


def test_stopping_after_a_stop_that_failed_tries_once_more() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    background.wake()
    assert [False, False] == [background.stop().wait(5), background.stop().wait(5)]
    work.fails = False
    assert [True, True] == [background.stop().wait(5), background.stop().wait(5)]
    assert 1 == work.left


def test_a_ticket_handed_in_during_the_last_run_is_served() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def waits() -> None:
        entered.set()
        go_on.wait(5)

    background = Background(waits, lambda: None, lambda: None, "test")
    background.wake()
    last = background.stop()
    entered.wait(5)
    late = background.run()
    go_on.set()
    assert [True, True] == [last.wait(5), late.wait(5)]
    assert background.stop().wait(5)


def test_stopping_what_never_ran_starts_no_thread() -> None:
    work = Work()
    assert Background(work.run, work.meanwhile, work.leave, "test").stop().wait(0)
    assert 0 == work.runs


def test_after_work_that_computed_for_long_a_wake_waits_until_more_has_gathered() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.takes = 0.02
    assert background.run().wait(5)
    work.ran.clear()
    background.wake()
    assert not work.ran.wait(0.3)
    assert background.run().wait(5)
    assert 2 == work.runs
    assert background.stop().wait(5)
