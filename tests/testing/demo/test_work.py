from __future__ import annotations

from collections import Counter

from pixelmeter.testing.behaviour import check
from pixelmeter.testing.demo.work import draw


def test_a_seed_gives_the_same_calls_again_and_another_seed_others() -> None:
    assert draw(7, 100) == draw(7, 100)
    assert draw(7, 100) != draw(8, 100)


def test_as_many_calls_are_drawn_as_are_asked_for() -> None:
    assert [1, 19, 20, 500] == [len(draw(0, number)) for number in (1, 19, 20, 500)]


def test_every_kind_of_trouble_is_among_few_calls() -> None:
    calls = draw(0, 25)
    assert {"generate", "edit"} == {call.operation for call in calls}
    assert any(call.is_job for call in calls)
    assert any(call.is_streamed for call in calls)
    assert any(call.patience for call in calls)
    assert any(call.fields["model"] == "auto/image" for call in draw(0, 100))
    assert {400, 402, 404, 429, 502, 503, 504} == {
        400 if answer.get("refusal") else answer["status"]
        for call in calls
        for answer in call.answers
        if answer.keys() & {"refusal", "status"}
    }


def test_the_gateway_understands_every_answer_that_is_asked_of_it() -> None:
    for call in draw(0, 300):
        for answer in call.answers:
            check(answer)


def test_most_calls_are_healthy() -> None:
    troubled = Counter(len(call.answers) > 1 or "status" in call.answers[0] for call in draw(0, 1000))
    assert troubled[False] > 3 * troubled[True]
