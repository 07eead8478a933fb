"""The writer thread: when it runs, rests and pauses, what follows its death, and that nobody waits for ever."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator

import pytest

from pixelmeter.recorder.background import Background, Ticket


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


def test_work_that_fails_is_not_repeated_at_every_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.recorder.background._FIRST_PAUSE", 3600)
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=0)
    work.fails = True
    assert not background.run().wait(60)
    for _ in range(10):
        background.wake()
        work.paused.clear()
        assert work.paused.wait(60)
    assert 1 == work.runs
    work.fails = False
    assert background.stop().wait(60)


def test_a_wake_has_the_work_run_after_a_rest_and_nothing_else_does() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=0.001)
    for _ in range(20):
        background.wake()
        assert work.ran.wait(60)
        work.ran.clear()
    runs = work.runs
    assert background.stop().wait(60)
    assert runs + 1 == work.runs


def test_while_a_rest_lasts_wakes_wait_and_a_ticket_does_not() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=3600)
    for number in range(5):
        for _ in range(100):
            background.wake()
        assert number == work.runs
        assert background.run().wait(60)
    assert background.stop().wait(60)
    assert 6 == work.runs


def test_during_a_long_rest_something_else_is_done_for_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.recorder.background._MEANWHILE_AT_REST", 0.01)
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=3600)
    assert background.run().wait(60)
    background.wake()
    assert work.paused.wait(60)
    assert background.stop().wait(60)
    assert 2 == work.runs


def test_the_first_wake_is_not_kept_waiting_for_the_whole_interval() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=3600, first=0.001)
    background.wake()
    assert work.ran.wait(60)
    assert background.stop().wait(60)


def test_work_that_wants_to_run_later_hears_of_a_wake_before() -> None:
    work = Work()
    ran: list[None] = []

    def run() -> float:
        ran.append(None)
        work.ran.set()
        return 3600

    background = Background(run, work.meanwhile, work.leave, "test", interval=0.001)
    for _ in range(5):
        background.wake()
        assert work.ran.wait(60)
        work.ran.clear()
    assert background.stop().wait(60)
    assert 6 == len(ran)


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
        def _wait(self, again: float | None, rest: float) -> None:
            pauses.append(again)
            super()._wait(again, rest)

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
        assert not background.run().wait(60)
    work.paused.clear()
    background.wake()
    assert work.paused.wait(60)
    assert 4 == work.runs


def test_stopping_after_a_stop_that_failed_tries_once_more() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    background.wake()
    assert [False, False] == [background.stop().wait(60), background.stop().wait(60)]
    work.fails = False
    assert [True, True] == [background.stop().wait(60), background.stop().wait(60)]
    assert 1 == work.left


def asked_during_its_last_run(name: str) -> Background:
    """Return a thread of this name that was told to stop, and asked to run once more before it had."""
    entered, go_on = threading.Event(), threading.Event()

    def waits() -> None:
        entered.set()
        go_on.wait(60)

    background = Background(waits, lambda: None, lambda: None, name)
    background.wake()
    last = background.stop()
    entered.wait(60)
    late = background.run()
    go_on.set()
    assert [True, True] == [last.wait(60), late.wait(60)]
    return background


def test_a_ticket_handed_in_during_the_last_run_is_served() -> None:
    background = asked_during_its_last_run("test")
    assert background.stop().wait(60)


def test_a_run_that_is_asked_for_during_the_last_one_leaves_no_thread_behind() -> None:
    background = asked_during_its_last_run("asked for late")
    left = [thread for thread in threading.enumerate() if thread.name == "asked for late"]
    for thread in left:
        thread.join(60)
    assert [] == [thread for thread in left if thread.is_alive()]
    assert not background.is_running


def test_stopping_what_never_ran_starts_no_thread() -> None:
    work = Work()
    assert Background(work.run, work.meanwhile, work.leave, "test").stop().wait(0)
    assert 0 == work.runs


def test_the_longer_the_work_computed_the_longer_is_the_rest_up_to_a_second() -> None:
    rests: list[float] = []

    class Watched(Background):
        def _wait(self, again: float | None, rest: float) -> None:
            rests.append(rest)
            super()._wait(again, rest)

    work = Work()
    background = Watched(work.run, work.meanwhile, work.leave, "test", interval=0)
    for work.takes in (0.0, 0.004, 0.05):
        assert background.run().wait(60)
    assert background.stop().wait(60)
    assert 0 == rests[0]
    assert 0 < rests[1] < 0.2 <= rests[2] <= rests[3] == 1.0


def test_what_is_woken_after_a_stop_that_failed_is_tried_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.recorder.background._FIRST_PAUSE", 0.01)
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test")
    work.fails = True
    background.wake()
    assert not background.stop().wait(60)
    work.fails = False
    work.ran.clear()
    background.wake()
    assert work.ran.wait(60)
    assert background.stop().wait(60)


thrown: list[None] = []


class Deadly(Work):
    """Work in which the thread dies as often as it is told to."""

    def __init__(self, *deaths: BaseException) -> None:
        super().__init__()
        self.deaths = list(deaths)
        self.dies_in = "run"
        self.died: list[BaseException] = []

    def run(self) -> float | None:
        super().run()
        self.die("run")
        return None

    def afterwards(self) -> None:
        self.die("afterwards")

    def die(self, where: str) -> None:
        if where == self.dies_in and self.deaths:
            thrown.append(None)
            raise self.deaths.pop()

    def background(self) -> Background:
        return Background(
            self.run,
            self.meanwhile,
            self.leave,
            "test",
            interval=0.001,
            afterwards=self.afterwards,
            died=self.died.append,
        )


def join(name: str) -> None:
    """Wait until no thread has this name, or for ten seconds."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(10)


class Cancelled(BaseException):
    """As gevent's GreenletExit, or what a watchdog throws into threads."""


@pytest.fixture
def unhandled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[type[BaseException]]]:
    """What threads ended with, as the hook of the program gets it; pytest would take each for a failure of the test."""
    thrown.clear()
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    yield seen
    while len(seen) < len(thrown):
        threading.Event().wait(0.01)


@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt, Cancelled])
def test_a_thread_that_dies_is_told_and_another_one_goes_on(
    death: type[BaseException], unhandled: list[type[BaseException]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.recorder.background._FIRST_PAUSE", 0.01)
    work = Deadly(death())
    background = work.background()
    background.wake()
    while work.runs < 2:  # nobody asks for the second
        assert work.ran.wait(60)
        work.ran.clear()
    assert background.stop().wait(60)
    assert ([death], 1) == ([type(error) for error in work.died], background.deaths)
    while not unhandled:
        threading.Event().wait(0.01)
    assert [death] == unhandled


@pytest.mark.usefixtures("unhandled")
def test_whoever_waits_for_a_run_in_which_the_thread_dies_gets_the_next_one_while_there_is_time() -> None:
    work = Deadly(Cancelled(), Cancelled())
    background = work.background()
    assert background.run(60).wait(60)
    assert (3, 2) == (work.runs, background.deaths)
    assert not Deadly(Cancelled()).background().run().wait(60)
    assert background.stop().wait(60)


@pytest.mark.usefixtures("unhandled")
def test_a_thread_that_dies_while_somebody_flushes_and_closes_leaves_none_behind() -> None:
    work, tickets, answered = Deadly(Cancelled()), list[Ticket](), list[bool]()

    def died(_: BaseException) -> None:
        tickets.extend((background.run(60), background.stop(60)))
        # What answers before this returns is another thread, which this one would not know of.
        answered.append(tickets[1].wait(0.1))

    background = Background(work.run, work.meanwhile, work.leave, "dying", interval=0.001, died=died)
    assert background.run(60).wait(60)
    join("dying")
    assert [True, True, False] == [*(ticket.wait(60) for ticket in tickets), *answered]
    assert not background.is_running


@pytest.mark.usefixtures("unhandled")
@pytest.mark.parametrize("last", [False, True])
def test_a_thread_that_dies_while_it_tells_one_leaves_the_others_to_the_next(last: bool) -> None:
    def dies() -> None:
        thrown.append(None)
        raise Cancelled

    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "telling", interval=0.001)
    first, second = Ticket(60), Ticket(60, last=last)
    first.then = dies
    background._tickets.extend((first, second))
    background.wake()
    assert first.over.wait(60)
    assert second.over.wait(60)
    if not last:
        assert background.run().wait(60)
        assert background.stop().wait(60)
    join("telling")
    assert not background.is_running


@pytest.mark.usefixtures("unhandled")
def test_a_thread_that_is_killed_at_its_very_end_starts_no_other() -> None:
    class Ending(Background):
        def _go_on_for_late_ones(self) -> None:
            if not self.deaths:
                thrown.append(None)
                raise Cancelled
            super()._go_on_for_late_ones()

    work = Work()
    background = Ending(work.run, work.meanwhile, work.leave, "ending", interval=0.001)
    assert background.run().wait(60)
    assert background.stop().wait(60)
    join("ending")
    assert not background.is_running


@pytest.mark.usefixtures("unhandled")
def test_a_run_that_succeeded_is_told_as_such_though_the_thread_died_after_it() -> None:
    work = Deadly(Cancelled())
    work.dies_in = "afterwards"
    background = work.background()
    assert background.run().wait(60)
    assert background.stop(60).wait(60)
    assert (2, 1, 1) == (work.runs, work.left, background.deaths)


@pytest.mark.usefixtures("unhandled")
def test_a_thread_that_always_dies_is_started_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.recorder.background._FIRST_PAUSE", 0.001)
    pauses: list[float | None] = []

    class Watched(Background):
        def _wait(self, again: float | None, rest: float) -> None:
            pauses.append(again)
            super()._wait(again, rest)

    work = Deadly(*(Cancelled() for _ in range(9)))
    work.dies_in = "afterwards"
    background = Watched(
        work.run, work.meanwhile, work.leave, "test", interval=0, afterwards=work.afterwards, died=work.died.append
    )
    background.wake()
    while work.runs < 9:
        assert work.ran.wait(60)
        work.ran.clear()
        background.wake()
    work.deaths.clear()
    assert background.stop(60).wait(60)
    assert [0.001 * 2**number for number in range(8)] == pauses[1:9]


@pytest.mark.usefixtures("unhandled")
def test_a_thread_that_somebody_kills_while_it_waits_is_missed_by_nobody() -> None:
    work = Deadly()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=3600, died=work.died.append)
    assert background.run().wait(60)
    for number in range(5):
        thread = background._thread
        assert thread is not None
        assert thread.ident is not None
        thrown.append(None)
        assert 1 == ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(Cancelled)
        )
        assert background.run(60).wait(60)  # it is waiting, and notices when it is woken
        thread.join(60)
        assert number + 1 == background.deaths
    assert background.stop(60).wait(60)
    assert 5 == len(work.died)


def test_a_thread_that_is_gone_without_a_word_is_replaced_at_the_next_wake() -> None:
    """Two exceptions thrown in at once may hit the one who would have told."""
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=0.001)
    gone = threading.Thread(target=lambda: None)
    gone.start()
    gone.join()
    background._thread = gone
    background.wake()
    background.wake()
    assert work.ran.wait(60)
    assert background.stop().wait(60)


def test_what_retires_runs_once_more_and_is_followed_by_something() -> None:
    work = Work()
    background = Background(work.run, work.meanwhile, work.leave, "test", interval=3600)
    assert not background.retire(Ticket(last=True))
    background.wake()
    ticket, followed = Ticket(last=True), threading.Event()
    ticket.then = followed.set
    assert background.retire(ticket)
    assert ticket.wait(60)
    assert followed.is_set()
    assert (1, 1) == (work.runs, work.left)
