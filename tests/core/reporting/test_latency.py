"""Durations in buckets: what is lost, and which of them a percentile is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.reporting.latency import bucket, percentile, seconds


@given(st.integers(min_value=1_000, max_value=10**12))
def test_a_bucket_stands_for_its_durations_to_within_five_percent(duration: int) -> None:
    assert seconds(bucket(duration)) == pytest.approx(duration / 1e6, rel=0.05)


@pytest.mark.parametrize("duration", [-1, 0, 1, 1_000])
def test_whatever_takes_a_millisecond_at_most_is_said_to_take_one(duration: int) -> None:
    assert (0, 0.001) == (bucket(duration), seconds(bucket(duration)))


def test_what_takes_longer_than_a_millisecond_is_in_a_slower_bucket() -> None:
    assert 1 == bucket(1_001)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({1: 1, 2: 1, 3: 1}, 0.5, 2),
        ({1: 1, 2: 1, 3: 1}, 0, 1),
        ({1: 1, 2: 1, 3: 1}, 1, 3),
        ({1: 1, 2: 1}, 0.5, 1),
        ({1: 19, 2: 2}, 0.95, 2),
        ({1: 20, 2: 1}, 0.95, 1),
        ({1: 19, 2: 1}, 0.95, 1),
        ({1: 9, 2: 1}, 0.95, 2),
        ({1: 3, 2: 1}, 0.95, 2),
        ({1: 99, 2: 1}, 0.99, 1),
        ({1: 98, 2: 2}, 0.99, 2),
        ({3: 1, 1: 9}, 0.5, 1),
        ({7: 5}, 0.95, 7),
    ],
)
def test_a_percentile_is_the_duration_of_that_rank(counts: dict[int, int], share: float, expected: int) -> None:
    assert seconds(expected) == percentile(counts, share)


@pytest.mark.parametrize("counts", [{}, {1: 0}])
def test_nothing_has_no_percentile(counts: dict[int, int]) -> None:
    assert percentile(counts, 0.5) is None
