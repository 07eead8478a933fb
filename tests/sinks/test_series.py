"""Whatever names come, the series stay within the budget, and there always is one to count in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.attempts.billing import UNKNOWN
from pixelmeter.core.attempts.record import OPERATIONS, OUTCOMES
from pixelmeter.core.labels import ENDINGS, ERROR_TYPES, OTHER
from pixelmeter.core.metrics import METRICS, metric
from pixelmeter.errors import ConfigError
from pixelmeter.sinks.series import Series, label, series_per_label_set

PROCESS = [one for one in METRICS if "process" in one.origins]
REQUESTS = metric("pixelmeter_requests_total")
DURATION = metric("pixelmeter_request_duration_seconds")
UNKNOWN_COSTS = [("pixelmeter_unknown_cost_requests_total", (reason,)) for reason in UNKNOWN]


def test_a_label_set_costs_what_the_exposition_shows_of_it() -> None:
    metrics = (REQUESTS, DURATION, metric("pixelmeter_requests_in_flight"))
    assert [1, 19, 1] == [series_per_label_set(each) for each in metrics]


def test_the_first_names_get_their_own_and_the_rest_of_a_shown_gateway_is_other() -> None:
    series = Series(PROCESS)
    first = [series.names("g", "generate", f"m{number}", priced=True) for number in range(100)]
    named = [names for names in first if names != ("g", OTHER)]
    assert [("g", f"m{number}") for number in range(len(named))] == named
    assert 10 < len(named) < 40
    assert ("g", "m0") == series.names("g", "generate", "m0", priced=False)


def test_a_gateway_that_comes_too_late_is_other() -> None:
    series = Series(PROCESS)
    for number in range(100):
        series.names("g", "generate", f"m{number}", priced=True)
    assert (OTHER, OTHER) == series.names("late", "generate", "m0", priced=True)


def test_names_without_a_price_leave_room_for_those_with_one() -> None:
    series = Series(PROCESS)
    for number in range(1000):
        series.names(f"h{number}.example", "generate", f"junk{number}", priced=False)
    assert ("g", "m") == series.names("g", "generate", "m", priced=True)


def test_names_leave_room_for_more_labels_of_those_that_are_shown() -> None:
    series = Series(PROCESS)
    for number in range(1000):
        series.names("g", "generate", f"m{number}", priced=True)
    asked = ("g", "generate", "m0", "timeout")
    assert asked == series.place(DURATION, asked)


def test_a_label_set_without_room_is_counted_in_one_around_it() -> None:
    series = Series(PROCESS, 500)
    for number in range(1000):
        series.place(REQUESTS, ("g", "generate", f"m{number}", "error", "server"))
    assert (OTHER, "edit", OTHER, "error", "server") == series.place(REQUESTS, ("h", "edit", "m", "error", "server"))
    assert (OTHER, "edit", OTHER, "success", OTHER) == series.place(REQUESTS, ("h", "edit", "m", "success", "server"))
    assert (OTHER, "edit", OTHER, OTHER) == series.place(DURATION, ("h", "edit", "m", "timeout"))
    assert (OTHER, "edit", OTHER, "success") == series.place(DURATION, ("h", "edit", "m", "success"))
    assert 500 >= series.used


@pytest.mark.parametrize(("name", "rest"), [*[(REQUESTS.name, rest) for rest in ENDINGS], *UNKNOWN_COSTS])
def test_why_an_attempt_failed_or_has_no_cost_is_told_even_without_room(name: str, rest: tuple[str, ...]) -> None:
    series = Series(PROCESS, 500)
    for number in range(1000):
        series.place(REQUESTS, ("g", "generate", f"m{number}", "error", "server"))
    assert (OTHER, "edit", OTHER, *rest) == series.place(metric(name), ("h", "edit", "m", *rest))


def test_a_limit_below_what_must_have_room_says_how_much_that_is() -> None:
    with pytest.raises(ConfigError, match=r"max_series is 100: use at least \d+"):
        Series(PROCESS, 100)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("openai/gpt-image-2", "openai/gpt-image-2"), ("", ""), ("a\nb\x00\ud800", "a?b??"), ("x" * 500, "x" * 100)],
)
def test_the_text_of_a_label_is_printable_and_short(text: str, shown: str) -> None:
    assert shown == label(text)
    label(text).encode()


@given(
    st.lists(
        st.tuples(
            st.text(max_size=300),
            st.sampled_from(OPERATIONS),
            st.text(max_size=300),
            st.booleans(),
            st.sampled_from(OUTCOMES),
            st.sampled_from(ERROR_TYPES),
        ),
        max_size=200,
    ),
    st.integers(500, 2000),
)
def test_the_limit_holds_and_every_set_has_a_place(
    asked: list[tuple[str, str, str, bool, str, str]], limit: int
) -> None:
    series = Series(PROCESS, limit)
    placed: set[tuple[str, ...]] = set()
    for gateway, operation, model, priced, outcome, error in asked:
        names = series.names(gateway, operation, model, priced=priced)
        call = (names[0], operation, names[1])
        placed.add((REQUESTS.name, *series.place(REQUESTS, (*call, outcome, error))))
        placed.add((DURATION.name, *series.place(DURATION, (*call, outcome))))
    assert series.used <= limit
    assert limit >= sum(series_per_label_set(metric(name)) for name, *_ in placed)
