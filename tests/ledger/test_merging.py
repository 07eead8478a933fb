"""About one merge a second is made, by however many processes."""

from __future__ import annotations

from pixelmeter.ledger.merging import Pace
from pixelmeter.ledger.postgres_session import Merged


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_writes_little_merges_after_a_minute() -> None:
    clock = Clock()
    pace = Pace(clock)
    early = [pace.is_due(number, is_urgent=False) for number in range(1, 10)]
    clock.now = 60.0

    assert [False] * 9 == early
    assert pace.is_due(11, is_urgent=False)


def test_processes_that_end_before_a_minute_merge_at_some_of_the_deltas_of_all() -> None:
    due = [number for number in range(1, 200) if Pace(Clock()).is_due(number, is_urgent=False)]

    assert [64, 128, 192] == due


def test_a_merge_that_is_urgent_does_not_wait_but_never_comes_twice_in_a_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    first = pace.is_due(1, is_urgent=True)
    pace.done(Merged(100, 5.0), clock.now)
    at_once = pace.is_due(2, is_urgent=True)
    clock.now = 1.0

    assert (True, False, True) == (first, at_once, pace.is_due(3, is_urgent=True))


def test_a_busy_process_that_merges_alone_does_so_each_second() -> None:
    assert 95 < merges(processes=1, commits=50, seconds=100)[-1] <= 100


def test_many_processes_together_merge_about_once_a_second() -> None:
    each = merges(processes=64, commits=4, seconds=1000)

    assert 250 < each[-1] - each[len(each) // 2] < 1000


def test_a_slow_merge_is_followed_by_a_rest() -> None:
    clock = Clock()
    pace = Pace(clock)
    clock.now = 3.0
    pace.done(Merged(5000, 60.0), 0.0)
    due = []
    for second in range(40):
        clock.now = 3.0 + second
        due.append(pace.is_due(1, is_urgent=True))

    assert 30 == due.index(True)


def merges(*, processes: int, commits: int, seconds: int) -> list[int]:
    """Return how many merges there were by the end of each second, of processes that commit so often in each of them.

    A merge takes no time, and finds all that was appended since the one before.
    """
    clock = Clock()
    paces = [Pace(clock) for _ in range(processes)]
    number, merged, since, count = 0, 0, 0.0, 0
    counts: list[int] = []
    for second in range(seconds):
        for commit in range(commits):
            for index, pace in enumerate(paces):
                clock.now = second + (commit + index / processes) / commits
                number += 1
                if pace.is_due(number, is_urgent=False):
                    pace.done(Merged(number - merged, clock.now - since), clock.now)
                    merged, since, count = number, clock.now, count + 1
        counts.append(count)
    return counts
