from __future__ import annotations

import json
from typing import Any

import pytest

from pixelmeter.testing import Gateway
from pixelmeter.testing.behaviour import DEFAULT, BehaviourError, Rules, check, from_header
from tests.testing.conftest import Post


def test_a_behaviour_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(BehaviourError, match=r"no behaviour is called 'statuss'; there are: gateway, status, "):
        check({"statuss": 503})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": "503"}, "status cannot be '503'; it takes int or null"),
        ({"charged": 1}, "charged cannot be 1; it takes bool or null"),
        ({"cut": "somewhere"}, '"before_read" or "before_headers" or "after_headers" or int or null'),
        ({"gateway": "bedrock"}, '"aigateway" or "openai"'),
        ({"headers": {"x": 1}}, "headers cannot be"),
        ({"informational": ["103"]}, "informational cannot be"),
        ({"cost_header": True}, "cost_header cannot be True"),
    ],
)
def test_a_value_of_the_wrong_kind_is_answered_with_the_right_one(given: dict[str, object], words: str) -> None:
    with pytest.raises(BehaviourError) as caught:
        check(given)
    assert words in str(caught.value)


def test_a_list_in_the_header_holds_one_behaviour_for_each_attempt() -> None:
    text = json.dumps([{"status": 503}, {"status": 429}, {}])
    assert [{"status": 503}, {"status": 429}, {}, {}] == [from_header(text, attempt) for attempt in range(4)]


def test_a_header_that_makes_no_sense_is_a_400_that_says_why(post: Post, gateway: Gateway) -> None:
    answer = post(behaviour={"statuss": 503})
    assert 400 == answer.status_code
    assert "no behaviour is called 'statuss'" in answer.json()["error"]["message"]
    assert [] == gateway.billing()


def test_telling_what_makes_no_sense_raises(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="no behaviour is called 'statuss'"):
        gateway.tell(statuss=503)


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
