from __future__ import annotations

from typing import Any

import pytest

from pixelmeter.testing.behaviour import DEFAULT, BehaviourError
from pixelmeter.testing.rules import Rules


def status(rules: Rules, *, image: bool = True, header: str | None = None, **facts: str) -> int | None:
    known = {"path": "/v1/images/generations", "method": "POST", "retry_count": "0", "model": "m"}
    return rules.apply(known | facts, header, read=True, image=image).status


def test_without_rules_every_answer_is_healthy() -> None:
    assert DEFAULT is Rules(0).apply({}, None, read=True, image=True)


def test_a_rule_stops_after_so_many_times() -> None:
    rules = Rules(0)
    rules.tell({"status": 503, "times": 2})
    assert [503, 503, None] == [status(rules) for _ in range(3)]


def test_a_rule_holds_for_every_third_request() -> None:
    rules = Rules(0)
    rules.tell({"status": 503, "every": 3})
    assert [None, None, 503, None, None, 503] == [status(rules) for _ in range(6)]


def test_chances_are_decided_by_the_seed() -> None:
    def draw(seed: int) -> list[int | None]:
        rules = Rules(seed)
        rules.tell({"status": 503, "probability": 0.5})
        return [status(rules) for _ in range(64)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert {503, None} == set(draw(1))


def test_a_rule_is_for_what_it_matches() -> None:
    rules = Rules(0)
    rules.tell({"status": 404, "match": {"model": "meta/*", "retry_count": "0"}})
    assert 404 == status(rules, model="meta/sam-3-1-image")
    assert status(rules, model="bria/fibo-edit/edit") is None
    assert status(rules, model="meta/sam-3-1-image", retry_count="1") is None


def test_later_rules_lie_above_earlier_ones_and_the_header_above_all() -> None:
    rules = Rules(0)
    rules.tell({"gateway": "litellm", "status": 500})
    rules.tell({"status": 502})
    facts = {"retry_count": "0"}
    assert ("litellm", 502) == (rules.apply(facts, None, read=True, image=True).gateway, status(rules))
    assert 504 == status(rules, header='{"status": 504}')


def test_a_rule_without_a_path_is_for_image_requests_only() -> None:
    rules = Rules(0)
    rules.tell({"status": 500})
    assert status(rules, image=False, path="/v1/usage/recent") is None
    rules.tell({"status": 404, "match": {"path": "/v1/usage/*"}})
    assert 404 == status(rules, image=False, path="/v1/usage/recent")


@pytest.mark.parametrize(
    "rule",
    [
        {"times": 0},
        {"every": "2"},
        {"probability": 1.5},
        {"match": "meta/*"},
        {"match": {"colour": "red"}},
        {"cut": "before_read", "match": {"model": "meta/*"}},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(BehaviourError):
        Rules(0).tell(rule)
